package fsm

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Spawn makes a run for a module: its child. Both are in one entry, and so are the end
// of the child and what it makes of the module (applyRunEnd): no leader can die between.
// It is refused as an assignment is.
type Spawn struct {
	Run    pipeline.RunID `cbor:"1,keyasint"`
	Module string         `cbor:"2,keyasint"`
	// Number counts the children of the module, from 1.
	Number int `cbor:"3,keyasint"`
	// Child has the id, the pipeline, the number of modules, the concurrency group and whom
	// the run notifies. The rest is the parent's.
	Child pipeline.Run `cbor:"4,keyasint"`
	// Definition is the pipeline as EncodeDefinition makes it.
	Definition []byte `cbor:"5,keyasint"`
	// Retry is the module's: a child that fails may be followed by another one.
	Retry pipeline.Retry `cbor:"6,keyasint"`
	// Ignored marks a failure that leaves its run succeeded with warnings, Always a module
	// that runs although its run is being cancelled.
	Ignored bool `cbor:"7,keyasint,omitempty"`
	Always  bool `cbor:"8,keyasint,omitempty"`
}

// applySpawn answers with the child. An error of kind Conflict says that the state has
// moved on, one of another kind that no child can be made so.
func (st *state) applySpawn(c *Command, ch *change) Result {
	op := c.Spawn
	r := st.runs.run(op.Run)
	switch {
	case r == nil:
		return Result{Err: conflict("no such run")}
	case r.State == pipeline.RunCancelling && op.Always && !r.Forced:
	case r.State != pipeline.RunWaiting && r.State != pipeline.RunRunning:
		return Result{Err: conflict("run is %s", r.State)}
	}

	if _, why := waitsFor(st.tx.Bucket(bQueues), r); why != "" {
		return Result{Err: conflict("run %s", why)}
	}
	if why := badName("the module's name", op.Module); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}
	m := st.runs.module(op.Run, op.Module)
	switch {
	case m.State != pipeline.ModuleWaiting:
		return Result{Err: conflict("module is %s", m.State)}
	case m.Last() != nil || m.ApprovalWait != nil:
		return Result{Err: conflict("module has attempts")}
	case op.Number != len(m.Children)+1:
		return Result{Err: conflict("next child is %d", len(m.Children)+1)}
	}

	child := pipeline.Run{ID: op.Child.ID, Pipeline: op.Child.Pipeline, Modules: op.Child.Modules, Group: op.Child.Group, Cancels: op.Child.Cancels, Notify: op.Child.Notify,
		Submitter: r.Submitter, Workspace: r.Workspace, Holders: r.Holders, Trace: r.Trace, Cache: r.Cache, Untrusted: r.Untrusted, PinWorker: r.PinWorker, Git: r.Git,
		Parent: pipeline.Parent{Run: r.ID, Number: r.Number, Module: op.Module}}
	if why := badSubmit(&child); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}
	if st.runs.run(child.ID) != nil {
		return Result{Err: conflict("run %s exists", child.ID)}
	}

	st.begin(r, c.At)
	r.Children = append(r.Children, child.ID)
	st.queues.start(&child, op.Definition, c.At, ch)
	m.Children = append(m.Children, pipeline.ChildRun{Run: child.ID, Number: child.Number, Pipeline: child.Pipeline, StartedAt: c.At,
		Retry: op.Retry, Ignored: op.Ignored, Always: op.Always})
	m.State, m.Reason, m.NotBefore = pipeline.ModuleRunning, "", time.Time{}
	m.StartedAt = c.At
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)
	ch.run(r.ID, false)

	return Result{Run: child}
}

func conflict(format string, args ...any) error {
	return pipeline.Errorf(pipeline.Conflict, format, args...)
}

