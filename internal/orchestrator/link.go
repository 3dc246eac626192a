package orchestrator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// link is the leader's side of one worker: what is on its way to it, and what
// is known of it. The fields above mu belong to the loop.
type link struct {
	id      pipeline.NodeID
	name    string
	outside bool
	alive   bool // gossip sees it; always true for outside workers in time
	// lastHeard is when it last answered or reported.
	lastHeard time.Time
	// refused is set while its peer port refuses connections.
	refused     bool
	incarnation string
	caps        *pipeline.Capabilities // nil until heard of in this term
	sched       scheduler.Worker
	closed      bool
	why         string // it is closed; "" where it drains
	used        int    // live attempts, those in flight included
	cpu, memory int64  // what they reserve, as the planner counts it
	load        int    // as an outside worker told
	cancel      context.CancelFunc

	mu    sync.Mutex // guards following
	queue []*live
	specs []pipeline.Spec
	stops map[string][]pipeline.AttemptID // by reason
	wake  chan struct{}
	hurry chan struct{} // asks for a sync now
}

func (l *link) heard(now time.Time) { l.lastHeard, l.refused = now, false }

// openLink starts the two goroutines of a link: one sends, one compares.
func (t *term) openLink(id pipeline.NodeID, name string, outside bool) *link {
	ctx, cancel := context.WithCancel(t.ctx)
	// A new leader grants everyone a fresh lease.
	l := &link{id: id, name: name, outside: outside, lastHeard: time.Now(), cancel: cancel,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stops: map[string][]pipeline.AttemptID{}}
	l.sched = scheduler.Worker{ID: id, Name: name, External: outside, Local: id == t.cfg.Self}
	for _, r := range t.runs {
		for _, m := range r.list {
			if m.runsOn(id) {
				l.take(m)
			}
		}
	}
	t.links[id] = l
	t.group.Go(func() error { t.send(ctx, l); return nil })
	if !outside {
		t.group.Go(func() error { t.sync(ctx, l); return nil })
	}
	return l
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// dispatch queues a committed assignment for its worker.
func (t *term) dispatch(a *live) {
	l := t.links[a.worker]
	if l == nil || a.queued || a.ending {
		return // no link: the lease decides
	}
	s, ok := t.fill(a)
	if !ok {
		return
	}
	a.queued = true
	l.mu.Lock()
	l.queue = append(l.queue, a)
	l.specs = append(l.specs, s)
	l.mu.Unlock()
	poke(l.wake)
}

// stopAttempt asks the worker to end an attempt. The outcome comes as usual.
func (t *term) stopAttempt(a *live, reason string) {
	if a.stop == "" {
		a.stop = reason
	}
	t.stopID(a.worker, a.id, reason)
}

func (t *term) stopID(worker pipeline.NodeID, id pipeline.AttemptID, reason string) {
	l := t.links[worker]
	if l == nil {
		return
	}
	l.mu.Lock()
	l.stops[reason] = append(l.stops[reason], id)
	l.mu.Unlock()
	poke(l.wake)
}

// send delivers what is queued, everything that waits in one call.
func (t *term) send(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		queue, specs, stops := l.queue, l.specs, l.stops
		l.queue, l.specs, l.stops = nil, nil, map[string][]pipeline.AttemptID{}
		l.mu.Unlock()
		if len(specs) > 0 {
			t.deliver(ctx, l, queue, specs)
		}
		for reason, ids := range stops {
			call, cancel := context.WithTimeout(ctx, t.cfg.Timing.Call)
			err := t.cfg.Transport.Stop(call, l.id, peer.StopRequest{Term: t.number, IDs: ids, Reason: reason})
			cancel()
			if err != nil && ctx.Err() == nil {
				t.log.Warn("stop attempts", "worker", l.name, "error", err) // the next sync asks again
			}
		}
	}
}

func (t *term) deliver(ctx context.Context, l *link, queue []*live, specs []pipeline.Spec) {
	call, cancel := context.WithTimeout(ctx, t.cfg.Timing.Call)
	res, err := t.cfg.Transport.Dispatch(call, l.id, peer.DispatchRequest{Term: t.number, Leader: t.cfg.Self, Specs: specs})
	cancel()
	if err != nil && ctx.Err() == nil {
		t.log.Warn("dispatch", "worker", l.name, "attempts", len(specs), "error", err)
	}
	t.post(func() {
		now := time.Now()
		for _, a := range queue {
			a.queued = false
			if err == nil {
				a.sent = now
			}
		}
		if err == nil {
			l.heard(now)
			if res.Incarnation != "" {
				// Else each attempt until the next comparison would be refused, and
				// a module could use up all its losses within that second.
				l.incarnation = res.Incarnation
			}
		} else {
			l.refused = refusedBy(err)
		}
	})
	if err != nil {
		poke(l.hurry)
	}
}

