package worker

import (
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// table holds the attempts that this node has taken and whose outcome is not
// committed yet.
type table struct {
	mu       sync.Mutex // guards following
	attempts map[pipeline.AttemptID]*attempt
}

func newTable() *table { return &table{attempts: map[pipeline.AttemptID]*attempt{}} }

// get gives an attempt; nil if it is not here.
func (t *table) get(id pipeline.AttemptID) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attempts[id]
}

func (t *table) put(a *attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts[a.id] = a
}

// remove takes an attempt out and returns it; nil if it was not here.
func (t *table) remove(id pipeline.AttemptID) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.attempts[id]
	delete(t.attempts, id)
	return a
}

// all gives the attempts in no particular order.
func (t *table) all() []*attempt {
	t.mu.Lock()
	defer t.mu.Unlock()

	list := make([]*attempt, 0, len(t.attempts))
	for _, a := range t.attempts {
		list = append(list, a)
	}
	return list
}

// history remembers how recent attempts ended: against a dispatch that was under
// way for long, and for those queued behind one whose outcome is committed. It
// keeps two generations, so at least the last half of its size is always there.
type history struct {
	size int

	mu sync.Mutex // guards following
	// young and old say whether an attempt succeeded.
	young, old map[pipeline.AttemptID]bool
}

func newHistory(size int) *history {
	return &history{size: size, young: map[pipeline.AttemptID]bool{}}
}

func (h *history) add(id pipeline.AttemptID, succeeded bool) {
	h.mu.Lock()
	defer h.mu.Unlock()

	if len(h.young) >= h.size/2 {
		h.old, h.young = h.young, map[pipeline.AttemptID]bool{}
	}
	h.young[id] = succeeded
}

// find reports whether an attempt has ended here, and whether it succeeded.
func (h *history) find(id pipeline.AttemptID) (succeeded, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()

	if succeeded, known = h.young[id]; known {
		return succeeded, true
	}
	succeeded, known = h.old[id]
	return succeeded, known
}
