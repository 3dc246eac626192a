package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// dispatcher hands committed assignments, and requests to stop, to the links.
// Repeating either is harmless: a worker starts an attempt at most once.
type dispatcher struct {
	links interface{ link(pipeline.NodeID) *link }
	vault Vault
	store stateReader
	term  uint64
	// finish ends an attempt that cannot be dispatched.
	finish func(*activeAttempt, pipeline.Outcome)
}

// dispatch queues a committed assignment for its worker. Without a link it does
// nothing: the lease decides then.
func (d *dispatcher) dispatch(a *activeAttempt) {
	l := d.links.link(a.worker)
	if l == nil || a.sending || a.ending {
		return
	}

	// Secrets are opened as late as possible, and again for each dispatch.
	s, err := d.spec(a)
	if err == nil && a.module.def.Hook.Notifies() {
		s.Notice, err = d.notice(a.module)
	}
	if err != nil {
		d.finish(a, pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "not started: " + err.Error(), FinishedAt: time.Now().UTC()})
		return
	}

	a.sending = true
	l.outbox.dispatch(a, s)
}

// spec builds the specification of an attempt, secrets included.
func (d *dispatcher) spec(a *activeAttempt) (pipeline.Spec, error) {
	m := a.module
	if d.vault == nil || !m.run.confidential {
		return a.spec(d.term, a.evaluated), nil
	}

	open, err := d.vault.Open(m.run.def, m.def, a.evaluated)
	if err != nil {
		return pipeline.Spec{}, err
	}

	derived, err := d.vault.Derived(m.run.head.ID, m.run.def, m.sensitiveBefore())
	if err != nil {
		return pipeline.Spec{}, err
	}
	open.Mask = append(open.Mask, derived...)

	s := a.spec(d.term, open.Evaluated)
	s.Secrets, s.Mask, s.Private = open.Secrets, open.Mask, m.private()
	return s, nil
}

// stop asks the worker to end an attempt. The outcome comes as usual.
func (d *dispatcher) stop(a *activeAttempt, reason string) {
	// The first reason counts: it is what the outcome will say.
	if a.stopReason == "" {
		a.stopReason = reason
	}

	d.stopID(a.worker, a.id, reason)
}

// stopID asks a worker to end an attempt that may not be in the model.
func (d *dispatcher) stopID(worker pipeline.NodeID, id pipeline.AttemptID, reason string) {
	if l := d.links.link(worker); l != nil {
		l.outbox.stop(id, reason)
	}
}
