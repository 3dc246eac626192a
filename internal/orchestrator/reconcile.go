package orchestrator

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// killTime is how long after its lease an attempt may still run that its worker
// kills when the lease expires (on_disconnect = "kill").
const killTime = 3 * time.Second

// reconciler compares what should run with what workers report, and repairs the
// difference. It is level-triggered: each comparison looks at everything, so that a
// lost message costs an interval and no more.
type reconciler struct {
	model   *model
	workers *workers
	send    *dispatcher
	replan  *flag
	logger  hclog.Logger
	ends    interface {
		started(*activeAttempt, time.Time)
		lost(*activeAttempt, string)
	}
}

// compare takes a worker's answer to a comparison that began at a time.
func (c *reconciler) compare(l *link, began time.Time, res peer.SyncResponse) {
	if c.workers.link(l.id) != l {
		return // closed meanwhile
	}

	// The first answer makes the worker known to the planner.
	first := l.capabilities == nil
	l.heard(time.Now())
	l.incarnation, l.closed, l.fullReason = res.Incarnation, res.Closed, res.Reason
	l.setCapabilities(res.Capabilities)

	has := make(map[pipeline.AttemptID]bool, len(res.Attempts))
	for i := range res.Attempts {
		h := &res.Attempts[i]
		has[h.ID] = true
		c.compareHeld(l, h)
	}

	// Both directions: what it has and should not, and what it should have.
	for _, a := range c.model.attemptsOn(l.id) {
		if !has[a.id] {
			c.missing(l, a, began)
		}
	}

	// A worker with a free slot may have become open by this answer.
	if first || l.planned.Used < l.planned.Slots {
		c.replan.raise()
	}
}

// compareHeld looks at an attempt that the worker has.
func (c *reconciler) compareHeld(l *link, h *peer.Held) {
	a := c.model.attempt(h.ID, l.id)
	if a == nil {
		// Declared lost meanwhile, or of a run that has finished.
		if !h.Ended {
			c.send.stopID(l.id, h.ID, "superseded: the cluster declared this attempt lost")
		}
		return
	}

	if !h.StartedAt.IsZero() {
		c.ends.started(a, h.StartedAt)
	}

	if a.sentAt.IsZero() {
		a.sentAt = time.Now() // dispatched by an earlier leader, or the answer was lost
	}

	if a.stopReason != "" && !h.Ended {
		c.send.stopID(l.id, h.ID, a.stopReason)
	}

	if h.Waiting && a.predecessor == nil && !a.ending {
		c.send.dispatch(a) // its predecessor has ended: the specification says so
	}
}

// missing handles an assignment that the worker does not have.
func (c *reconciler) missing(l *link, a *activeAttempt, began time.Time) {
	switch {
	case a.fence == 0 || a.ending || a.sending || a.sentAt.After(began):
		// On its way.
	case a.incarnation != l.incarnation:
		c.ends.lost(a, "worker "+l.name+" restarted and has lost its processes")
	default:
		// If it had the attempt once, in the same incarnation, its outcome was refused
		// or handled. Dispatching again is safe: a worker starts an attempt at most once.
		a.sentAt = time.Time{}
		c.dispatchAgain(l, a, time.Now())
	}
}

// dispatchAgain dispatches an attempt that its worker does not have. An attempt that
// the worker has not taken for as long as its lease is given up: it has not begun,
// and must not keep its module from another worker.
func (c *reconciler) dispatchAgain(l *link, a *activeAttempt, now time.Time) {
	if !a.refusedSince.IsZero() {
		if refused := c.workers.clock.Since(a.refusedSince); refused >= c.workers.leaseOf(l) {
			c.ends.lost(a, "worker "+l.name+" did not take it for "+refused.Round(time.Second).String()+": "+l.rejected.reason)
			return
		}
	}

	// At most about once per interval, however often the comparison is asked for.
	if l.rejected.count > 1 && now.Sub(l.rejected.at) < c.workers.timing.Sync/2 {
		return
	}
	c.send.dispatch(a)
}

// redispatch sends external workers what they may not have received, and gives up
// what an earlier registration had. They are not compared with, but answer a
// repeated execution without starting it again.
func (c *reconciler) redispatch() {
	for _, l := range c.workers.links {
		if !l.external || l.load.slots == 0 {
			continue
		}
		for _, a := range c.model.attemptsOn(l.id) {
			switch {
			case a.fence == 0 || a.ending:
			case a.incarnation != l.incarnation:
				c.ends.lost(a, "worker "+l.name+" registered again")
			case a.sentAt.IsZero() && !a.sending:
				c.dispatchAgain(l, a, time.Now())
			}
		}
	}
}

// check looks at leases and drains.
func (c *reconciler) check(now time.Time) {
	for _, l := range c.workers.links {
		if l.load.slots == 0 {
			continue
		}
		c.checkLease(l, now)
		c.checkDrain(l, now)
	}

	c.redispatch()
}

// checkLease declares the attempts of a worker lost if its lease has expired and
// there is a second sign: gossip does not see it, its port refuses connections, or
// it has been silent for long. A busy machine gives only the first.
func (c *reconciler) checkLease(l *link, now time.Time) {
	silent := c.workers.silence(l)
	expired := silent - c.workers.leaseOf(l)
	if expired <= 0 || c.workers.isAway(l, now) {
		return
	}

	if !l.external && l.alive && !l.refused && expired <= c.workers.timing.Silence {
		return
	}

	// Its attempts are repeated elsewhere. If the worker comes back, the comparison
	// stops what it still runs, and its outcomes count as superseded.
	c.logger.Warn("worker is lost", "worker", l.name, "silent", silent.Round(time.Millisecond), "attempts", l.load.slots)
	for _, a := range c.model.attemptsOn(l.id) {
		if a.module.def.OnDisconnect == pipeline.DisconnectKill && expired < killTime {
			continue // its worker is killing it; it must not run twice at once
		}
		c.ends.lost(a, "worker "+l.name+" was lost: no answer for "+silent.Round(100*time.Millisecond).String())
	}
}

// checkDrain stops what still runs on a worker after the deadline of its drain.
func (c *reconciler) checkDrain(l *link, now time.Time) {
	rec := c.workers.records[l.id]
	if !rec.Draining || rec.DrainDeadline.IsZero() || now.Before(rec.DrainDeadline) {
		return
	}

	for _, a := range c.model.attemptsOn(l.id) {
		if a.stopReason == "" && !a.ending {
			c.send.stop(a, "the worker drains and its deadline has passed")
		}
	}
}
