package traces

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pipelined/pipelined/pipeline"
)

// record is what the state has of a run.
type record struct {
	run     pipeline.Run
	modules []pipeline.Module
	records map[string]*pipeline.ModuleRecord
	// elections are those while the run went, oldest first; sources are the traces of the
	// runs whose results it took from the cache, as far as these are known.
	elections []pipeline.Event
	sources   map[pipeline.RunID]pipeline.Trace
}

// spanBuilder makes the spans of one run.
type spanBuilder struct {
	tracer trace.Tracer
	url    string
	run    pipeline.RunID
	trace  pipeline.Trace
	// flush waits until what was added is delivered; added counts since then.
	flush func()
	added int
}

// span is a span to be exported.
type span struct {
	name     string
	kind     trace.SpanKind
	id       trace.SpanID
	parent   trace.SpanID // zero for none
	from, to time.Time
	attrs    []attribute.KeyValue
	events   []event
	links    []trace.SpanContext
	failed   string // "" if it went well
}

// event is what happened in a span.
type event struct {
	name  string
	at    time.Time
	attrs []attribute.KeyValue
}

func (t *spanBuilder) add(s span) {
	if s.to.Before(s.from) {
		s.to = s.from // times of two machines
	}

	ctx := context.WithValue(context.Background(), idsKey{}, ids{t.trace.ID, s.id})
	opts := []trace.SpanStartOption{trace.WithTimestamp(s.from), trace.WithSpanKind(s.kind), trace.WithAttributes(s.attrs...)}
	for _, to := range s.links {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: to}))
	}
	if s.parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, t.context(s.parent))
	} else {
		opts = append(opts, trace.WithNewRoot())
	}

	_, one := t.tracer.Start(ctx, s.name, opts...)
	for _, e := range s.events {
		one.AddEvent(e.name, trace.WithTimestamp(e.at), trace.WithAttributes(e.attrs...))
	}
	if s.failed != "" {
		one.SetStatus(codes.Error, s.failed)
	}
	one.End(trace.WithTimestamp(s.to))
	if s.parent == t.trace.Parent {
		t.trace.Sampled = one.SpanContext().IsSampled() // what is below the run follows its decision
	}
	if t.added++; t.added%pace == 0 {
		t.flush()
	}
}

func (t *spanBuilder) context(id trace.SpanID) trace.SpanContext { return contextIn(t.trace, id) }

func contextIn(of pipeline.Trace, id trace.SpanID) trace.SpanContext {
	flags := trace.TraceFlags(0).WithSampled(of.Sampled)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: of.ID, SpanID: id, TraceFlags: flags, Remote: true})
}

func (t *spanBuilder) id(module string, attempt int, phase string) trace.SpanID {
	return t.run.SpanID(module, attempt, phase)
}

// addRun makes all spans of a run.
func (t *spanBuilder) addRun(r *record) {
	root := t.id("", 0, "")
	s := span{name: "RUN " + r.run.Pipeline, kind: trace.SpanKindServer, id: root, parent: t.trace.Parent, from: r.run.SubmittedAt, to: r.run.FinishedAt,
		attrs: []attribute.KeyValue{
			attribute.String("cicd.pipeline.name", r.run.Pipeline),
			attribute.String("cicd.pipeline.run.id", string(r.run.ID)),
			attribute.String("cicd.pipeline.run.url.full", t.runURL(r)),
			attribute.String("cicd.pipeline.result", r.run.State.Result(r.run.TimedOut)),
		}}
	s.attrs = append(s.attrs, r.vcs()...)
	if r.run.State == pipeline.RunFailed {
		s.failed = r.run.Reason
	}
	for i := range r.elections {
		s.events = append(s.events, election(&r.elections[i]))
	}
	t.add(s)

	for i := range r.modules {
		m := &r.modules[i]
		if rec := r.records[m.Name]; rec != nil && !rec.FinishedAt.IsZero() {
			t.addModule(r, m, rec, root)
		}
	}
}

