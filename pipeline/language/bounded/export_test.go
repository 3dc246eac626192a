package bounded

// WithLimit gives an evaluator that takes answers of so many bytes.
func WithLimit(executable string, limit int) *Evaluator {
	e := New(executable)
	e.limit = limit
	return e
}
