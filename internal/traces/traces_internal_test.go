package traces

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pipelined/pipelined/pipeline"
)

const runID = pipeline.RunID("01a2240af46278408e4c0c03e8986f4a")

var t0 = time.Date(2026, 11, 28, 21, 36, 40, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * 1e9)) }

// sample is a run of which a module was tried twice, and another was cached.
func sample() *record {
	return &record{
		run:     pipeline.Run{ID: runID, Pipeline: "release", State: pipeline.RunFailed, Reason: "e2e[chaos] failed", SubmittedAt: at(0), FinishedAt: at(60)},
		modules: []pipeline.Module{{Name: "build"}, {Name: "e2e[chaos]", Of: "e2e", DependsOn: []string{"build"}}},
		records: map[string]*pipeline.ModuleRecord{
			"build": {State: pipeline.ModuleCached, FinishedAt: at(2), Attempts: []pipeline.Attempt{{Number: 1, From: &pipeline.AttemptID{Run: "r0", Module: "build", Attempt: 3}}}},
			"e2e[chaos]": {State: pipeline.ModuleFailed, Reason: "exit code 1", FinishedAt: at(59), Attempts: []pipeline.Attempt{
				{Number: 1, WorkerName: "alpha", State: pipeline.AttemptLost, Reason: "worker alpha was lost", AssignedAt: at(3), FinishedAt: at(20)},
				{Number: 2, WorkerName: "beta", State: pipeline.AttemptFailed, Reason: "exit code 1", AssignedAt: at(22), StartedAt: at(24), FinishedAt: at(59)},
			}},
		},
	}
}

// exported makes the spans of a run on a node.
func exported(t *testing.T, r *record, opts ...sdktrace.TracerProviderOption) map[string]tracetest.SpanStub {
	t.Helper()
	to := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSyncer(to), sdktrace.WithIDGenerator(givenIDs{}))...)
	(&spanBuilder{tracer: p.Tracer("pipelined"), url: "http://n", run: r.run.ID, trace: r.run.Trace.Of(r.run.ID), flush: func() {}}).addRun(r)

	out := map[string]tracetest.SpanStub{}
	for _, s := range to.GetSpans() {
		out[s.SpanContext.SpanID().String()] = s
		if want := r.run.Trace.Of(r.run.ID).ID; s.SpanContext.TraceID() != want {
			t.Errorf("span %s is of trace %s, want %x", s.Name, s.SpanContext.TraceID(), want)
		}
	}
	if len(out) != len(to.GetSpans()) {
		t.Errorf("%d spans have %d ids", len(to.GetSpans()), len(out))
	}
	return out
}

func name(module string, attempt int, phase string) string {
	id := runID.SpanID(module, attempt, phase)
	return hex.EncodeToString(id[:])
}

func TestSpanBuilder(t *testing.T) {
	spans := exported(t, sample())
	for _, want := range []struct {
		id, parent, name string
		from, to         float64
	}{
		{name("", 0, ""), "0000000000000000", "RUN release", 0, 60},
		{name("build", 0, ""), name("", 0, ""), "build", 0, 2},
		{name("e2e[chaos]", 0, ""), name("", 0, ""), "e2e", 2, 59},
		{name("e2e[chaos]", 1, ""), name("e2e[chaos]", 0, ""), "attempt 1", 2, 20},
		{name("e2e[chaos]", 1, "wait"), name("e2e[chaos]", 1, ""), "wait", 2, 3},
		{name("e2e[chaos]", 1, "dispatch"), name("e2e[chaos]", 1, ""), "dispatch", 3, 20}, // it never started
		{name("e2e[chaos]", 2, ""), name("e2e[chaos]", 0, ""), "attempt 2", 20, 59},
		{name("e2e[chaos]", 2, "wait"), name("e2e[chaos]", 2, ""), "wait", 20, 22},
		{name("e2e[chaos]", 2, "dispatch"), name("e2e[chaos]", 2, ""), "dispatch", 22, 24},
		{name("e2e[chaos]", 2, "execute"), name("e2e[chaos]", 2, ""), "execute", 24, 59},
	} {
		s, ok := spans[want.id]
		if !ok || s.Name != want.name || s.Parent.SpanID().String() != want.parent || !s.StartTime.Equal(at(want.from)) || !s.EndTime.Equal(at(want.to)) {
			t.Errorf("%s: there %v, name %s, parent %s, %s to %s", want.name, ok, s.Name, s.Parent.SpanID(), s.StartTime.Sub(t0), s.EndTime.Sub(t0))
		}
		delete(spans, want.id)
	}
	for _, s := range spans {
		t.Errorf("unexpected span %s", s.Name)
	}
}

