// Package awake measures how long others have been silent, or a disk has not
// answered, without the time in which this process did not run: it was stopped, or
// its machine was. In that time it could not have noticed an answer.
//
// It knows nothing of who is measured, and starts no goroutine: a Clock is beaten
// by the loop that asks it. Its methods are safe for concurrent use.
package awake

import (
	"sync"
	"time"
)

const (
	// limit is how much time between two beats counts; the rest is missed. It is
	// more than a busy machine lets a process wait.
	limit = time.Second
	// maxGaps bounds how many gaps are remembered; the oldest counts as time again.
	maxGaps = 16
)

// Clock measures time in which its owner's loop ran.
type Clock struct {
	mu sync.Mutex // guards following
	// beat is the last one.
	beat time.Time
	// gaps are the times that were missed, in order.
	gaps []gap
}

type gap struct{ from, to time.Time }

// New returns a clock that was beaten just now.
func New() *Clock { return &Clock{beat: time.Now()} }

// Beat says that the loop runs; at least twice per second. It returns how much
// time was missed since the last beat.
func (c *Clock) Beat() (missed time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()

	now := time.Now()
	if g, ok := c.openLocked(now); ok {
		missed = g.to.Sub(g.from)
		c.gaps = append(c.gaps, g)
		c.gaps = c.gaps[max(0, len(c.gaps)-maxGaps):]
	}
	c.beat = now
	return missed
}

// Since is the time from t until now, without what was missed of it.
func (c *Clock) Since(t time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()

	now := time.Now()
	d := now.Sub(t)
	if g, ok := c.openLocked(now); ok {
		d -= g.after(t)
	}
	for _, g := range c.gaps {
		d -= g.after(t)
	}
	return d
}

// openLocked is the gap that a beat at a time would end.
func (c *Clock) openLocked(now time.Time) (gap, bool) {
	g := gap{from: c.beat.Add(limit), to: now}
	return g, g.to.After(g.from)
}

// after is how much of the gap lies after t.
func (g gap) after(t time.Time) time.Duration {
	if t.Before(g.from) {
		t = g.from
	}
	return max(0, g.to.Sub(t))
}
