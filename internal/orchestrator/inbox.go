package orchestrator

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// inbox is how other goroutines hand work to the loop. All its methods may be
// called from any goroutine.
type inbox struct {
	// wake has an element if functions may be waiting.
	wake chan struct{}

	mu        sync.Mutex // guards following
	functions []func()
	closed    bool
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// post gives the loop a function to call; false once the term has ended. It
// never blocks.
func (b *inbox) post(fn func()) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}

	b.functions = append(b.functions, fn)
	b.mu.Unlock()

	poke(b.wake)
	return true
}

// take removes and returns what was posted, in order.
func (b *inbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()

	list := b.functions
	b.functions = nil
	return list
}

// close drops what was posted: a term that has ended cannot answer.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.closed, b.functions = true, nil
}

// poke puts an element into a channel of capacity one, unless it has one.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// tasks are the goroutines of a term. The term waits for all of them before it
// returns, so that two terms of one node never overlap.
type tasks struct {
	group errgroup.Group
	// ctx ends with the term.
	ctx context.Context
}

// start runs fn in a goroutine that the term waits for. fn must return soon after
// ctx has ended.
func (s *tasks) start(fn func(ctx context.Context)) {
	s.group.Go(func() error {
		fn(s.ctx)
		return nil
	})
}

// wait returns when all goroutines have returned.
func (s *tasks) wait() { _ = s.group.Wait() } // start's functions return nil

// flag is a request that the loop serves in its next step. Parts share it by
// pointer.
type flag struct{ raised bool }

func (f *flag) raise() { f.raised = true }

// lower returns whether the flag was raised, and lowers it.
func (f *flag) lower() bool {
	raised := f.raised
	f.raised = false
	return raised
}