// eventsOf are the names, times and attributes of a span's events.
func eventsOf(s tracetest.SpanStub) (list []string) {
	for _, e := range s.Events {
		text := fmt.Sprintf("%s at %v", e.Name, e.Time.Sub(t0).Seconds())
		for _, a := range e.Attributes {
			text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(string(a.Key), "pipelined."), a.Value.String())
		}
		list = append(list, text)
	}
	return list
}

// What happened on the way stands in events, and phases that took long have spans.
func TestSpanBuilder_eventsAndPhases(t *testing.T) {
	r := sample()
	m := r.records["e2e[chaos]"]
	m.Attempts[1].Phases = &pipeline.Phases{Fetch: time.Second, FetchedAt: at(23.5), FetchedBytes: 4096, Capture: 2 * time.Second, Report: time.Second}
	m.Attempts[1].Waited, m.Attempts[1].Cache = "slots", &pipeline.CacheLookup{Missed: []string{"no result", "because"}}
	m.Attempts[1].Predecessor = &pipeline.AttemptID{Run: runID, Module: "lint", Attempt: 1}
	m.Attempts = append(m.Attempts, pipeline.Attempt{Number: 3, WorkerName: "beta", State: pipeline.AttemptFailed, AssignedAt: at(60), StartedAt: at(61), FinishedAt: at(62)})
	m.FinishedAt = at(62)
	r.elections = []pipeline.Event{{Type: pipeline.EventLeaderChanged, At: at(30), Node: "beta", Previous: "alpha", Gap: 38 * time.Millisecond, Count: 1}}
	parent := pipeline.NewTraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", "")
	r.sources = map[pipeline.RunID]pipeline.Trace{"r0": parent.Of("r0")}
	spans := exported(t, r)

	for id, want := range map[string]string{
		name("", 0, ""):           "[leader changed at 30 leader=beta leader.before=alpha leader.gap_ms=38 leader.adopted=1]",
		name("e2e[chaos]", 0, ""): "[lost at 20 attempt=1 reason=worker alpha was lost cicd.worker.name=alpha cache missed at 22 attempt=2 reasons=[\"no result\",\"because\"] retry at 59 attempt=2 reason=exit code 1]",
		name("e2e[chaos]", 1, ""): "[]",
		name("e2e[chaos]", 2, ""): "[adopted at 30 leader=beta]",
	} {
		if got := fmt.Sprint(eventsOf(spans[id])); got != want {
			t.Errorf("%s:\n got %s\nwant %s", spans[id].Name, got, want)
		}
	}

	m.Attempts[1].State = pipeline.AttemptSuperseded // it was given up, and its worker reported later
	if got := eventsOf(exported(t, r)[name("e2e[chaos]", 2, "")]); len(got) > 0 {
		t.Errorf("an attempt that was not adopted: %v", got)
	}
	m.Attempts[1].State = pipeline.AttemptFailed
	for phase, want := range map[string][2]float64{"": {20, 62}, "dispatch": {22, 24}, "fetch": {22.5, 23.5}, "execute": {24, 59}, "capture": {59, 61}, "report": {61, 62}} {
		s := spans[name("e2e[chaos]", 2, phase)]
		if !s.StartTime.Equal(at(want[0])) || !s.EndTime.Equal(at(want[1])) {
			t.Errorf("%s: from %v to %v", phase, s.StartTime.Sub(t0), s.EndTime.Sub(t0))
		}
	}
	fetch, wait, dispatch := spans[name("e2e[chaos]", 2, "fetch")], spans[name("e2e[chaos]", 2, "wait")], spans[name("e2e[chaos]", 2, "dispatch")]
	if got := fmt.Sprintf("%d %s %s", fetch.Attributes[0].Value.AsInt64(), wait.Attributes[0].Value.String(), dispatch.Attributes[0].Value.String()); got != "4096 slots lint/1" || fetch.Parent.SpanID() != dispatch.SpanContext.SpanID() {
		t.Errorf("attributes %s", got)
	}
	links := spans[name("build", 0, "")].Links
	if made := pipeline.RunID("r0").SpanID("build", 3, ""); len(links) != 1 || links[0].SpanContext.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" || links[0].SpanContext.SpanID() != made {
		t.Errorf("the cached module links to %v", links)
	}
}

