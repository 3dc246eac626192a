package orchestrator

import (
	"slices"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// approvals handles modules that wait for an approval. Such a module takes no slot
// and no worker. The wait and its deadline are committed when the wait begins. A
// decision is a command of its own, which any node may propose, and the state
// machine accepts the first. So neither needs this leader to stay.
type approvals struct {
	model     *model
	proposals *proposals
	steps     steps
}

// approvalWait is the wait of a module for its approval.
type approvalWait struct {
	message string
	// deadline is when on_timeout decides; zero means never.
	deadline time.Time
}

// await lets a module wait for its approval from now on.
func (p *approvals) await(m *moduleState) {
	a, r := m.def.Approval, m.run
	now := time.Now().UTC()

	m.approval = &approvalWait{message: a.Message}

	// The message may be a deferred expression.
	if e := m.deferred.evaluated; e != nil && e.Message != "" {
		m.approval.message = e.Message
	}

	if a.Timeout > 0 {
		m.approval.deadline = now.Add(a.Timeout)
	}

	// A wait starts the run, as an attempt does.
	if r.head.StartedAt.IsZero() {
		r.head.StartedAt = now
	}

	r.approvals = append(r.approvals, m)

	p.proposals.batch.await(m)
	p.proposals.flushIfFull()
}

// loadApproval takes the wait of a module from the replicated state.
func (m *moduleState) loadApproval(rec *pipeline.ModuleRecord) {
	if w := rec.ApprovalWait; w != nil && w.Decision == "" {
		m.approval = &approvalWait{message: w.Message, deadline: w.Deadline}
		m.run.approvals = append(m.run.approvals, m)
	}
}

// linkApprovals makes all modules that wait depend on the approvals before them that
// wait too. Usually what lies between does that. If a retry asks for an approval
// again, it may have succeeded and not be retried.
func (r *run) linkApprovals() {
	for _, m := range r.list {
		if m.def.Approval == nil || m.state.Final() {
			continue
		}

		seen := map[*moduleState]bool{}
		for next := slices.Clone(m.dependents); len(next) > 0; {
			d := next[len(next)-1]
			next = next[:len(next)-1]
			if seen[d] {
				continue
			}
			seen[d] = true
			if d.state.Final() || d.active != nil || d.child.live {
				next = append(next, d.dependents...)
				continue
			}

			// What depends on one that waits waits for that, and goes by how it ends.
			if !slices.Contains(d.dependencies, m) {
				m.dependents = append(m.dependents, d)
				d.dependencies = append(slices.Clip(d.dependencies), m)
				d.unfinished++
			}
		}
	}
}

// undecided returns the modules of a run that wait for an approval, in a list of
// its own: what follows from one decision may change the run's list.
func (r *run) undecided() []*moduleState {
	var list []*moduleState
	for _, m := range r.approvals {
		if !m.state.Final() {
			list = append(list, m)
		}
	}

	r.approvals = append(r.approvals[:0], list...)
	return list
}

// observe takes the decisions about a run from what was read of the replicated state.
func (p *approvals) observe(r *run, records map[string]pipeline.ModuleRecord) {
	for _, m := range r.undecided() {
		rec := records[m.def.Name]

		// What this leader itself decided by a deadline is final in the model already.
		if rec.ApprovalWait == nil || rec.ApprovalWait.Decision == "" || m.state.Final() {
			continue
		}
		m.state, m.endedAt, m.applied = rec.State, rec.FinishedAt, true
		m.keepProduct(product{result: rec.Result, duration: rec.FinishedAt.Sub(rec.StartedAt)})
		p.steps.finish(m)
	}
}

// expire ends the waits whose deadline has passed.
func (p *approvals) expire(now time.Time) {
	for _, r := range p.model.runs {
		if len(r.approvals) == 0 || r.stale {
			continue
		}
		for _, m := range r.undecided() {
			d := m.approval.deadline
			if !d.IsZero() && !now.Before(d) && !m.state.Final() {
				p.expireOne(m)
			}
		}
	}
}

// expireOne decides as on_timeout says. All times are the deadline's, here as in
// the state machine, so that a late leader changes nothing.
func (p *approvals) expireOne(m *moduleState) {
	a := m.def.Approval
	op := fsm.Decide{Run: m.run.head.ID, Module: m.def.Name, Ignored: m.def.IgnoreFailure,
		Decision: pipeline.Rejected, Reason: "not approved within " + a.Timeout.String()}
	switch a.OnTimeout {
	case pipeline.TimeoutApprove:
		op.Decision = pipeline.Approved
		op.Reason = "approved by on_timeout: no decision within " + a.Timeout.String()
	case pipeline.TimeoutSkip:
		op.Decision = pipeline.Skipped
	}

	// Expressions of dependents see the same result as after a person's decision.
	decided := pipeline.ApprovalWait{Decision: op.Decision, DecidedAt: m.approval.deadline}
	m.state, m.endedAt = op.Decision.State(), m.approval.deadline
	m.keepProduct(product{result: decided.Result(), duration: a.Timeout})

	p.proposals.batch.decide(m, op)
	p.proposals.flushIfFull()
	p.steps.finish(m)
}
