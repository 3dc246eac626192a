package fsm

import (
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// change collects what a batch changed.
type change struct {
	Index   uint64
	Runs    map[pipeline.RunID]bool // value: changed by another than the orchestrator's batches
	Workers bool
	// Schedules is set if a schedule changed.
	Schedules bool
}

func newChange() *change { return &change{Runs: map[pipeline.RunID]bool{}} }

func (c *change) run(id pipeline.RunID, outside bool) { c.Runs[id] = c.Runs[id] || outside }

// Changes is what changed since it was last received.
type Changes struct {
	// Runs that were submitted, cancelled or forgotten.
	Runs []pipeline.RunID
	// Workers is set if the stored facts about workers changed.
	Workers bool
	// Schedules is set if a schedule changed.
	Schedules bool
	// All is set if the whole state was replaced.
	All bool
}

type watchers struct {
	mu sync.Mutex // guards following
	// waiting holds a channel for each run that is waited for; closed and
	// dropped at the run's next change.
	waiting map[pipeline.RunID]chan struct{}
	// any is closed and dropped at the next change of all; nil if none waits.
	any    chan struct{}
	subs   map[*Subscription]struct{}
	closed bool
}

func newWatchers() *watchers {
	return &watchers{waiting: map[pipeline.RunID]chan struct{}{}, subs: map[*Subscription]struct{}{}}
}

// maxWaiting is the maximum number of waiting channels. Beyond it all are
// closed: their readers read again, and runs that never change do not fill the
// memory.
const maxWaiting = 1 << 16

// Changed returns a channel that is closed at the next change of the run (or of
// the whole state), at the latest. Call it before reading the run.
func (s *Store) Changed(id pipeline.RunID) <-chan struct{} {
	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()

	ch := w.waiting[id]
	if ch == nil {
		ch = make(chan struct{})
		if w.closed {
			close(ch)
			return ch
		}
		if len(w.waiting) >= maxWaiting {
			w.wakeLocked()
		}
		w.waiting[id] = ch
	}

	return ch
}

// Advanced returns a channel that is closed when the next entries have been applied,
// or the whole state was replaced. Call it before reading.
func (s *Store) Advanced() <-chan struct{} {
	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.any == nil {
		w.any = make(chan struct{})
	}
	ch := w.any
	if w.closed {
		w.wakeAnyLocked()
	}
	return ch
}

func (w *watchers) wakeAnyLocked() {
	if w.any != nil {
		close(w.any)
		w.any = nil
	}
}

// Subscription reports changes to one reader that others than the
// orchestrator's batches made.
type Subscription struct {
	w *watchers
	// C has an element when there is something to take.
	C    chan struct{}
	runs map[pipeline.RunID]struct{} // guarded by w.mu, as the rest
	wks  bool
	sch  bool
	all  bool
}

// Subscribe begins a subscription; Close ends it.
func (s *Store) Subscribe() *Subscription {
	sub := &Subscription{w: s.watch, C: make(chan struct{}, 1), runs: map[pipeline.RunID]struct{}{}}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.subs[sub] = struct{}{}
	return sub
}

// Close ends the subscription. Idempotent.
func (sub *Subscription) Close() {
	sub.w.mu.Lock()
	defer sub.w.mu.Unlock()
	delete(sub.w.subs, sub)
}

// Take returns what has changed since the last Take.
func (sub *Subscription) Take() Changes {
	sub.w.mu.Lock()
	defer sub.w.mu.Unlock()
	c := Changes{Workers: sub.wks, Schedules: sub.sch, All: sub.all}
	for id := range sub.runs {
		c.Runs = append(c.Runs, id)
	}
	sub.runs, sub.wks, sub.sch, sub.all = map[pipeline.RunID]struct{}{}, false, false, false
	return c
}

func (w *watchers) publish(c *change) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.wakeAnyLocked()
	outside := c.Workers || c.Schedules
	for id, out := range c.Runs {
		if ch := w.waiting[id]; ch != nil {
			close(ch)
			delete(w.waiting, id)
		}
		outside = outside || out
	}

	if !outside {
		return
	}

	for sub := range w.subs {
		for id, out := range c.Runs {
			if out {
				sub.runs[id] = struct{}{}
			}
		}
		sub.wks = sub.wks || c.Workers
		sub.sch = sub.sch || c.Schedules
		sub.poke()
	}
}

func (sub *Subscription) poke() {
	select {
	case sub.C <- struct{}{}:
	default:
	}
}

// replaced wakes all waiters and subscribers: the whole state has changed.
func (w *watchers) replaced() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replacedLocked()
}

func (w *watchers) wakeLocked() {
	for id, ch := range w.waiting {
		close(ch)
		delete(w.waiting, id)
	}
}

func (w *watchers) replacedLocked() {
	w.wakeLocked()
	w.wakeAnyLocked()
	for sub := range w.subs {
		sub.all = true
		sub.poke()
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true // before a channel can be requested that nothing would close
	w.replacedLocked()
}
