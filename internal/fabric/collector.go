package fabric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const (
	// collectEvery is the longest pause between two passes; collectSoon is how often
	// it is checked whether one is due, and the pause while the disk is low.
	collectEvery = 10 * time.Minute
	collectSoon  = 20 * time.Second
	// MinCollectGrace must exceed the time from asking whether a blob is here to
	// naming it in the state. When a blob was used is kept to the minute.
	MinCollectGrace = 5 * time.Minute
)

// CollectableBlobs is the blob store, as far as it is collected.
type CollectableBlobs interface {
	Walk(ctx context.Context, fn func(blob.Info) error) error
	// DeleteUnused deletes a blob unless it was used since; it reports whether it
	// did.
	DeleteUnused(d pipeline.Digest, since time.Time) (bool, error)
	// CleanPartials deletes transfers that were given up.
	CleanPartials()
}

// CollectorConfig holds the neighbours and settings of a Collector. All fields
// are required.
type CollectorConfig struct {
	State State
	Trees Trees
	Blobs CollectableBlobs
	// CatchUp waits until the state here has everything that the leader had when it
	// was asked.
	CatchUp func(ctx context.Context) error
	// Unreported lists outcomes that are on this node and may not be in the state.
	Unreported func() []pipeline.Outcome
	// NoneAway reports whether no member is away that may come back.
	NoneAway func() bool
	// DiskLow reports whether the disk is nearly full.
	DiskLow func() bool
	// Trim is called before each pass: it frees what other parts keep for reuse.
	Trim func()
	// Grace is for how long a blob that nothing names is kept; at least
	// MinCollectGrace.
	Grace time.Duration
	// Stamp is a file whose time of change is when the last pass began: processes may
	// end before their first one is due.
	Stamp  string
	Logger hclog.Logger
}

// Collector deletes blobs of this node that nothing needs: garbage collection by
// mark and sweep.
type Collector struct {
	cfg   CollectorConfig
	pass  sync.Mutex            // held during a pass
	usage atomic.Pointer[Usage] // of the last pass
}

// Usage is what the blobs of a node take on its disk.
type Usage struct {
	Blobs int
	Bytes int64
	// LogBytes is the part of logs, which are compressed unless they are short.
	LogBytes int64
	At       time.Time // when they were counted
}

// Usage returns what the blobs took after the last pass; nil before the first.
// It may be called while Run runs.
func (c *Collector) Usage() *Usage { return c.usage.Load() }

// NewCollector makes a collector.
func NewCollector(cfg CollectorConfig) *Collector { return &Collector{cfg: cfg} }

// Run collects until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	for began := c.last(); pause(ctx, collectSoon); {
		grace, low := c.cfg.Grace, c.cfg.DiskLow()
		if low {
			grace = MinCollectGrace
		} else if time.Since(began) < min(collectEvery, grace/4) {
			continue
		}

		began = time.Now()
		c.collectNow(ctx, grace)
	}
}

// Finish makes a pass if the last one is longer ago than what nothing names is kept:
// for a process that ends before Run makes one. prepare is called before it.
func (c *Collector) Finish(ctx context.Context, prepare func(context.Context) error) {
	if time.Since(c.last()) < c.cfg.Grace {
		return
	}
	if err := prepare(ctx); err != nil {
		c.cfg.Logger.Info("collection of blobs skipped", "error", err)
		return
	}
	c.collectNow(ctx, c.cfg.Grace)
}

// collectNow makes a pass, unless one is under way.
func (c *Collector) collectNow(ctx context.Context, grace time.Duration) {
	if !c.pass.TryLock() {
		return
	}
	defer c.pass.Unlock()
	if err := c.stamp(); err != nil {
		c.cfg.Logger.Info("note the time of the collection of blobs", "error", err)
	}
	c.cfg.Trim()
	if _, err := c.Collect(ctx, grace); err != nil && ctx.Err() == nil {
		c.cfg.Logger.Info("garbage collection of blobs skipped", "error", err)
	}
}

// last is when the last pass began, in whichever process. If there was none it is now.
func (c *Collector) last() time.Time {
	info, err := os.Stat(c.cfg.Stamp)
	if err != nil {
		_ = c.stamp() // without it the next process counts from its start
		return time.Now()
	}
	if info.ModTime().After(time.Now()) {
		return time.Time{} // the clock was set back
	}
	return info.ModTime()
}