// endChild takes the end of a run into the module that made it, if that waits for it.
func (st *state) endChild(c *pipeline.Run, at time.Time, ch *change) {
	r := st.runs.run(c.Parent.Run)
	if r == nil || r.State.Final() {
		return
	}
	m := st.runs.module(r.ID, c.Parent.Module)
	x := m.LiveChild()
	if x == nil || x.Run != c.ID {
		return
	}

	x.State, x.Reason, x.FinishedAt = c.State, c.Reason, at
	r.Children = slices.DeleteFunc(slices.Clone(r.Children), func(id pipeline.RunID) bool { return id == c.ID })

	result := json.RawMessage(nil)
	m.State, m.Reason = pipeline.ModuleSucceeded, ""
	switch c.State {
	case pipeline.RunSucceeded, pipeline.RunWarnings:
		result = st.results(c.ID)
		if n := len(result); n > pipeline.MaxResultBytes {
			result = nil
			m.State = pipeline.ModuleFailed
			m.Reason = fmt.Sprintf("the results of run %d have %d bytes together, and at most %d fit", c.Number, n, pipeline.MaxResultBytes)
		}
	case pipeline.RunCancelled:
		m.State, m.Reason = pipeline.ModuleFailed, fmt.Sprintf("run %d was cancelled%s", c.Number, because(c.Reason))
		if c.ByParent || r.State == pipeline.RunCancelling {
			m.State, m.Reason = pipeline.ModuleCancelled, c.Reason
		}
	default:
		m.State, m.Reason = pipeline.ModuleFailed, fmt.Sprintf("run %d failed: %s", c.Number, st.failure(c))
	}

	again := st.retriesChild(r, m, x, at)
	if m.State == pipeline.ModuleFailed || again {
		st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventAttemptFinished, State: string(pipeline.ModuleFailed), Again: again, Reason: m.Reason})
	}
	if !again {
		m.Result, m.FinishedAt = result, at
		countEnd(r, m, x.Ignored)
		st.history.add(r, m)
	}

	st.runs.putModule(r.ID, m)
	st.runs.touch(r)
	ch.run(r.ID, true)
}

// retriesChild lets a module whose child has failed wait for another one, if it may.
func (st *state) retriesChild(r *pipeline.Run, m *pipeline.ModuleRecord, x *pipeline.ChildRun, at time.Time) bool {
	if m.State != pipeline.ModuleFailed {
		return false
	}
	m.Failures++
	if m.Failures >= x.Retry.Attempts || r.State == pipeline.RunCancelling && (!x.Always || r.Forced) {
		return false
	}
	m.State, m.NotBefore = pipeline.ModuleWaiting, at.Add(x.Retry.Pause(m.Failures))
	return true
}

// failure is why a run failed, with the reason of the module that the run's own names.
func (st *state) failure(c *pipeline.Run) string {
	for _, m := range st.runs.records(c.ID) {
		if m.State == pipeline.ModuleFailed && !m.Ignored && m.Reason != "" && c.Reason == m.Name+" failed" {
			return c.Reason + ": " + m.Reason
		}
	}
	return c.Reason
}

// results are those of all modules of a run that left one, by their names; nil if none
// did.
func (st *state) results(run pipeline.RunID) json.RawMessage {
	all := map[string]json.RawMessage{}
	for _, m := range st.runs.records(run) {
		if len(m.Result) > 0 && m.State.Success() {
			all[m.Name] = m.Result
		}
	}
	if len(all) == 0 {
		return nil
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil // a result that is no JSON, which no expression could name either
	}
	return out
}

// cancelChildren passes the cancellation of a run on to the children of its modules,
// except those that run although it is cancelled.
func (q *queues) cancelChildren(r *pipeline.Run, ch *change) {
	for _, id := range r.Children {
		c := q.runs.run(id)
		if c == nil || c.State.Final() {
			continue
		}
		if x := q.runs.module(r.ID, c.Parent.Module).LiveChild(); x != nil && x.Always && !r.Forced {
			continue
		}

		switch {
		case c.State != pipeline.RunCancelling:
			c.State, c.Reason, c.CancelledBy, c.ByParent = pipeline.RunCancelling, r.Reason, "run "+string(r.ID), true
		case !r.Forced || c.Forced:
			continue
		}
		c.Forced = r.Forced
		q.runs.touch(c)
		q.happenedTo(c, pipeline.Event{Type: pipeline.EventRunCancelling, Reason: c.Reason, State: forced(c)})
		ch.run(id, true)
		q.cancelChildren(c, ch)
	}
}