// The next leader exports the same spans; modules know theirs before it does.
func TestSpanBuilder_sameOnEveryNode(t *testing.T) {
	one, two := exported(t, sample()), exported(t, sample())
	for id := range one {
		if _, ok := two[id]; !ok {
			t.Errorf("span %s has another id on the second node", one[id].Name)
		}
	}

	want := "00-" + string(runID) + "-" + name("e2e[chaos]", 2, "execute") + "-01"
	if got := (pipeline.TraceContext{}).Attempt(pipeline.AttemptID{Run: runID, Module: "e2e[chaos]", Attempt: 2}).Parent; got != want {
		t.Errorf("TRACEPARENT is %s, the span %s", got, want)
	}
}

// A run that was submitted within a trace is a child in it, and what it was of is said.
func TestSpanBuilder_parent(t *testing.T) {
	r := sample()
	r.run.Trace = pipeline.NewTraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", "")
	r.run.Git = pipeline.Git{SHA: "57ad523", Branch: "main"}
	root := exported(t, r)[name("", 0, "")]
	if got := root.Parent.SpanID().String(); got != "00f067aa0ba902b7" || !root.Parent.IsRemote() {
		t.Errorf("the run's parent is %s", got)
	}
	attrs := map[attribute.Key]string{}
	for _, a := range root.Attributes {
		attrs[a.Key] = a.Value.AsString()
	}
	for key, want := range map[attribute.Key]string{"cicd.pipeline.run.id": string(runID), "vcs.ref.head.revision": "57ad523",
		"vcs.ref.head.name": "main", "vcs.ref.head.type": "branch"} {
		if attrs[key] != want {
			t.Errorf("%s is %q, want %q", key, attrs[key], want)
		}
	}
}

// What the sampler or the submitter does not want is not exported, neither the run nor
// what is below it.
func TestSpanBuilder_notSampled(t *testing.T) {
	if got := exported(t, sample(), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0)))); len(got) > 0 {
		t.Errorf("%d spans of a run that is not sampled", len(got))
	}
	r := sample()
	r.run.Trace = pipeline.NewTraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "", "")
	if got := exported(t, r); len(got) > 0 {
		t.Errorf("%d spans of a trace that is not sampled", len(got))
	}
}

// Without an address nothing is exported, and a nil exporter does nothing.
func TestOpen_variables(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, tc := range []struct {
		vars map[string]string
		on   bool
		bad  bool
	}{
		{nil, false, false},
		{map[string]string{endpoint: "http://127.0.0.1:1"}, true, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, false},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, false, false},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, false, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "console"}, true, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, true},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, true},
		{map[string]string{endpoint: "127.0.0.1:4318"}, false, true},
		{map[string]string{endpoint: "collector"}, false, true},
		{map[string]string{endpoint: "http:/127.0.0.1:4318"}, false, true},
		{map[string]string{endpoint: "grpc://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, true},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "sometimes"}, false, true},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"}, false, true},
		{map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, true, false},
	} {
		to, err := newExporter(t.Context(), func(name string) string { return tc.vars[name] })
		if (to != nil) != tc.on || (err != nil) != tc.bad {
			t.Errorf("%v: on %v, error %v", tc.vars, to != nil, err)
		}
		if to != nil {
			_ = to.Shutdown(t.Context())
		}
	}

	var e *Exporter
	e.Ended(runID)
	e.Lead(context.Background())
	e.Close()
}

// A finished run costs nothing if there is no collector.
func BenchmarkExporter_off(b *testing.B) {
	var e *Exporter
	for b.Loop() {
		e.Ended(runID)
	}
}
