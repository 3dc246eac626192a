package wire

import (
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// SourceError is a refused pipeline, with every mistake and its place. The
// problem document carries the diagnostics; the client rebuilds the error.
type SourceError struct {
	Diagnostics []Diagnostic
}

// Error gives the first mistake and the number of the others.
func (e *SourceError) Error() string {
	if len(e.Diagnostics) == 0 {
		return "invalid pipeline"
	}
	d := e.Diagnostics[0]
	s := fmt.Sprintf("%s:%d:%d: %s", d.File, d.Line, d.Column, d.Summary)
	if n := len(e.Diagnostics) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

// Unwrap gives the same message with its kind, so that pipeline.KindOf says
// Invalid.
func (e *SourceError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Invalid, Message: e.Error()}
}
