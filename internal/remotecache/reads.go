package remotecache

import (
	"context"
	"sync"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// readEvery is how exact the state is about the last read of an entry.
	readEvery = time.Hour
	// reportEvery is how often reads are reported to the state.
	reportEvery = 10 * time.Second
	// maxReads bounds the reads that a node remembers for that.
	maxReads = 10_000
)

// reads remembers entries that were read and whose last read in the state is old.
type reads struct {
	mu   sync.Mutex // guards following
	keys map[pipeline.ToolKey]struct{}
}

// note remembers that an entry was read, if the state does not know yet.
func (r *reads) note(e *pipeline.ToolEntry) {
	if time.Since(e.TakenAt) < readEvery {
		return
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) < maxReads { // a further one is noted when it is read again
		r.keys[e.ToolKey] = struct{}{}
	}
}

// take empties the memory.
func (r *reads) take() map[pipeline.ToolKey]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()

	keys := r.keys
	r.keys = map[pipeline.ToolKey]struct{}{}
	return keys
}

// Run reports reads to the state until ctx ends. They decide which entries the
// limits delete first.
func (c *Cache) Run(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.ReportReads(ctx); err != nil && ctx.Err() == nil {
			c.log.Info("report reads of the remote cache", "error", err)
		}
	}
}

// ReportReads reports the reads since the last call. If it fails they are lost,
// which costs an entry a little of its age.
func (c *Cache) ReportReads(ctx context.Context) error {
	op := &fsm.Tools{}
	for k := range c.reads.take() {
		if op.Takes = append(op.Takes, k); len(op.Takes) == stepEntries {
			if err := c.propose(ctx, op); err != nil {
				return err
			}
			op = &fsm.Tools{}
		}
	}

	if len(op.Takes) == 0 {
		return nil
	}
	return c.propose(ctx, op)
}
