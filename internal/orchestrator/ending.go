package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// end ends a module that has no live attempt.
func (t *term) end(m *mod, s pipeline.ModuleState, reason string) {
	m.state, m.endedAt = s, time.Now().UTC()
	t.batch.end(m, reason)
	if t.batch.full() {
		t.flush()
	}
	t.finish(m)
}

// clear takes back that anything of the run is ready.
func (r *run) clear() {
	r.queue.Clear()
	for _, m := range r.list {
		if m.live == nil && !m.state.Final() {
			m.unready()
		}
	}
}

// stopRun ends what has not started of a run in which a module failed, but for
// what always runs.
func (t *term) stopRun(r *run) {
	// All of it before anything else: ending a module may make another ready.
	r.clear()
	for _, m := range r.list {
		switch {
		case m.live != nil || m.state.Final():
		case m.def.AlwaysRun:
			t.advance(m)
		default:
			reason := m.blocked()
			if reason == "" {
				reason = "the run stopped after " + r.stopping + " failed"
			}
			t.end(m, pipeline.ModuleSkipped, reason)
		}
	}
}

// cancel ends what waits and stops what runs.
func (t *term) cancel(r *run) {
	r.clear()
	reason := r.cancelReason()
	for _, m := range r.list {
		switch {
		case m.state.Final():
		case m.live != nil:
			if !m.spared() {
				t.stopAttempt(m.live, reason)
			}
		case m.spared():
			t.advance(m)
		default:
			t.end(m, pipeline.ModuleCancelled, reason)
		}
	}
	t.maybeEnd(r)
	t.dirty = true
}

// maybeEnd ends a run whose modules are all final.
func (t *term) maybeEnd(r *run) {
	if r.remaining > 0 || r.ended {
		return
	}
	r.ended = true
	state, reason := r.outcome()
	t.batch.runEnd(r, state, reason)
}

// outcome is how the run has gone so far, as if what has not ended were not
// there.
func (r *run) outcome() (pipeline.RunState, string) {
	switch {
	case r.cancelling() && r.cancelled > 0:
		if r.head.TimedOut {
			return pipeline.RunFailed, r.head.Reason
		}
		return pipeline.RunCancelled, r.head.Reason
	case r.failed > 0 || r.cancelled > 0:
		switch {
		case r.broken == "":
			return pipeline.RunFailed, ""
		case r.mods[r.broken].def.Failure != "":
			return pipeline.RunFailed, r.mods[r.broken].def.Failure
		}
		return pipeline.RunFailed, r.broken + " failed"
	case r.warnings > 0:
		return pipeline.RunWarnings, ""
	}
	return pipeline.RunSucceeded, ""
}

// unfit is why a hook of the pipeline has nothing to do, after a run that went
// as this one did; "" where it has.
func (m *mod) unfit() string {
	state, _ := m.run.outcome()
	success := state == pipeline.RunSucceeded || state == pipeline.RunWarnings
	switch m.def.Hook {
	case pipeline.HookSuccess:
		if !success {
			return "the run has not succeeded"
		}
	case pipeline.HookFailure:
		if state != pipeline.RunFailed {
			return "the run has not failed"
		}
	}
	return ""
}

// hookStatus is what a hook of the pipeline sees as PIPELINED_STATUS.
func (m *mod) hookStatus() string {
	if m.def.Hook == pipeline.HookBefore {
		return string(pipeline.RunRunning)
	}
	state, _ := m.run.outcome()
	return string(state)
}
