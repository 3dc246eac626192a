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

// stopRun ends what has not started of a run in which a module failed, but for
// what always runs.
func (t *term) stopRun(r *run) {
	r.queue.Clear()
	for _, m := range r.list {
		if m.live == nil && !m.state.Final() {
			m.unready()
			if m.def.AlwaysRun {
				t.advance(m)
				continue
			}
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
	r.queue.Clear()
	reason := r.cancelReason()
	for _, m := range r.list {
		switch {
		case m.state.Final():
		case m.live != nil && !m.spared():
			t.stopAttempt(m.live, reason)
		case m.live == nil:
			m.unready()
			if m.spared() {
				t.advance(m)
			} else {
				t.end(m, pipeline.ModuleCancelled, reason)
			}
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
	state, reason := pipeline.RunSucceeded, ""
	switch {
	case r.cancelling() && r.cancelled > 0:
		state, reason = pipeline.RunCancelled, r.head.Reason
		if r.head.TimedOut {
			state = pipeline.RunFailed
		}
	case r.failed > 0 || r.cancelled > 0:
		state = pipeline.RunFailed
		if r.broken != "" {
			reason = r.broken + " failed"
			if why := r.mods[r.broken].def.Failure; why != "" {
				reason = why
			}
		}
	case r.warnings > 0:
		state = pipeline.RunWarnings
	}
	t.batch.runEnd(r, state, reason)
}