// vcs is what the run was of, in the words of the conventions; nothing outside of a
// repository.
func (r *record) vcs() (list []attribute.KeyValue) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, attribute.String(name, value))
		}
	}
	add("vcs.ref.head.revision", r.run.Git.SHA)
	name, kind := r.run.Git.Branch, "branch"
	if r.run.Git.Tag != "" {
		name, kind = r.run.Git.Tag, "tag"
	}
	if name != "" {
		add("vcs.ref.head.name", name)
		add("vcs.ref.head.type", kind)
	}
	if r.run.Git.Dirty {
		list = append(list, attribute.Bool("pipelined.vcs.dirty", true))
	}
	return list
}

// taskResults are the words of the conventions for modules.
var taskResults = map[pipeline.ModuleState]string{
	pipeline.ModuleSucceeded: "success", pipeline.ModuleCached: "success", pipeline.ModuleFailed: "failure",
	pipeline.ModuleSkipped: "skip", pipeline.ModuleCancelled: "cancellation",
}

func (t *spanBuilder) runURL(r *record) string { return t.url + "/runs/" + string(r.run.ID) }

// addModule makes the spans of a module: of it, of its attempts, and of their phases.
func (t *spanBuilder) addModule(r *record, m *pipeline.Module, rec *pipeline.ModuleRecord, root trace.SpanID) {
	block := m.Name
	if m.Of != "" {
		block = m.Of
	}

	id := t.id(m.Name, 0, "")
	s := span{name: block, kind: trace.SpanKindInternal, id: id, parent: root, from: r.readyAt(m), to: rec.FinishedAt,
		attrs: []attribute.KeyValue{
			attribute.String("cicd.pipeline.task.name", block),
			attribute.String("cicd.pipeline.task.run.id", string(r.run.ID)+"/"+m.Name),
			attribute.String("cicd.pipeline.task.run.url.full", t.runURL(r)+"?m="+url.QueryEscape(m.Name)),
			attribute.String("cicd.pipeline.task.run.result", taskResults[rec.State]),
		}}
	if m.Name != block {
		s.attrs = append(s.attrs, attribute.String("pipelined.instance", m.Name))
	}
	if rec.State == pipeline.ModuleFailed {
		s.failed = rec.Reason
	}
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		s.events = append(s.events, happened(a, i < len(rec.Attempts)-1)...)
		if end := a.FinishedAt.Add(a.Phases.After()); end.After(s.to) {
			s.to = end
		}
		if from := a.From; from != nil {
			s.attrs = append(s.attrs, attribute.String("pipelined.cached_from", fmt.Sprintf("%s/%s/%d", from.Run, from.Module, from.Attempt)))
			if source, ok := r.sources[from.Run]; ok {
				s.links = append(s.links, contextIn(source, from.Run.SpanID(from.Module, from.Attempt, "")))
			}
		}
	}
	t.add(s)

	since := s.from
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if a.From == nil && !a.AssignedAt.IsZero() {
			t.addAttempt(r, m, a, id, since)
		}
		since = a.FinishedAt
	}
}

// readyAt is when a module waited for no other: the latest end of its dependencies.
func (r *record) readyAt(m *pipeline.Module) time.Time {
	at := r.run.SubmittedAt
	for _, name := range m.DependsOn {
		if d := r.records[name]; d != nil && d.FinishedAt.After(at) {
			at = d.FinishedAt
		}
	}
	return at
}

