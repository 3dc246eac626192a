package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// end ends a module that has no active attempt.
func (l *lifecycle) end(m *moduleState, s pipeline.ModuleState, reason string) {
	// The state first: what follows from the end reads it.
	m.state, m.endedAt = s, time.Now().UTC()
	l.proposals.batch.end(m, reason)
	l.proposals.flushIfFull()
	l.finish(m)
}

// finish counts a final state and advances the dependents.
func (l *lifecycle) finish(m *moduleState) {
	m.clearReady()
	m.countFinal()

	// After a success, the waiters are released once the result is stored: a lookup
	// before that would find nothing.
	if m.state != pipeline.ModuleSucceeded {
		l.work.release(m)
	}

	// A dependent of a failure is skipped even if other dependencies still run.
	for _, d := range m.dependents {
		if d.unfinished == 0 || !m.state.Success() {
			l.advance(d)
		}
	}

	if m.state == pipeline.ModuleFailed && m.run.tally.stopAfter != "" {
		l.stopRun(m.run)
	}

	l.maybeEnd(m.run)
}

// stopRun ends the modules that have not started in a run with a failure, except
// those that always run. With OnFailureCancel it also stops those that run.
func (l *lifecycle) stopRun(r *run) {
	// All of it first: ending one module may make another ready.
	r.clearReady()

	for _, m := range r.list {
		switch {
		case m.state.Final():
		case m.active != nil:
			if m.stopsWithSibling() {
				l.attempts.stop(m.active, siblingReason(r))
			}
		case m.child.live:
			if m.stopsWithSibling() {
				l.children.stop(m, siblingReason(r))
			}
		case m.def.AlwaysRun:
			l.advance(m)
		default:
			reason, _ := m.blockedReason()
			if reason == "" {
				reason = stoppedReason(r)
			}
			m.blocked = true
			l.end(m, pipeline.ModuleSkipped, reason)
		}
	}
}

func stoppedReason(r *run) string { return "not started because " + r.tally.stopAfter + " failed" }

func siblingReason(r *run) string { return "cancelled because " + r.tally.stopAfter + " failed" }

// stopsWithSibling reports whether the module, if it runs, is stopped because another
// module of its run has failed.
func (m *moduleState) stopsWithSibling() bool {
	return m.run.def.OnFailure == pipeline.OnFailureCancel && m.run.tally.stopAfter != "" && !m.def.AlwaysRun
}

// cancel ends the modules that wait and stops those that run. It may be called
// again when a second cancellation forces the run.
func (l *lifecycle) cancel(r *run) {
	r.clearReady()
	reason := r.cancelReason()

	for _, m := range r.list {
		switch {
		case m.state.Final():
		case m.active != nil:
			if !m.runsDespiteCancel() {
				l.attempts.stop(m.active, reason)
			}
		case m.child.live: // the entry that cancelled the run has cancelled it, if it is to be
		case m.runsDespiteCancel():
			l.advance(m)
		default:
			l.end(m, pipeline.ModuleCancelled, reason)
		}
	}

	l.maybeEnd(r)
	l.replan.raise()
}

// maybeEnd ends a run whose modules are all final.
func (l *lifecycle) maybeEnd(r *run) {
	if r.tally.remaining > 0 || r.ended {
		return
	}

	// Once: finish of several modules may come by here in one step.
	r.ended = true

	state, reason := r.outcome()
	l.proposals.batch.runEnd(r, state, reason)
}

// outcome is the run's state if it ended now, and why. Modules that have not
// ended do not count.
func (r *run) outcome() (pipeline.RunState, string) {
	// Cancelled counts only if something was: all modules may have ended before.
	t := &r.tally
	switch {
	case r.cancelling() && t.cancelled > 0:
		if r.head.TimedOut {
			return pipeline.RunFailed, r.head.Reason
		}
		return pipeline.RunCancelled, r.head.Reason

	// Those of before a retry that left them out.
	case t.cancelled > 0 && t.failed == 0:
		return pipeline.RunCancelled, "modules that were cancelled were not retried"

	case t.failed > 0:
		switch {
		case r.modules[t.firstFailed].def.Failure != "":
			return pipeline.RunFailed, r.modules[t.firstFailed].def.Failure
		}
		return pipeline.RunFailed, t.firstFailed + " failed"

	case t.ignored > 0:
		return pipeline.RunWarnings, ""
	}
	return pipeline.RunSucceeded, ""
}

// hookSkipReason is why a hook of the pipeline does not run after a run that ended
// like this; "" if it runs, or is no hook.
func (m *moduleState) hookSkipReason() string {
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

// hookStatus is the value of PIPELINED_STATUS for a hook of the pipeline.
func (m *moduleState) hookStatus() string {
	if m.def.Hook == pipeline.HookBefore || m.def.Hook == pipeline.HookNotifyStart {
		return string(pipeline.RunRunning)
	}

	state, _ := m.run.outcome()
	return string(state)
}
