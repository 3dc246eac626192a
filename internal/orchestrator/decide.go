package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// decide sets what an outcome makes of its module: final, or waiting for another
// attempt. It may change the outcome's state: an attempt that was stopped because
// its worker drains counts as lost, not as cancelled.
func decide(a *activeAttempt, op *fsm.Outcome) {
	m, r, o := a.module, a.module.run, &op.Outcome
	m.tries.avoid = ""

	if o.State == pipeline.AttemptCancelled && m.stopsWithSibling() && !m.mustCancel() {
		op.Next, op.Reason = pipeline.ModuleCancelled, siblingReason(r)
		if o.StartedAt.IsZero() && a.startedAt.IsZero() {
			op.Next, op.Reason = pipeline.ModuleSkipped, stoppedReason(r)
		}
		return
	}

	if o.State == pipeline.AttemptCancelled && !m.mustCancel() {
		if o.StartedAt.IsZero() && a.stopReason == "" && r.tally.stopAfter == "" {
			// The worker gave it back: its predecessor did not succeed. It counts against
			// neither budget.
			op.Next = pipeline.ModuleWaiting
			return
		}
		o.State = pipeline.AttemptLost
	}

	// The two budgets are counted here and nowhere else.
	switch o.State {
	case pipeline.AttemptSucceeded:
		op.Next, op.Reason = pipeline.ModuleSucceeded, o.Reason
	case pipeline.AttemptCancelled:
		op.Next, op.Reason = pipeline.ModuleCancelled, o.Reason
	case pipeline.AttemptLost:
		decideLost(a, op)
	default:
		decideFailed(m, op)
	}

	if op.Next == "" {
		decideRepeat(a, op)
	}
}

// decideLost counts a loss. It sets Next only if the module may not run again.
func decideLost(a *activeAttempt, op *fsm.Outcome) {
	m, o := a.module, &op.Outcome
	m.tries.losses++
	m.tries.avoid = a.worker

	// A worker may know no start of an attempt and still have run it: its keeper
	// died. So what counts is whether a dispatch can have reached it, unless the
	// worker is certain.
	mayHaveStarted := !o.StartedAt.IsZero() || (a.reached || a.sending) && !o.NeverBegun
	switch {
	case m.tries.losses >= pipeline.MaxLosses:
		op.Next = pipeline.ModuleFailed
		op.Reason = fmt.Sprintf("lost %d times, the last time: %s", m.tries.losses, o.Reason)
	case m.def.OnLost == pipeline.LostFail && mayHaveStarted:
		op.Next, op.Reason = pipeline.ModuleFailed, `lost, and not repeated (on_lost = "fail"): `+o.Reason
	default:
		if pause := lossPause(m.tries.losses); pause > 0 {
			op.NotBefore = time.Now().Add(pause).UTC()
		}
	}
}

// decideFailed counts a failure. It sets Next only if the module may not run again.
func decideFailed(m *moduleState, op *fsm.Outcome) {
	// A timeout of the attempt counts as a failure of the module.
	m.tries.failures++
	if !m.mayRetry(&op.Outcome) {
		op.Next, op.Reason = pipeline.ModuleFailed, op.Outcome.Reason
		return
	}

	op.NotBefore = time.Now().Add(retryPause(&m.def.Retry, m.tries.failures)).UTC()
}

// decideRepeat lets the module wait for another attempt, unless its run ends.
func decideRepeat(a *activeAttempt, op *fsm.Outcome) {
	m, r, o := a.module, a.module.run, &op.Outcome
	if m.mustCancel() {
		op.Next, op.Reason = pipeline.ModuleCancelled, r.cancelReason()
		return
	}

	if r.tally.stopAfter != "" && !m.def.AlwaysRun {
		// A lost attempt says nothing about the module; a failed one does.
		op.Next, op.Reason = pipeline.ModuleSkipped, stoppedReason(r)
		switch {
		case o.State != pipeline.AttemptLost:
			op.Next, op.Reason = pipeline.ModuleFailed, o.Reason
		case m.stopsWithSibling() && !o.StartedAt.IsZero():
			op.Next, op.Reason = pipeline.ModuleCancelled, siblingReason(r)
		}
		return
	}

	op.Next = pipeline.ModuleWaiting
	op.Reason = fmt.Sprintf("attempt %d was %s: %s", a.id.Attempt, o.State, o.Reason)
	if o.State == pipeline.AttemptFailed {
		op.Reason = fmt.Sprintf("attempt %d failed: %s", a.id.Attempt, o.Reason)
	}
}

// mayRetry reports whether the module's own budget allows another attempt.
func (m *moduleState) mayRetry(o *pipeline.Outcome) bool {
	if m.tries.failures >= m.def.Retry.Attempts {
		return false
	}

	// Without an exit code the process did not end by itself: not in the list.
	if codes := m.def.Retry.ExitCodes; len(codes) > 0 {
		return o.ExitCode != nil && slices.Contains(codes, *o.ExitCode)
	}
	return true
}
