package orchestrator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// reports takes what a worker tells. Each report is answered when its fate is
// committed, or at once where nothing is to be committed.
func (t *term) reports(in peer.ReportRequest, w *waiter) {
	if l := t.links[in.Worker]; l != nil {
		l.heard(time.Now())
		if in.Full != "" {
			l.closed, l.why = true, in.Full // until its next answer to a sync
		}
	}
	for i := range in.Reports {
		rep := &in.Reports[i]
		r := t.runs[rep.ID.Run]
		if r == nil {
			w.ack(i, t.ofOldRun(rep))
			continue
		}
		if r.stale {
			// The model is about to be read anew; the worker repeats.
			w.fail(pipeline.Errorf(pipeline.Unavailable, "run %s is being read anew", rep.ID.Run))
			continue
		}
		m := r.mods[rep.ID.Module]
		switch {
		case m == nil:
			w.ack(i, peer.Ack{Done: true, Refused: "no such module"})
		case m.live == nil || m.live.id.Attempt != rep.ID.Attempt || m.live.worker != in.Worker:
			t.late(m, in.Worker, rep, w, i)
		case rep.Outcome == nil:
			t.started(m.live, rep.StartedAt)
			w.ack(i, peer.Ack{Done: true})
		case m.live.ending:
			m.live.waiters = append(m.live.waiters, waiting{w, i})
		default:
			m.live.waiters = append(m.live.waiters, waiting{w, i})
			t.outcome(m.live, *rep.Outcome)
		}
		if t.batch.full() {
			t.flush()
		}
	}
}

// ofOldRun answers a report about a run that is over or unknown.
func (t *term) ofOldRun(rep *peer.Report) peer.Ack {
	if rep.Outcome == nil {
		return peer.Ack{Done: true}
	}
	reason := "no such run"
	err := t.cfg.Store.View(func(v *fsm.View) error {
		m := v.Module(rep.ID.Run, rep.ID.Module)
		if n := rep.ID.Attempt; n >= 1 && n <= len(m.Attempts) {
			reason = "attempt is " + string(m.Attempts[n-1].State)
			if m.Attempts[n-1].State == rep.Outcome.State {
				reason = ""
			}
		}
		return nil
	})
	if err != nil {
		return peer.Ack{}
	}
	return peer.Ack{Done: true, Refused: reason}
}

// late deals with a report of an attempt that is not the live one: the state
// machine keeps its outcome as superseded, or knows it already.
func (t *term) late(m *mod, worker pipeline.NodeID, rep *peer.Report, w *waiter, i int) {
	if rep.Outcome == nil {
		w.ack(i, peer.Ack{Done: true, Refused: "not the live attempt"})
		return
	}
	o := *rep.Outcome
	o.Worker = worker
	l := &live{mod: m, id: rep.ID, worker: worker, ending: true, late: true, waiters: []waiting{{w, i}}}
	t.batch.lateOutcome(l, fsm.Outcome{Outcome: o, Next: m.state})
}

// lateOutcome adds an outcome that cannot change its module.
func (b *batch) lateOutcome(l *live, o fsm.Outcome) { b.outcome(l, o) }

// started notes that the process of an attempt runs.
func (t *term) started(l *live, at time.Time) {
	if l.ending || !l.startedAt.IsZero() || l.fence == 0 || l.mod.run.stale {
		return
	}
	l.startedAt = at
	t.batch.start(l, at)
}

// outcome ends a live attempt and decides what becomes of its module.
func (t *term) outcome(l *live, o pipeline.Outcome) {
	m, r := l.mod, l.mod.run
	o.ID, o.Fence = l.id, l.fence
	if o.Worker == "" {
		o.Worker = l.worker
	}
	if !o.State.Final() || o.State == pipeline.AttemptSuperseded {
		o.State, o.Reason = pipeline.AttemptFailed, "the worker reported no final state"
	}
	l.ending = true
	op := fsm.Outcome{Outcome: o, Ignored: m.def.IgnoreFailure}
	t.decide(l, &op)
	if op.Next == pipeline.ModuleFailed && m.def.Failure != "" {
		op.Reason = m.def.Failure + " (" + op.Reason + ")"
	}
	m.live, m.state = nil, op.Next
	m.granted, m.endedAt = false, o.FinishedAt
	m.notBefore = op.NotBefore
	t.passOn(l, o.State == pipeline.AttemptSucceeded)
	r.keepPace(&o)
	t.dirty = true
	t.batch.outcome(l, op)
	if t.batch.full() {
		defer t.flush()
	}
	if !m.state.Final() {
		m.settled = false
		m.evaluated = l.evaluated
		t.disown(m)
		m.note = nil // looked up again: others may have done it meanwhile
		if t.reopen(m, o.LostOutputs) {
			return
		}
		t.advance(m)
		return
	}
	m.holders = o.Holders
	m.left(o.OutputBytes, o.Holders)
	if o.State == pipeline.AttemptSucceeded {
		m.fetched(l.worker)
	}
	m.settled = false
	m.keep(o.Outputs, o.OutputPaths, o.Result, o.ExitCode, o.FinishedAt.Sub(o.StartedAt))
	t.finish(m)
}

// passOn gives the slot of an attempt that ended back, or to the one that is
// queued behind it and starts where this one succeeded. Else the worker gives
// that one back by itself.
func (t *term) passOn(l *live, success bool) {
	next, before := l.next, l.after
	l.next, l.after = nil, nil
	if next != nil {
		next.after = before
	}
	if before != nil {
		// Told before the one in front of it, which has the slot still.
		before.next = next
	}
	if !l.counted {
		return
	}
	l.mod.run.vacate(l)
	link := t.links[l.worker]
	if link != nil {
		link.give(l.mod)
	}
	if next != nil && success {
		l.mod.run.occupy(next)
		if link != nil {
			link.take(next.mod)
		}
		return
	}
	l.mod.run.queue.Running--
}

