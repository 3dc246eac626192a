package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

const (
	// queueAheadWork is how much work is queued behind a running attempt: enough to
	// hide a commit and a call, too little for another run to notice. 0 disables
	// queueing ahead.
	queueAheadWork = 20 * time.Millisecond
	// maxQueuedAhead bounds the attempts behind one.
	maxQueuedAhead = 8
)

// queueAhead assigns modules of a run whose attempts are short to workers that are
// busy with it, each behind an attempt that runs there (docs/adr/0007). They start
// when their predecessor has succeeded, without waiting for a commit. If it does
// not succeed, the worker gives them back by itself.
//
// A chain of attempts (predecessor and successor) occupies one slot, that of its
// first element.
type queueAhead struct {
	workers   *workers
	proposals *proposals
	work      *inFlightWork
	lookups   interface {
		lookupFor(*moduleState, *link) *pipeline.CacheLookup
	}
}

// fill queues ready modules of a run behind its running attempts. reserved is the
// worker that the plan keeps free; nil if none.
func (q *queueAhead) fill(r *run, reserved *scheduler.Reservation) {
	if r.queue.Len() == 0 || r.pace.samples < 2 || r.pace.average >= queueAheadWork {
		return
	}

	depth := min(maxQueuedAhead, int(queueAheadWork/max(r.pace.average, time.Millisecond)))
	now := time.Now()

	for _, head := range r.occupying {
		if head.stopReason != "" || head.ending {
			continue
		}
		l := q.workers.link(head.worker)
		if l == nil || l.capabilities == nil || l.external || !q.workers.availability(l, now).open() {
			continue
		}
		if reserved != nil && reserved.Worker == &l.planned {
			continue
		}
		q.fillBehind(r, head, l, depth)
	}
}

// fillBehind fills the chain behind one attempt to its depth.
func (q *queueAhead) fillBehind(r *run, head *activeAttempt, l *link, depth int) {
	tail, queued := head, 0
	for tail.successor != nil {
		tail, queued = tail.successor, queued+1
	}

	if queued > depth/2 {
		return // refilled later in one go: fewer and fuller entries
	}

	for ; queued < depth; queued++ {
		next := r.queue.Next(func(c scheduler.Class) bool {
			// It must not need more than the attempt before it: what that leaves free may
			// be given to others as soon as it has ended.
			return !c.Alone && !c.Private && c.Avoid != head.worker && scheduler.Fits(&l.planned, c) && c.Within(tail.module.class())
		})
		if next == nil {
			return
		}
		if m := r.modules[next.Name]; !q.work.waitBehind(m, true) {
			tail = q.assign(m, tail, l)
		}
		q.proposals.flushIfFull()
	}
}

// assign assigns a module behind an attempt on the same worker.
func (q *queueAhead) assign(m *moduleState, before *activeAttempt, l *link) *activeAttempt {
	a := newAttempt(m, l, q.lookups.lookupFor(m, l))
	a.predecessor, before.successor = before, a
	q.work.lead(m)
	q.proposals.batch.assign(a, l.name)
	return a
}

// passOn gives the slot of an attempt that ended back, or to its successor, which
// starts if it succeeded.
func (q *queueAhead) passOn(a *activeAttempt, success bool) {
	next, before := a.successor, a.predecessor
	a.successor, a.predecessor = nil, nil
	if next != nil {
		next.predecessor = before
	}

	if before != nil {
		// Its outcome was reported before that of the one in front of it, which still has
		// the slot.
		before.successor = next
	}

	if !a.occupies {
		return
	}

	a.module.run.vacate(a)
	l := q.workers.link(a.worker)
	if l != nil {
		l.load.give(a.module)
	}

	if next != nil && success {
		a.module.run.occupy(next)
		if l != nil {
			l.load.take(next.module)
		}
		return
	}

	a.module.run.queue.Running--
}
