package orchestrator

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// courier talks to workers. Its goroutines, two per link, touch only the link's id,
// name and outbox, which do not change; answers go to the loop through the inbox.
type courier struct {
	transport Transport
	timing    Timing
	self      pipeline.NodeID
	term      uint64
	tasks     *tasks
	inbox     *inbox
	logger    hclog.Logger
	// compare is called on the loop with each answer to a comparison.
	compare func(l *link, began time.Time, res peer.SyncResponse)
}

// start serves a link until its cancel is called or the term ends. An external
// worker is not compared with: it reports by itself.
func (c *courier) start(l *link) {
	ctx, cancel := context.WithCancel(c.tasks.ctx)
	l.cancel = cancel

	c.tasks.start(func(context.Context) { c.send(ctx, l) })
	if !l.external {
		c.tasks.start(func(context.Context) { c.sync(ctx, l) })
	}
}

// send delivers what is in the outbox, all that waits in one call.
func (c *courier) send(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.outbox.wake:
		}

		// Dispatches before stops: an attempt that is to be stopped must have arrived.
		attempts, specs, stops := l.outbox.take()
		if len(specs) > 0 {
			c.deliver(ctx, l, attempts, specs)
		}
		for reason, ids := range stops {
			// One call per reason: the reason ends up in the outcome.
			call, cancel := context.WithTimeout(ctx, c.timing.Call)
			err := c.transport.Stop(call, l.id, peer.StopRequest{Term: c.term, IDs: ids, Reason: reason})
			cancel()
			if err != nil && ctx.Err() == nil {
				c.logger.Warn("stop attempts", "worker", l.name, "error", err) // the next comparison asks again
			}
		}
	}
}

// deliver dispatches attempts. A failed call leaves them unsent: the next comparison
// finds them missing and dispatches them again.
func (c *courier) deliver(ctx context.Context, l *link, attempts []*activeAttempt, specs []pipeline.Spec) {
	call, cancel := context.WithTimeout(ctx, c.timing.Call)
	res, err := c.transport.Dispatch(call, l.id, peer.DispatchRequest{Term: c.term, Leader: c.self, Specs: specs})
	cancel()
	if err != nil && ctx.Err() == nil {
		c.logger.Warn("dispatch attempts", "worker", l.name, "attempts", len(specs), "error", err)
	}

	// Also after an error: the attempts must not stay marked as being sent.
	c.inbox.post(func() { delivered(l, attempts, res, err) })
}

// delivered takes the answer to a dispatch; on the loop.
func delivered(l *link, attempts []*activeAttempt, res peer.DispatchResponse, err error) {
	now := time.Now()
	for _, a := range attempts {
		a.sent(now, err)
	}

	if err != nil {
		l.refused = isRefused(err)

		// The first failure may be a lost message: what the worker has is compared at
		// once. After that the interval is soon enough.
		if l.rejected.add(now, err); l.rejected.count == 1 {
			poke(l.outbox.hurry)
		}
		return
	}

	l.rejected = rejection{}
	l.heard(now)
	if res.Incarnation != "" {
		// Otherwise each attempt until the next comparison would be refused, and a module
		// could use up all its losses within that second.
		l.incarnation = res.Incarnation
	}
}

// sent notes the answer to a dispatch.
func (a *activeAttempt) sent(now time.Time, err error) {
	a.sending = false
	if err == nil {
		a.sentAt, a.refusedSince, a.reached = now, time.Time{}, true
		return
	}

	// A call that ended without an answer may have reached the worker.
	a.reached = a.reached || !isRefused(err)
	if a.refusedSince.IsZero() {
		a.refusedSince = now
	}
}

// isRefused reports whether a port refused the connection: the process is gone, and
// there is no need to wait for a timeout.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// sync renews the lease and compares, at once and then at the interval.
func (c *courier) sync(ctx context.Context, l *link) {
	// The interval is kept however long calls take: a slow worker is not asked more
	// often than it answers.
	ticker := time.NewTicker(c.timing.Sync)
	defer ticker.Stop()

	// heard is the worker's clock in its last answer, which came at heardAt.
	var heard time.Duration
	var heardAt time.Time

	logged := false
	for failures := 0; ; {
		// What is sent after this moment may be missing from the answer.
		began := time.Now()
		call, cancel := context.WithTimeout(ctx, c.timing.Call)
		res, err := c.transport.Sync(call, l.id, peer.SyncRequest{Term: c.term, Leader: c.self, Lease: c.timing.Lease, Heard: heard})
		cancel()
		if ctx.Err() != nil {
			return
		}

		if err != nil {
			// Logged once per outage. A node that joins may be asked before it knows its
			// cluster: one that has never answered is asked twice.
			if failures++; !logged && (failures > 1 || !heardAt.IsZero()) {
				logged = true
				c.logger.Warn("worker does not answer", "worker", l.name, "error", err)
			}
			c.inbox.post(func() { l.refused = isRefused(err) })
		} else {
			if logged {
				c.logger.Info("worker answers again", "worker", l.name)
			}
			failures, logged = 0, false
			c.inbox.post(func() { c.compare(l, began, res) })

			// The lease counts from the last answer. After the first one, and after an
			// outage, it begins with the next comparison, which follows at once.
			late := began.Sub(heardAt) > 2*c.timing.Sync
			heard, heardAt = res.Clock, time.Now()
			if late {
				continue
			}
		}

		if !c.pause(ctx, ticker, l.outbox.hurry) {
			return
		}
	}
}

// pause waits for the next comparison; false if the link ends. Hurried comparisons
// come at most ten times per interval.
func (c *courier) pause(ctx context.Context, ticker *time.Ticker, hurry <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-ticker.C:
		return true
	case <-hurry:
	}

	timer := time.NewTimer(c.timing.Sync / 10)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
