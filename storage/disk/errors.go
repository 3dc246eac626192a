package disk

import "github.com/pipelined/pipelined/pipeline"

// FullError says that bytes were refused because the disk is full, or would be
// with them. Its kind is pipeline.Unavailable.
type FullError struct {
	Reason string
	// Err is the system's error, nil where the low-water mark was the reason.
	Err error
}

// Error is the reason, with what to do.
func (e *FullError) Error() string { return e.Reason }

// Unwrap gives the error its kind.
func (e *FullError) Unwrap() error {
	return &pipeline.Error{Kind: pipeline.Unavailable, Message: e.Reason, Err: e.Err}
}
