package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// A module with an approval takes no slot and no worker. That it waits, and
// until when, is committed when the wait begins; a person's decision is a
// command of its own, which any node may propose, and the state machine takes
// the first. So neither needs this leader, or any, to stay.

// gate is the wait of a module for its approval.
type gate struct {
	message string
	// deadline is zero where the wait may last for ever.
	deadline time.Time
}

// await lets a module wait for its approval from now on.
func (t *term) await(m *mod) {
	a, r := m.def.Approval, m.run
	m.gate = &gate{message: a.Message}
	if e := m.evaluated; e != nil && e.Message != "" {
		m.gate.message = e.Message
	}
	now := time.Now().UTC()
	if a.Timeout > 0 {
		m.gate.deadline = now.Add(a.Timeout)
	}
	if r.head.StartedAt.IsZero() {
		r.head.StartedAt = now
	}
	r.gates = append(r.gates, m)
	t.batch.await(m)
	if t.batch.full() {
		t.flush()
	}
}

func (b *batch) await(m *mod) {
	op := fsm.Await{Run: m.run.head.ID, Module: m.def.Name, Message: m.gate.message, Deadline: m.gate.deadline,
		Needs: m.unsettled(), Always: m.def.AlwaysRun}
	b.Awaits = append(b.Awaits, op)
	b.awaits = append(b.awaits, m)
	n := 150 + len(op.Message)
	for _, s := range op.Needs {
		n += len(s) + 2
	}
	b.touch(m.run, n)
}

// loadGate takes the wait of a module into the model.
func (m *mod) loadGate(rec *pipeline.ModuleRecord) {
	if g := rec.ApprovalWait; g != nil && g.Decision == "" {
		m.gate = &gate{message: g.Message, deadline: g.Deadline}
		m.run.gates = append(m.run.gates, m)
	}
}

// undecided gives the modules of a run that wait for an approval.
func (r *run) undecided() []*mod {
	kept := r.gates[:0]
	for _, m := range r.gates {
		if !m.state.Final() {
			kept = append(kept, m)
		}
	}
	r.gates = kept
	return append([]*mod(nil), kept...) // what follows from one may change the list
}

// decided takes over what people decided.
func (t *term) decided(r *run, v *fsm.View) {
	for _, m := range r.undecided() {
		rec := v.Module(r.head.ID, m.def.Name)
		if rec.ApprovalWait == nil || rec.ApprovalWait.Decision == "" || m.state.Final() {
			continue
		}
		m.state, m.endedAt, m.settled = rec.State, rec.FinishedAt, true
		m.keep("", nil, rec.Result, nil, rec.FinishedAt.Sub(rec.StartedAt))
		t.finish(m)
	}
}

// gatesDue ends the waits whose time is over.
func (t *term) gatesDue(now time.Time) {
	for _, r := range t.runs {
		if len(r.gates) == 0 || r.stale {
			continue
		}
		for _, m := range r.undecided() {
			if d := m.gate.deadline; !d.IsZero() && !now.Before(d) && !m.state.Final() {
				t.timeUp(m)
			}
		}
	}
}

// timeUp decides for those who did not. The times are the deadline's, here as
// in the state.
func (t *term) timeUp(m *mod) {
	a := m.def.Approval
	op := fsm.Decide{Run: m.run.head.ID, Module: m.def.Name, Ignored: m.def.IgnoreFailure,
		Decision: pipeline.Rejected, Reason: "nobody approved it within " + a.Timeout.String()}
	switch a.OnTimeout {
	case pipeline.TimeoutApprove:
		op.Decision = pipeline.Approved
		op.Reason = "approved: nobody decided within " + a.Timeout.String()
	case pipeline.TimeoutSkip:
		op.Decision = pipeline.Skipped
	}
	g := pipeline.ApprovalWait{Decision: op.Decision, DecidedAt: m.gate.deadline}
	m.state, m.endedAt = op.Decision.State(), m.gate.deadline
	m.keep("", nil, g.Result(), nil, a.Timeout)
	t.batch.Decides = append(t.batch.Decides, op)
	t.batch.decides = append(t.batch.decides, m)
	t.batch.touch(m.run, 150+len(op.Reason))
	if t.batch.full() {
		t.flush()
	}
	t.finish(m)
}

// settleGates takes note of the fate of what a batch said of approvals.
func (t *term) settleGates(b *batch, refused map[[2]int]fsm.Refusal) {
	for i, m := range b.awaits {
		f, no := refused[[2]int{int(fsm.PartAwait), i}]
		t.stale(m.run, "approval of "+m.def.Name, f, no)
	}
	for i, m := range b.decides {
		f, no := refused[[2]int{int(fsm.PartDecide), i}]
		m.settled = true
		t.stale(m.run, "timeout of the approval "+m.def.Name, f, no)
	}
}