// keepPace notes how long the run's attempts take.
func (r *run) keepPace(o *pipeline.Outcome) {
	if o.State != pipeline.AttemptSucceeded || o.StartedAt.IsZero() {
		return
	}
	d := max(0, o.FinishedAt.Sub(o.StartedAt))
	if r.paced++; r.paced == 1 {
		r.pace = d
	}
	r.pace += (d - r.pace) / 4
}

// reopen lets the modules run again whose outputs are gone everywhere. The run
// is read anew once that is committed: what depends on them waits again.
func (t *term) reopen(m *mod, names []string) bool {
	found := false
	for _, d := range m.deps {
		if !slices.Contains(names, d.def.Name) || !d.state.Success() || d.losses >= pipeline.MaxLosses {
			continue
		}
		t.log.Warn("outputs are lost; the module runs again", "run", m.run.head.ID, "module", d.def.Name)
		t.batch.reopen(d, "output_lost: what it left is on no node that answers")
		found = true
	}
	if found {
		m.run.stale = true
		m.run.queue.Clear()
	}
	return found
}

// decide sets what the module becomes: final, or waiting for another attempt.
// It may change the outcome's state: what was stopped because its worker is
// being emptied counts as lost, not as cancelled.
func (t *term) decide(l *live, op *fsm.Outcome) {
	m, r, o := l.mod, l.mod.run, &op.Outcome
	m.avoid = ""
	if o.State == pipeline.AttemptCancelled && (!r.cancelling() || m.spared()) {
		if o.StartedAt.IsZero() && l.stop == "" && r.stopping == "" {
			// Given back: what it was queued behind did not succeed.
			op.Next = pipeline.ModuleWaiting
			return
		}
		o.State = pipeline.AttemptLost
	}
	switch o.State {
	case pipeline.AttemptSucceeded:
		op.Next = pipeline.ModuleSucceeded
		return
	case pipeline.AttemptCancelled:
		op.Next, op.Reason = pipeline.ModuleCancelled, o.Reason
		return
	case pipeline.AttemptLost:
		m.losses++
		m.avoid = l.worker
		if m.losses >= pipeline.MaxLosses {
			op.Next = pipeline.ModuleFailed
			op.Reason = fmt.Sprintf("lost %d times, the last time: %s", m.losses, o.Reason)
			return
		}
		if m.def.OnLost == pipeline.LostFail && (!o.StartedAt.IsZero() || !l.sent.IsZero() || l.fence == 0) {
			op.Next, op.Reason = pipeline.ModuleFailed, `lost, and not repeated (on_lost = "fail"): `+o.Reason
			return
		}
		if pause := lossPause(m.losses); pause > 0 {
			op.NotBefore = time.Now().Add(pause).UTC()
		}
	default:
		m.failures++
		if !m.mayRetry(o) {
			op.Next, op.Reason = pipeline.ModuleFailed, o.Reason
			return
		}
		op.NotBefore = time.Now().Add(m.backoff()).UTC()
	}
	if r.cancelling() && !m.spared() {
		op.Next, op.Reason = pipeline.ModuleCancelled, r.cancelReason()
		return
	}
	op.Next = pipeline.ModuleWaiting
	op.Reason = fmt.Sprintf("attempt %d was %s: %s", l.id.Attempt, o.State, o.Reason)
	if o.State == pipeline.AttemptFailed {
		op.Reason = fmt.Sprintf("attempt %d failed: %s", l.id.Attempt, o.Reason)
	}
	if r.stopping != "" && !m.def.AlwaysRun {
		op.Next, op.Reason = pipeline.ModuleSkipped, "the run stopped after "+r.stopping+" failed"
		if o.State != pipeline.AttemptLost {
			op.Next, op.Reason = pipeline.ModuleFailed, o.Reason
		}
	}
}

// lossPause is the wait before a lost module is repeated. The first time there is
// none: a machine died. Again and again it may be the module that fills a disk,
// which is free when it is gone.
func lossPause(losses int) time.Duration {
	if losses < 2 {
		return 0
	}
	return 2 * time.Second << (2 * min(losses-2, 2))
}

// mayRetry reports whether the module's own budget allows another attempt.
func (m *mod) mayRetry(o *pipeline.Outcome) bool {
	if m.failures >= m.def.Retry.Attempts {
		return false
	}
	if codes := m.def.Retry.ExitCodes; len(codes) > 0 {
		return o.ExitCode != nil && slices.Contains(codes, *o.ExitCode)
	}
	return true
}

// backoff is the wait before the next attempt: doubled for each failure, at
// most MaxBackoff, less up to a quarter at random so that modules that failed
// together do not return together.
func (m *mod) backoff() time.Duration {
	d, limit := m.def.Retry.Backoff, m.def.Retry.MaxBackoff
	if d <= 0 {
		d = pipeline.DefaultBackoff
	}
	if limit <= 0 {
		limit = pipeline.DefaultMaxBackoff
	}
	for i := 1; i < m.failures && d < limit; i++ {
		d *= 2
	}
	d = min(d, limit)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// lost ends a live attempt whose worker is gone.
func (t *term) lost(l *live, reason string) {
	if l.ending || l.mod.run.stale {
		return
	}
	t.outcome(l, pipeline.Outcome{State: pipeline.AttemptLost, Reason: reason, StartedAt: l.startedAt, FinishedAt: time.Now().UTC()})
}
