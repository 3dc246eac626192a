package submission

import (
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline/language"
)

// NewInvalidError makes an error of mistakes.
func NewInvalidError(diags language.Diagnostics) error {
	e := &wire.SourceError{}
	for _, d := range diags {
		e.Diagnostics = append(e.Diagnostics, wire.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
			Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
	}

	return &InvalidError{SourceError: e, Diagnostics: diags}
}

// InvalidError is a refused pipeline whose mistakes were found here.
type InvalidError struct {
	*wire.SourceError
	Diagnostics language.Diagnostics
}

func (e *InvalidError) Unwrap() error { return e.SourceError }