// stamp sets the time of the last pass to now.
func (c *Collector) stamp() error {
	f, err := os.OpenFile(c.cfg.Stamp, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	now := time.Now()
	return errors.Join(f.Close(), os.Chtimes(c.cfg.Stamp, now, now))
}

// Collected is what one pass did.
type Collected struct {
	// Blobs were looked at, of which Needed are named by the state and Removed were
	// deleted, Bytes long.
	Blobs, Needed, Removed int
	Bytes                  int64
}

// Collect makes one pass: it deletes the blobs that nothing names and that were
// not used within grace.
//
// It cannot race a reference that is being made. Who names a blob has stored it or
// asked for it just before, and both renew its time of use under the lock that
// DeleteUnused takes. The order below matters as well: first the outcomes that
// this node still has to report, then the state at an index that the leader had
// after that. So each outcome is in one of the two.
func (c *Collector) Collect(ctx context.Context, grace time.Duration) (Collected, error) {
	began := time.Now()
	unreported := c.cfg.Unreported()
	if err := c.cfg.CatchUp(ctx); err != nil {
		return Collected{}, err
	}

	needed, logs, err := c.mark(ctx, unreported)
	if err != nil {
		return Collected{}, err
	}

	out, err := c.sweep(ctx, needed, logs, began.Add(-grace))
	c.cfg.Blobs.CleanPartials()
	if out.Removed > 0 {
		c.cfg.Logger.Info("deleted blobs that nothing needs", "removed", out.Removed, "bytes", out.Bytes, "of", out.Blobs,
			"took", time.Since(began).Round(time.Millisecond))
	}
	return out, err
}

// mark lists the blobs that are needed, and which of them are logs.
func (c *Collector) mark(ctx context.Context, unreported []pipeline.Outcome) (needed, logs digestSet, err error) {
	refs, err := references(c.cfg.State)
	if err != nil {
		return nil, nil, err
	}
	for i := range unreported {
		o := &unreported[i]
		if names(o.Log) {
			refs = append(refs, fsm.Reference{Digest: o.Log, Log: true, Attempt: o.ID})
		}
		if o.Tests != nil && names(o.Tests.Cases) {
			refs = append(refs, fsm.Reference{Digest: o.Tests.Cases, Attempt: o.ID})
		}
		if names(o.Outputs) {
			refs = append(refs, fsm.Reference{Digest: o.Outputs, Tree: true, Attempt: o.ID})
		}
	}

	logs = digestSet{}
	for i := range refs {
		if refs[i].Log {
			logs.add(refs[i].Digest)
		}
	}

	w := &walk{trees: c.cfg.Trees, visit: func(pipeline.Digest, *fsm.Reference) error { return nil },
		unreadable: func(r *fsm.Reference, err error) error {
			// Without its listing each blob may be a file of that tree, so nothing may be
			// deleted; unless every node was asked and the listing is lost.
			if pipeline.KindOf(err) == pipeline.NotFound && c.cfg.NoneAway() {
				return nil
			}
			return fmt.Errorf("list the outputs or the workspace of run %s: %w", r.Attempt.Run, err)
		}}
	needed, err = w.run(ctx, refs)
	return needed, logs, err
}

// sweep deletes what is neither needed nor used since before.
func (c *Collector) sweep(ctx context.Context, needed, logs digestSet, before time.Time) (Collected, error) {
	out := Collected{Needed: len(needed)}
	var old []blob.Info
	usage := Usage{At: time.Now().UTC()}
	err := c.cfg.Blobs.Walk(ctx, func(i blob.Info) error {
		out.Blobs++
		usage.Bytes += i.Size
		if logs.has(i.Digest) {
			usage.LogBytes += i.Size
		}
		if i.UsedAt.Before(before) && !needed.has(i.Digest) {
			old = append(old, i)
		}
		return nil
	})

	for _, i := range old {
		if err != nil || ctx.Err() != nil {
			break
		}
		var removed bool
		if removed, err = c.cfg.Blobs.DeleteUnused(i.Digest, before); removed {
			out.Removed++
			out.Bytes += i.Size
		}
	}
	if err == nil {
		usage.Blobs, usage.Bytes = out.Blobs-out.Removed, usage.Bytes-out.Bytes
		c.usage.Store(&usage)
	}
	return out, err
}
