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
	links    []trace.SpanID
	failed   string // "" if it went well
}

func (t *spanBuilder) add(s span) {
	if s.to.Before(s.from) {
		s.to = s.from // times of two machines
	}

	ctx := context.WithValue(context.Background(), idsKey{}, ids{t.trace.ID, s.id})
	opts := []trace.SpanStartOption{trace.WithTimestamp(s.from), trace.WithSpanKind(s.kind), trace.WithAttributes(s.attrs...)}
	for _, id := range s.links {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: t.context(id)}))
	}
	if s.parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, t.context(s.parent))
	} else {
		opts = append(opts, trace.WithNewRoot())
	}

	_, one := t.tracer.Start(ctx, s.name, opts...)
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

func (t *spanBuilder) context(id trace.SpanID) trace.SpanContext {
	flags := trace.TraceFlags(0).WithSampled(t.trace.Sampled)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t.trace.ID, SpanID: id, TraceFlags: flags, Remote: true})
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
		if from := rec.Attempts[i].From; from != nil {
			s.attrs = append(s.attrs, attribute.String("pipelined.cached_from", fmt.Sprintf("%s/%s/%d", from.Run, from.Module, from.Attempt)))
		}
	}
	t.add(s)

	since := s.from
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if a.From == nil && !a.AssignedAt.IsZero() {
			t.addAttempt(m, a, id, since)
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
func (t *spanBuilder) addAttempt(m *pipeline.Module, a *pipeline.Attempt, parent trace.SpanID, since time.Time) {
	phase := func(name string) trace.SpanID { return t.id(m.Name, a.Number, name) }
	s := span{name: fmt.Sprintf("attempt %d", a.Number), kind: trace.SpanKindInternal, id: phase(""), parent: parent, from: since, to: a.FinishedAt,
		attrs: []attribute.KeyValue{attribute.String("cicd.worker.name", a.WorkerName), attribute.String("pipelined.outcome", string(a.State))}}
	if a.State != pipeline.AttemptSucceeded {
		s.failed = a.Reason
	}
	if a.Number > 1 {
		s.links = []trace.SpanID{t.id(m.Name, a.Number-1, "")}
	}
	t.add(s)

	began := a.StartedAt
	if began.IsZero() {
		began = a.FinishedAt
	}
	t.add(span{name: pipeline.SpanWait, id: phase(pipeline.SpanWait), parent: s.id, from: since, to: a.AssignedAt})
	t.add(span{name: pipeline.SpanDispatch, id: phase(pipeline.SpanDispatch), parent: s.id, from: a.AssignedAt, to: began})
	if !a.StartedAt.IsZero() {
		t.add(span{name: pipeline.SpanExecute, id: phase(pipeline.SpanExecute), parent: s.id, from: a.StartedAt, to: a.FinishedAt, failed: s.failed})
	}
}
