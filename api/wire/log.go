package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// LogEvent is one piece of output in a followed log (the data of a
// server-sent event). Text holds whole or partial lines; bytes that are no
// UTF-8 arrive as U+FFFD there and exactly in Raw.
type LogEvent struct {
	Module  string `json:"module"`
	Attempt int    `json:"attempt"`
	// Offset of the first byte of the piece in the attempt's output.
	Offset int64  `json:"offset"`
	Text   string `json:"text,omitempty"`
	Raw    []byte `json:"raw,omitempty"`
	// Time is when the piece was written, by its worker's clock, if the
	// request wants times; as exact as pipeline.LogMarks is.
	Time time.Time `json:"time,omitzero"`
	// End is set on the last event of an attempt; State is how it ended.
	End   bool                  `json:"end,omitempty"`
	State pipeline.AttemptState `json:"state,omitempty"`
	// RunEnd is set on the last event of a run's stream: all logs were sent.
	RunEnd bool              `json:"runEnd,omitempty"`
	Run    pipeline.RunState `json:"run,omitempty"`
}

// LogPosition says how much of a module's output a follower has.
type LogPosition struct {
	Attempt int   `json:"attempt"`
	Offset  int64 `json:"offset"`
	// Ended is set if the follower has seen the attempt's End.
	Ended bool `json:"ended,omitempty"`
}

// FollowRequest goes to POST /api/v1/runs/{id}/logs: server-sent LogEvents of
// all modules (or of Modules), from Positions on, until the run has ended and
// every log was sent.
type FollowRequest struct {
	Modules   []string               `json:"modules,omitempty"`
	Positions map[string]LogPosition `json:"positions,omitempty"`
	// Follow false: what is there now, then the end.
	Follow bool `json:"follow"`
	// Lines, if above 0, begins each module with the last so many lines of its
	// newest attempt. A position that is behind an attempt's beginning wins.
	Lines int `json:"lines,omitempty"`
	// Since leaves out what was written before that time.
	Since time.Time `json:"since,omitzero"`
	// Times wants pieces that have a Time.
	Times bool `json:"times,omitempty"`
}
