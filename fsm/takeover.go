package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// A run can be retried with other values of variables: a new run, which takes the
// results of those modules of the old one over that would do the same work.

// maxRetriedAs is how many runs a run names that retry it.
const maxRetriedAs = 8

// takeover is what a new run takes over of another one.
type takeover struct {
	from    *pipeline.Run
	modules []*pipeline.ModuleRecord
}

// takeover checks what a new run takes over, and sets what the run has of the other
// one; nil if it retries none.
func (st *state) takeover(op *Submit, r *pipeline.Run) (*takeover, error) {
	if r.RetryOf == nil {
		return nil, nil
	}
	from := st.runs.run(r.RetryOf.ID)
	switch {
	case from == nil:
		return nil, pipeline.NoRun(r.RetryOf.ID)
	case !from.State.Final():
		return nil, pipeline.Errorf(pipeline.Conflict, "run %s has not finished: it is %s", from.ID, from.State)
	case from.Tries != op.Tries:
		return nil, pipeline.Errorf(pipeline.Conflict, "run %s was retried meanwhile", from.ID)
	case from.ArtifactsGone:
		return nil, pipeline.FilesGone(from.ID)
	}

	t := &takeover{from: from, modules: make([]*pipeline.ModuleRecord, 0, len(op.Take))}
	seen := make(map[string]bool, len(op.Take))
	for _, name := range op.Take {
		if why := badName("the module's name", name); why != "" {
			return nil, pipeline.Errorf(pipeline.Invalid, "%s", why)
		}
		m := st.runs.module(from.ID, name)
		switch {
		case !m.State.Success():
			return nil, pipeline.Errorf(pipeline.Conflict, "module %s of run %s has not succeeded", name, from.ID)
		case !seen[name]:
			seen[name] = true
			t.modules = append(t.modules, m)
		}
	}

	of := *r.RetryOf
	of.Number = from.Number
	r.RetryOf, r.Tick, r.Zone = &of, from.Tick, from.Zone
	r.Untrusted = r.Untrusted || from.Untrusted
	return t, nil
}

// takeOver gives a new run what it takes over, and links the two runs.
func (st *state) takeOver(t *takeover, r *pipeline.Run, at time.Time, ch *change) {
	if t == nil {
		return
	}
	for _, m := range t.modules {
		taken := takenRecord(t.from, m, at)
		if n := len(taken.Instances); n > 0 {
			r.Replaced++
			r.Modules += n
		}
		r.Done++
		countKind(r, taken, 1)
		st.runs.putModule(r.ID, taken)
	}
	st.runs.touch(r)

	list := append(slices.Clone(t.from.RetriedAs), pipeline.RunLink{ID: r.ID, Number: r.Number})
	t.from.RetriedAs = list[max(0, len(list)-maxRetriedAs):]
	st.runs.touch(t.from)
	ch.run(t.from.ID, false)
}

// takenRecord is what a run records of a module that another run executed. What ran
// nothing (an approval, a module that became instances) is as it was there.
func takenRecord(from *pipeline.Run, m *pipeline.ModuleRecord, at time.Time) *pipeline.ModuleRecord {
	out := *m
	out.Attempts, out.Failures, out.Losses, out.Tried, out.Earlier, out.NotBefore = nil, 0, 0, 0, false, time.Time{}
	reason := fmt.Sprintf("result of run %d, which this one retries", from.Number)
	last := m.Last()
	if last == nil {
		if m.LastChild() != nil {
			out.Reason = reason
		}
		return &out
	}

	origin, took := pipeline.AttemptID{Run: from.ID, Module: m.Name, Attempt: last.Number}, m.FinishedAt.Sub(m.StartedAt)
	if last.From != nil { // that run had it from another one
		origin, took = *last.From, m.Recorded
	}
	out.State, out.Reason = pipeline.ModuleCached, reason
	out.StartedAt, out.FinishedAt, out.Recorded = at, at, max(0, took)

	a := pipeline.Attempt{Number: 1, WorkerName: last.WorkerName, State: pipeline.AttemptSucceeded, Reason: out.Reason, ExitCode: last.ExitCode,
		AssignedAt: at, StartedAt: at, FinishedAt: at, Log: last.Log, LogSize: last.LogSize, Image: last.Image, Replicas: last.Replicas,
		Holders: last.Holders, From: &origin, Tests: last.Tests}
	if e := last.Evaluated; e != nil && len(e.SealedDerived) > 0 {
		// The output of later modules is masked with it.
		a.Evaluated = &pipeline.Evaluated{SealedDerived: e.SealedDerived}
	}
	out.Attempts = []pipeline.Attempt{a}
	return &out
}