// addAttempt makes the spans of one attempt; since is from when it could have begun.
func (t *spanBuilder) addAttempt(r *record, m *pipeline.Module, a *pipeline.Attempt, parent trace.SpanID, since time.Time) {
	phase := func(name string) trace.SpanID { return t.id(m.Name, a.Number, name) }
	s := span{name: fmt.Sprintf("attempt %d", a.Number), kind: trace.SpanKindInternal, id: phase(""), parent: parent, from: since, to: a.FinishedAt.Add(a.Phases.After()),
		attrs: []attribute.KeyValue{attribute.String("cicd.worker.name", a.WorkerName), attribute.String("pipelined.outcome", string(a.State))}}
	if a.State != pipeline.AttemptSucceeded {
		s.failed = a.Reason
	}
	if a.Number > 1 {
		s.links = []trace.SpanContext{t.context(t.id(m.Name, a.Number-1, ""))}
	}
	for i := range r.elections {
		if e := &r.elections[i]; e.At.After(a.AssignedAt) && e.At.Before(a.FinishedAt) && !a.State.Lost() {
			s.events = append(s.events, event{name: "adopted", at: e.At, attrs: []attribute.KeyValue{attribute.String("pipelined.leader", e.Node)}})
		}
	}
	t.add(s)

	wait := span{name: pipeline.SpanWait, id: phase(pipeline.SpanWait), parent: s.id, from: since, to: a.AssignedAt}
	if a.Waited != "" {
		wait.attrs = []attribute.KeyValue{attribute.String("pipelined.wait.reason", a.Waited)}
	}
	t.add(wait)
	t.addPhases(a, s.id, phase, s.failed)
}

// addPhases makes the spans of an attempt from its assignment on.
func (t *spanBuilder) addPhases(a *pipeline.Attempt, parent trace.SpanID, phase func(string) trace.SpanID, failed string) {
	began := a.StartedAt
	if began.IsZero() {
		began = a.FinishedAt
	}
	dispatch := span{name: pipeline.SpanDispatch, id: phase(pipeline.SpanDispatch), parent: parent, from: a.AssignedAt, to: began}
	if p := a.Predecessor; p != nil {
		dispatch.attrs = []attribute.KeyValue{attribute.String("pipelined.queued_behind", fmt.Sprintf("%s/%d", p.Module, p.Attempt))}
	}
	t.add(dispatch)
	if p := a.Phases; p != nil && p.Fetch > 0 {
		t.add(span{name: pipeline.SpanFetch, id: phase(pipeline.SpanFetch), parent: dispatch.id, from: p.FetchedAt.Add(-p.Fetch), to: p.FetchedAt,
			attrs: []attribute.KeyValue{attribute.Int64("pipelined.fetch.bytes", p.FetchedBytes)}})
	}
	if !a.StartedAt.IsZero() {
		t.add(span{name: pipeline.SpanExecute, id: phase(pipeline.SpanExecute), parent: parent, from: a.StartedAt, to: a.FinishedAt, failed: failed})
	}

	end := a.FinishedAt
	after := func(name string, took time.Duration) {
		if took > 0 {
			t.add(span{name: name, id: phase(name), parent: parent, from: end, to: end.Add(took)})
			end = end.Add(took)
		}
	}
	if a.Phases != nil {
		after(pipeline.SpanCapture, a.Phases.Capture)
		after(pipeline.SpanReport, a.Phases.Report)
	}
}

// happened gives the events of an attempt in the span of its module; again says that
// another one follows.
func happened(a *pipeline.Attempt, again bool) (list []event) {
	number := attribute.Int("pipelined.attempt", a.Number)
	if a.Cache != nil && len(a.Cache.Missed) > 0 {
		list = append(list, event{"cache missed", a.AssignedAt, []attribute.KeyValue{number, attribute.StringSlice("pipelined.reasons", a.Cache.Missed)}})
	}
	reason := attribute.String("pipelined.reason", a.Reason)
	switch {
	case a.State.Lost():
		list = append(list, event{"lost", a.FinishedAt, []attribute.KeyValue{number, reason, attribute.String("cicd.worker.name", a.WorkerName)}})
	case again && a.From == nil:
		list = append(list, event{"retry", a.FinishedAt, []attribute.KeyValue{number, reason}})
	}
	return list
}

// election is the event of a change of the leader.
func election(e *pipeline.Event) event {
	return event{"leader changed", e.At, []attribute.KeyValue{attribute.String("pipelined.leader", e.Node), attribute.String("pipelined.leader.before", e.Previous),
		attribute.Int64("pipelined.leader.gap_ms", e.Gap.Milliseconds()), attribute.Int("pipelined.leader.adopted", e.Count)}}
}
