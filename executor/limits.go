package executor

// Limits says which limits of a Process can be enforced.
type Limits struct {
	CPU, Memory bool
}
