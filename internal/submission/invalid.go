package submission

import (
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline/language"
)

// NewInvalidError makes an error of mistakes.
func NewInvalidError(diags language.Diagnostics) error {
	return &InvalidError{SourceError: &wire.SourceError{Diagnostics: WireDiagnostics(diags)}, Diagnostics: diags}
}

// WireDiagnostics are mistakes or warnings as the API and -json show them.
func WireDiagnostics(diags language.Diagnostics) []wire.Diagnostic {
	var list []wire.Diagnostic
	for _, d := range diags {
		list = append(list, wire.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
			Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
	}

	return list
}

// InvalidError is a refused pipeline whose mistakes were found here.
type InvalidError struct {
	*wire.SourceError
	Diagnostics language.Diagnostics
}

func (e *InvalidError) Unwrap() error { return e.SourceError }
