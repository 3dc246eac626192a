package main

import (
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline/language"
)

// sourceError makes an error of mistakes.
func sourceError(diags language.Diagnostics) error {
	e := &wire.SourceError{}
	for _, d := range diags {
		e.Diagnostics = append(e.Diagnostics, wire.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
			Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
	}
	return &diagnosedError{SourceError: e, shown: diags}
}

// diagnosedError is a refused pipeline whose mistakes were found here.
type diagnosedError struct {
	*wire.SourceError
	shown language.Diagnostics
}

func (e *diagnosedError) Unwrap() error { return e.SourceError }
