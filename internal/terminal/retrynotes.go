package terminal

import (
	"fmt"
	"sync"
	"time"
)

// noteEvery is how often it is said that calls are being repeated.
const noteEvery = 5 * time.Second

// RetryNotes tells people that a call is repeated, now and then. It is safe for
// concurrent use.
type RetryNotes struct {
	print func(string)
	now   func() time.Time

	mu sync.Mutex
	// guards following
	last time.Time
	// show takes the notes while a run is followed, whose display owns the
	// terminal.
	show chan string
}

// NewRetryNotes makes notes that go to print, which must be safe to call at any
// time, unless take is in effect.
func NewRetryNotes(now func() time.Time, print func(string)) *RetryNotes {
	return &RetryNotes{now: now, print: print}
}

// Retrying is a client.Config's OnRetry.
func (n *RetryNotes) Retrying(err error, _ time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if now.Sub(n.last) < noteEvery {
		return
	}

	n.last = now
	text := fmt.Sprintf("%s; retrying", OneLine(err.Error()))
	if n.show == nil {
		n.print(text)
		return
	}

	select {
	case n.show <- text:
	default: // one is waiting to be shown
	}
}

// Take sends the notes to a channel until the returned function is called.
func (n *RetryNotes) Take() (notes <-chan string, back func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.show = make(chan string, 1)
	return n.show, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.show = nil
	}
}
