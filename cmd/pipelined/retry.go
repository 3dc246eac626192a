package main

import (
	"fmt"
	"sync"
	"time"
)

// noteEvery is how often it is said that calls are being repeated.
const noteEvery = 5 * time.Second

// retryNotes tells people that a call is repeated, now and then. It is safe for
// concurrent use.
type retryNotes struct {
	print func(string)
	now   func() time.Time

	mu sync.Mutex
	// guards following
	last time.Time
	// show takes the notes while a run is followed, whose display owns the
	// terminal.
	show chan string
}

// retrying is a client.Config's OnRetry.
func (n *retryNotes) retrying(err error, _ time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if now.Sub(n.last) < noteEvery {
		return
	}
	n.last = now
	text := fmt.Sprintf("%s; trying again", oneLine(err.Error()))
	if n.show == nil {
		n.print(text)
		return
	}
	select {
	case n.show <- text:
	default: // one is waiting to be shown
	}
}

// take sends the notes to a channel until the returned function is called.
func (n *retryNotes) take() (notes <-chan string, back func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.show = make(chan string, 1)
	return n.show, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.show = nil
	}
}
