package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// The ids of traces follow from what they are of, so that every node names the same
// span the same, whenever it does.

// TraceID is the id of a run's trace: the run's id has the form of one.
func (id RunID) TraceID() (t [16]byte) {
	if raw, err := hex.DecodeString(string(id)); err == nil && len(raw) == len(t) {
		copy(t[:], raw)
		return t
	}

	sum := sha256.Sum256([]byte(id))
	copy(t[:], sum[:])
	return t
}

// The spans of a run. A span of a module has attempt 0, one of an attempt no phase.
const (
	SpanWait     = "wait"
	SpanDispatch = "dispatch"
	SpanExecute  = "execute"
)

// SpanID is the id of a span within the trace of its run: of the run itself if module
// is "".
func SpanID(module string, attempt int, phase string) (s [8]byte) {
	sum := sha256.Sum256([]byte(module + "\x00" + strconv.Itoa(attempt) + "\x00" + phase))
	copy(s[:], sum[:])
	return s
}

// Result is how a run that has ended did, in the words of OpenTelemetry's conventions
// for CI/CD.
func (s RunState) Result(timedOut bool) string {
	switch {
	case s == RunCancelled:
		return "cancellation"
	case s == RunFailed && timedOut:
		return "timeout"
	case s == RunFailed:
		return "failure"
	}
	return "success"
}

// TraceParent is the W3C trace context of what an attempt executes.
func (id AttemptID) TraceParent() string {
	return fmt.Sprintf("00-%x-%x-01", id.Run.TraceID(), SpanID(id.Module, id.Attempt, SpanExecute))
}
