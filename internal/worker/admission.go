package worker

import (
	"sync"

	"github.com/pipelined/pipelined/pipeline"
)

// admission decides which orders of which leader this worker follows: those of
// the highest term that it has seen, and no new attempts once it is closed.
type admission struct {
	name string // of the node, for messages
	// full says why the node has no capacity for more work; may be nil.
	full func() string

	mu     sync.Mutex // guards following
	term   uint64
	closed bool
}

// take runs fn, which takes attempts, if the worker follows the term and is
// open. A caller of follow waits meanwhile: a stop that comes behind a dispatch
// must find its attempts.
func (d *admission) take(term uint64, fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()

	if err := d.followLocked(term); err != nil {
		return err
	}
	if d.closed {
		return pipeline.Errorf(pipeline.Unavailable, "node %s is stopping", d.name)
	}
	return fn()
}

// follow accepts orders of a term; an older one than before is a Conflict.
func (d *admission) follow(term uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.followLocked(term)
}

func (d *admission) followLocked(term uint64) error {
	if term < d.term {
		return pipeline.Errorf(pipeline.Conflict, "term %d has ended: this worker follows term %d", term, d.term)
	}
	d.term = term
	return nil
}

// close makes the worker refuse new attempts.
func (d *admission) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// status reports whether new attempts are refused. The reason is that of a full
// node; a closed one needs none.
func (d *admission) status() (closed bool, reason string) {
	d.mu.Lock()
	closed = d.closed
	d.mu.Unlock()

	if !closed && d.full != nil {
		reason = d.full()
	}
	return closed || reason != "", reason
}
