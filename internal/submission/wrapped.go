package submission

import "fmt"

// wrapped says what was being done when err happened; nil stays nil.
func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}

	return fmt.Errorf("%s: %w", what, err)
}
