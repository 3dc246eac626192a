package peer

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// DispatchRequest hands attempts to a worker. Every spec is a committed
// assignment. Repeating one is harmless.
type DispatchRequest struct {
	Term   uint64          `cbor:"1,keyasint"`
	Leader pipeline.NodeID `cbor:"2,keyasint"`
	Specs  []pipeline.Spec `cbor:"3,keyasint"`
}

// DispatchResponse answers it. Attempts that the worker will never start come
// back as reports of their own, not here.
type DispatchResponse struct {
	Incarnation string `cbor:"1,keyasint"`
}

// StopRequest ends attempts: TERM, grace, KILL.
type StopRequest struct {
	Term   uint64               `cbor:"1,keyasint"`
	IDs    []pipeline.AttemptID `cbor:"2,keyasint"`
	Reason string               `cbor:"3,keyasint"`
}

// ImageRequest asks for the digests of a module's images on a worker.
type ImageRequest struct {
	Container pipeline.Container `cbor:"1,keyasint"`
}

// ImageResponse answers it.
type ImageResponse struct {
	// Digests are those of the module's image and then of its services, in order.
	Digests []string `cbor:"1,keyasint"`
}

// SyncRequest renews the worker's lease and asks what it has.
type SyncRequest struct {
	Term   uint64          `cbor:"1,keyasint"`
	Leader pipeline.NodeID `cbor:"2,keyasint"`
	// Lease is how long the worker is trusted after an answer.
	Lease time.Duration `cbor:"3,keyasint"`
	// Heard is the Clock of the last answer that the leader has; 0 if it has none.
	// The lease counts from then, so that it never lasts longer than the leader
	// believes, however late this request arrives and whatever became of the answers
	// to others.
	Heard time.Duration `cbor:"4,keyasint,omitempty"`
}

// SyncResponse says what a worker is and has.
type SyncResponse struct {
	Incarnation  string                `cbor:"1,keyasint"`
	Name         string                `cbor:"2,keyasint"`
	Capabilities pipeline.Capabilities `cbor:"3,keyasint"`
	Attempts     []Held                `cbor:"4,keyasint"`
	// Closed workers take nothing new; Reason says why.
	Closed bool   `cbor:"5,keyasint,omitempty"`
	Reason string `cbor:"6,keyasint,omitempty"`
	// Clock is when the worker answered, by a clock of its own.
	Clock time.Duration `cbor:"7,keyasint"`
}

// Held is an attempt that a worker has taken and whose outcome is not
// committed yet.
type Held struct {
	ID    pipeline.AttemptID `cbor:"1,keyasint"`
	Fence uint64             `cbor:"2,keyasint"`
	// StartedAt is zero until the process runs.
	StartedAt time.Time `cbor:"3,keyasint,omitempty"`
	// Ended attempts have an outcome that the worker reports by itself.
	Ended bool `cbor:"4,keyasint,omitempty"`
	// Waiting attempts are queued behind another one.
	Waiting bool `cbor:"5,keyasint,omitempty"`
}

// Report tells of one attempt: that it started (Outcome nil) or how it ended.
type Report struct {
	ID        pipeline.AttemptID `cbor:"1,keyasint"`
	StartedAt time.Time          `cbor:"2,keyasint,omitempty"`
	Outcome   *pipeline.Outcome  `cbor:"3,keyasint,omitempty"`
	// Blobs are log and outputs up to MaxInlineBlob that the receiver stores
	// before the outcome is proposed.
	Blobs [][]byte `cbor:"4,keyasint,omitempty"`
}

// MaxInlineBlob is the largest blob that travels inside a report.
const MaxInlineBlob = 256 << 10

// ReportRequest carries reports to the orchestrator.
type ReportRequest struct {
	Worker  pipeline.NodeID `cbor:"1,keyasint"`
	Reports []Report        `cbor:"2,keyasint"`
	// Full says why the worker has no room for more work, so that what is placed
	// because of these reports is not placed there; "" where it has.
	Full string `cbor:"3,keyasint,omitempty"`
	// Incarnation is that of the worker's keeper now: what is placed because of these
	// reports must not be meant for one that has died. "" of an external worker.
	Incarnation string `cbor:"4,keyasint,omitempty"`
}

// ReportResponse has an answer for each report, in their order.
type ReportResponse struct {
	Acks []Ack `cbor:"1,keyasint"`
}

// Ack says that a report is dealt with: the worker may forget the attempt.
// Refused says why it had no effect.
type Ack struct {
	Done    bool   `cbor:"1,keyasint"`
	Refused string `cbor:"2,keyasint,omitempty"`
}

// LogQuery asks a worker about the output of an attempt that it has.
type LogQuery struct {
	ID pipeline.AttemptID `cbor:"1,keyasint"`
	// Lines, if above 0, asks for the offset of the last so many lines.
	Lines int `cbor:"2,keyasint,omitempty"`
	// TimesFrom is how much of the record of times is known; -1 asks for none.
	TimesFrom int64 `cbor:"3,keyasint,omitempty"`
}

// LogPosition is the answer to a LogQuery.
type LogPosition struct {
	// Size is the present length of the output, in bytes.
	Size int64 `cbor:"1,keyasint,omitempty"`
	// Tail is the offset of the lines that were asked for.
	Tail int64 `cbor:"2,keyasint,omitempty"`
	// Times is the record that pipeline.LogMarks made, from TimesFrom.
	Times []byte `cbor:"3,keyasint,omitempty"`
}
