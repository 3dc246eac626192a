package worker

import (
	"slices"
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// predecessors is the worker's side of queue-ahead: attempts that the leader
// placed behind another one on the same worker, so that they start without a
// round trip when it has succeeded.
//
// An attempt waits until one of three things happens: its predecessor ends here,
// the leader says that the predecessor has succeeded (a dispatch of the same
// attempt without one), or the attempt is stopped. The two may come in any order,
// and the predecessor may have ended long ago: history knows. If the predecessor
// is unknown (it ended before this daemon started, say), the leader's next
// comparison decides.
//
// All methods take the same lock, so an attempt that joins while its predecessor
// ends is either found by ended or finds the result itself.
type predecessors struct {
	history *history

	mu sync.Mutex // guards following
	// waiting are the attempts that may not start yet.
	waiting map[pipeline.AttemptID]*waiter
	// behind lists the waiting ones by their predecessor.
	behind map[pipeline.AttemptID][]pipeline.AttemptID
}

// waiter is an attempt that is queued behind its predecessor.
type waiter struct {
	predecessor pipeline.AttemptID
	begin       chan struct{}
	fail        func(reason string)
}

func newPredecessors(h *history) *predecessors {
	return &predecessors{history: h, waiting: map[pipeline.AttemptID]*waiter{}, behind: map[pipeline.AttemptID][]pipeline.AttemptID{}}
}

// join queues an attempt behind its predecessor. The channel is closed when it
// may start. If the predecessor does not succeed, fail is called instead, once;
// it must not wait.
func (p *predecessors) join(id, predecessor pipeline.AttemptID, fail func(reason string)) (begin <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()

	w := &waiter{predecessor: predecessor, begin: make(chan struct{}), fail: fail}
	succeeded, known := p.history.find(predecessor)
	switch {
	case !known:
		p.waiting[id] = w
		p.behind[predecessor] = append(p.behind[predecessor], id)
	case succeeded:
		close(w.begin)
	default:
		w.failLocked()
	}

	return w.begin
}

func (w *waiter) failLocked() {
	w.fail("not started: " + w.predecessor.String() + ", behind which it was queued, did not succeed")
}

// release lets a waiting attempt start, because the leader knows that its
// predecessor has succeeded.
func (p *predecessors) release(id pipeline.AttemptID) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if w := p.removeLocked(id); w != nil {
		close(w.begin)
	}
}

// ended records how an attempt ended, releases those queued behind it, or fails
// them, and reports whether it has released any.
func (p *predecessors) ended(id pipeline.AttemptID, succeeded bool) (released bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.history.add(id, succeeded)
	p.removeLocked(id) // it was stopped while it waited itself

	for _, next := range slices.Clone(p.behind[id]) {
		w := p.removeLocked(next)
		if succeeded {
			close(w.begin)
			released = true
		} else {
			w.failLocked()
		}
	}

	return released
}

// isWaiting reports whether an attempt waits for its predecessor.
func (p *predecessors) isWaiting(id pipeline.AttemptID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[id] != nil
}

// removeLocked ends the waiting of an attempt; nil if it does not wait.
func (p *predecessors) removeLocked(id pipeline.AttemptID) *waiter {
	w := p.waiting[id]
	if w == nil {
		return nil
	}
	delete(p.waiting, id)

	rest := slices.DeleteFunc(p.behind[w.predecessor], func(other pipeline.AttemptID) bool { return other == id })
	if len(rest) == 0 {
		delete(p.behind, w.predecessor)
	} else {
		p.behind[w.predecessor] = rest
	}
	return w
}
