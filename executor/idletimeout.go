package executor

import (
	"sync/atomic"
	"time"
)

// idleTimeout calls a function when nothing was heard for too long. Output costs
// it one store, not a timer: the timer looks how old the last output is, and
// sleeps for the rest. A nil idleTimeout does nothing.
type idleTimeout struct {
	limit time.Duration
	from  time.Time
	// last is when something was heard, since from.
	last  atomic.Int64
	timer *time.Timer
}

// newIdleTimeout begins to measure. expired is called at most once, from a
// goroutine of its own, perhaps while stop returns.
func newIdleTimeout(limit time.Duration, expired func()) *idleTimeout {
	t := &idleTimeout{limit: limit, from: time.Now()}

	set := make(chan struct{})
	t.timer = time.AfterFunc(limit, func() {
		<-set // else t.timer may not be set yet
		if left := t.limit - (time.Since(t.from) - time.Duration(t.last.Load())); left > 0 {
			t.timer.Reset(left)
			return
		}
		expired()
	})
	close(set)

	return t
}

// reset records that something was heard.
func (t *idleTimeout) reset() {
	if t != nil {
		t.last.Store(int64(time.Since(t.from)))
	}
}

// stop ends the measuring.
func (t *idleTimeout) stop() {
	if t != nil {
		t.timer.Stop()
	}
}
