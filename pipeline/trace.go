package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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
	SpanFetch    = "fetch"
	SpanExecute  = "execute"
	SpanCapture  = "capture"
	SpanReport   = "report"
)

// SpanID is the id of a span of a run: of the run itself if module is "". Runs of one
// trace have different ones.
func (id RunID) SpanID(module string, attempt int, phase string) (s [8]byte) {
	sum := sha256.Sum256([]byte(string(id) + "\x00" + module + "\x00" + strconv.Itoa(attempt) + "\x00" + phase))
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

// TraceContext is the trace that a submission is part of, in the forms of W3C: headers
// of a request, or variables of a process. The zero value is none.
type TraceContext struct {
	// Parent is traceparent, State tracestate, and Baggage baggage.
	Parent  string `json:"parent,omitempty"`
	State   string `json:"state,omitempty"`
	Baggage string `json:"baggage,omitempty"`
}

// Bounds of a trace context: what the standards ask every program to pass on, but only
// a part of it for baggage, since a run keeps it.
const (
	maxTraceState = 512
	maxBaggage    = 1024
)

// traceParent is a traceparent: version, trace, span, flags. A later version may have
// more behind it.
var traceParent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)

// NewTraceContext reads a trace context. As the standard says, one that is none is no
// error: the zero value is returned if parent is invalid, and state or baggage are left
// out if they are too long or not printable.
func NewTraceContext(parent, state, baggage string) TraceContext {
	m := traceParent.FindStringSubmatch(parent)
	zero := func(s string) bool { return strings.Trim(s, "0") == "" }
	if m == nil || m[1] == "ff" || m[1] == "00" && m[5] != "" || zero(m[2]) || zero(m[3]) {
		return TraceContext{}
	}

	bounded := func(s string, most int) string {
		if len(s) > most || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return ""
		}
		return strings.TrimSpace(s)
	}
	return TraceContext{Parent: fmt.Sprintf("00-%s-%s-%s", m[2], m[3], m[4]), State: bounded(state, maxTraceState), Baggage: bounded(baggage, maxBaggage)}
}

// Trace is where the spans of a run belong.
type Trace struct {
	ID [16]byte
	// Parent is the span that the run is a child of; zero for none.
	Parent [8]byte
	// Sampled says whether the spans are wanted; it is true for a run that is no child.
	Sampled bool
}

// Of is the trace of a run that was submitted in this context: the same one, or the
// run's own.
func (c TraceContext) Of(id RunID) Trace {
	own := Trace{ID: id.TraceID(), Sampled: true}
	if c.Parent == "" {
		return own
	}
	m := traceParent.FindStringSubmatch(c.Parent)
	if m == nil {
		return own
	}

	// The pattern admits nothing that hex refuses.
	var t Trace
	_, _ = hex.Decode(t.ID[:], []byte(m[2]))
	_, _ = hex.Decode(t.Parent[:], []byte(m[3]))
	flags, _ := hex.DecodeString(m[4])
	t.Sampled = flags[0]&1 != 0
	return t
}

// Attempt is the context of what an attempt executes, whose run was submitted in this
// one.
func (c TraceContext) Attempt(id AttemptID) TraceContext {
	t, flags := c.Of(id.Run), 0
	if t.Sampled {
		flags = 1
	}
	c.Parent = fmt.Sprintf("00-%x-%x-%02x", t.ID, id.Run.SpanID(id.Module, id.Attempt, SpanExecute), flags)
	return c
}

// LogFields name the run in a log, also as it is named in traces; more follows.
func (r *Run) LogFields(more ...any) []any {
	return append(r.Trace.logFields(r.ID, r.ID.SpanID("", 0, ""), "run", r.ID), more...)
}

// ModuleLogFields do the same for a module of the run.
func (r *Run) ModuleLogFields(module string, more ...any) []any {
	return append(r.Trace.logFields(r.ID, r.ID.SpanID(module, 0, ""), "run", r.ID, "module", module), more...)
}

// LogFields name the attempt in a log, also as its execution is named in traces; more
// follows.
func (s *Spec) LogFields(more ...any) []any {
	span := s.ID.Run.SpanID(s.ID.Module, s.ID.Attempt, SpanExecute)
	return append(s.Trace.logFields(s.ID.Run, span, "attempt", s.ID.String()), more...)
}

func (c TraceContext) logFields(id RunID, span [8]byte, name ...any) []any {
	t := c.Of(id)
	return append(name, "trace_id", hex.EncodeToString(t.ID[:]), "span_id", hex.EncodeToString(span[:]))
}
