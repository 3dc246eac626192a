package metrics

import (
	"slices"
	"sync"
	"time"
)

const (
	// commitsKept is how long a commit counts as recent.
	commitsKept = 15 * time.Second
	// maxCommits bounds how many are kept: the newest.
	maxCommits = 512
)

// Commits are how long recent proposals took until they were committed.
type Commits struct {
	Count       int
	Median, P99 time.Duration
}

// commits has the newest ones in a ring.
type commits struct {
	mu   sync.Mutex // guards following
	ring [maxCommits]struct {
		at   time.Time
		took time.Duration
	}
	n int // how many there were
}

func (c *commits) add(at time.Time, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.ring[c.n%maxCommits]
	e.at, e.took = at, took
	c.n++
}

// since sums up those after a moment.
func (c *commits) since(begin time.Time) Commits {
	var list []time.Duration
	c.mu.Lock()
	for i := range min(c.n, maxCommits) {
		if e := &c.ring[i]; e.at.After(begin) {
			list = append(list, e.took)
		}
	}
	c.mu.Unlock()
	if len(list) == 0 {
		return Commits{}
	}

	slices.Sort(list)
	n := len(list)
	return Commits{Count: n, Median: list[(n-1)/2], P99: list[(n*99+99)/100-1]}
}