func refusedBy(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// sync renews the lease and compares, at once and then at the interval.
func (t *term) sync(ctx context.Context, l *link) {
	ticker := time.NewTicker(t.cfg.Timing.Sync)
	defer ticker.Stop()
	for failures := 0; ; {
		began := time.Now()
		call, cancel := context.WithTimeout(ctx, t.cfg.Timing.Call)
		res, err := t.cfg.Transport.Sync(call, l.id, peer.SyncRequest{Term: t.number, Leader: t.cfg.Self, Lease: t.cfg.Timing.Lease})
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			if failures == 1 {
				t.log.Warn("worker does not answer", "worker", l.name, "error", err)
			}
			t.post(func() { l.refused = refusedBy(err) })
		} else {
			if failures > 0 {
				t.log.Info("worker answers again", "worker", l.name)
			}
			failures = 0
			t.post(func() { t.synced(l, began, res) })
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.hurry:
			// Not more often than ten times a second.
			pause := time.NewTimer(t.cfg.Timing.Sync / 10)
			select {
			case <-ctx.Done():
				pause.Stop()
				return
			case <-pause.C:
			}
		}
	}
}

// synced compares what a worker has with what it should have.
func (t *term) synced(l *link, began time.Time, res peer.SyncResponse) {
	if t.links[l.id] != l {
		return
	}
	first := l.caps == nil
	l.heard(time.Now())
	l.incarnation, l.closed, l.why = res.Incarnation, res.Closed, res.Reason
	l.setCaps(res.Capabilities)
	has := make(map[pipeline.AttemptID]*peer.Held, len(res.Attempts))
	for i := range res.Attempts {
		h := &res.Attempts[i]
		has[h.ID] = h
		t.compareHeld(l, h)
	}
	for _, r := range t.runs {
		if r.queue.Running == 0 || r.stale {
			continue
		}
		for _, m := range r.list {
			if a := m.live; a != nil && a.worker == l.id && has[a.id] == nil {
				t.missing(l, a, began)
			}
		}
	}
	if first || l.sched.Used < l.sched.Slots {
		t.dirty = true
	}
}

// compareHeld looks at one attempt that the worker has.
func (t *term) compareHeld(l *link, h *peer.Held) {
	r := t.runs[h.ID.Run]
	var a *live
	if r != nil {
		if m := r.mods[h.ID.Module]; m != nil && m.live != nil && m.live.id == h.ID && m.live.worker == l.id {
			a = m.live
		}
	}
	switch {
	case a == nil && !h.Ended:
		// Given up meanwhile, or of a run that is over.
		t.stopID(l.id, h.ID, "superseded: the cluster has given this attempt up")
	case a == nil:
	default:
		if !h.StartedAt.IsZero() {
			t.started(a, h.StartedAt)
		}
		if a.sent.IsZero() {
			a.sent = time.Now()
		}
		if a.stop != "" && !h.Ended {
			t.stopID(l.id, h.ID, a.stop)
		}
		if h.Waiting && a.after == nil && !a.ending {
			t.dispatch(a) // what it waits for is over: the spec says so
		}
	}
}

// missing deals with a committed assignment that the worker does not have.
func (t *term) missing(l *link, a *live, began time.Time) {
	switch {
	case a.fence == 0 || a.ending || a.queued || a.sent.After(began):
		// On its way.
	case a.incarnation != l.incarnation:
		t.lost(a, "worker "+l.name+" was started anew and has lost its processes")
	case !a.sent.IsZero():
		// It had it once and has it no more, in the same incarnation: its outcome
		// was refused or dealt with. Asking again is safe: a worker starts an
		// attempt at most once.
		a.sent = time.Time{}
		t.dispatch(a)
	default:
		t.dispatch(a)
	}
}

func (l *link) setCaps(c pipeline.Capabilities) {
	l.caps = &c
	l.sched.Name, l.sched.OS, l.sched.Arch = l.name, c.OS, c.Arch
	l.sched.Tools, l.sched.Tags = set(c.InstalledTools), set(c.Tags)
	l.sched.CPU, l.sched.Memory = scheduler.Thousandths(c.CPU), c.Memory
}

// take and give count an attempt that occupies a slot of the worker.
func (l *link) take(m *mod) { l.count(m, 1) }

func (l *link) give(m *mod) { l.count(m, -1) }

func (l *link) count(m *mod, n int) {
	l.used += n
	l.cpu += int64(n) * scheduler.Thousandths(m.def.Resources.CPU)
	l.memory += int64(n) * m.def.Resources.Memory
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[strings.ToLower(n)] = true
	}
	return m
}
