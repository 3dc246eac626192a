// Package wire holds the JSON documents of the HTTP protocol. They are shared
// by the server (api), the typed client (api/client) and the command line;
// field names are the contract of docs/http.md. It holds data only.
package wire

import "time"

// TimeOf is nil for a time that is not set.
func TimeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Problem is an RFC 9457 problem document. Kind carries pipeline.Kind across
// the network.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Kind      string `json:"kind"`
	RequestID string `json:"requestId,omitempty"`
	// Diagnostics are the findings in a refused pipeline, one a mistake.
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
}

// Diagnostic is one mistake in a pipeline's source.
type Diagnostic struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	EndColumn  int    `json:"endColumn,omitempty"`
	Summary    string `json:"summary"`
	Detail     string `json:"detail,omitempty"`
	SourceLine string `json:"sourceLine,omitempty"`
}
