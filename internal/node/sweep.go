package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

const (
	// sweepEvery is the longest pause between two sweeps of a node, sweepSoon the
	// pause while its disk is low.
	sweepEvery = 10 * time.Minute
	sweepSoon  = 20 * time.Second
)

// sweeper removes blobs that nothing needs until ctx ends.
func (n *Node) sweeper(ctx context.Context) {
	grace := n.cfg.Limits.SweepGrace
	began := time.Now()
	for sleep(ctx, sweepSoon) {
		low := n.disk.low.Load()
		if !low && time.Since(began) < min(sweepEvery, grace/4) {
			continue
		}
		began = time.Now()
		wait := grace
		if low {
			wait = minSweepGrace
		}
		n.worker.TrimFolders()
		if _, err := n.sweep(ctx, wait); err != nil && ctx.Err() == nil {
			n.log.Info("no sweep of blobs", "error", err)
		}
	}
}

// swept is what a sweep did.
type swept struct {
	Blobs, Removed, Needed int
	Bytes                  int64
}

// sweep removes the blobs of this node that nothing names and nobody asked for
// since grace ago.
//
// It never races a reference that is being made: whoever names a blob has put it
// or asked for it just before, and both make it new again under the lock that
// DeleteUnused takes. What this node still has to report is looked at first, then
// the state, at an index that the leader had after that: an outcome is in one of
// them.
func (n *Node) sweep(ctx context.Context, grace time.Duration) (swept, error) {
	var s swept
	began := time.Now()
	pending := n.journal.All()
	if err := n.state.CatchUp(ctx); err != nil {
		return s, err
	}
	refs, _, err := n.references()
	if err != nil {
		return s, err
	}
	for i := range pending {
		o := pending[i].Outcome
		if o == nil {
			continue
		}
		if named(o.Log) {
			refs = append(refs, fsm.Reference{Digest: o.Log, Attempt: o.ID})
		}
		if named(o.Outputs) {
			refs = append(refs, fsm.Reference{Digest: o.Outputs, Tree: true, Attempt: o.ID})
		}
	}
	needed, err := n.walkBlobs(ctx, refs, func(pipeline.Digest, *fsm.Reference) error { return nil },
		// Which files belong to it is not known, so that each blob may be one; unless
		// it is gone for good.
		func(r *fsm.Reference, err error) error {
			if pipeline.KindOf(err) == pipeline.NotFound && n.allAnswer() {
				return nil
			}
			return fmt.Errorf("the outputs or the workspace of run %s cannot be listed: %w", r.Attempt.Run, err)
		})
	if err != nil {
		return s, err
	}
	endSweep, err := n.blobs.BeginSweep()
	defer endSweep()
	if err != nil {
		return s, err
	}
	var old []storage.BlobInfo
	before := began.Add(-grace)
	s.Needed = len(needed)
	err = n.blobs.Walk(ctx, func(i storage.BlobInfo) error {
		s.Blobs++
		if i.UsedAt.Before(before) && !needed.has(i.Digest) {
			old = append(old, i)
		}
		return nil
	})
	for _, i := range old {
		if err != nil || ctx.Err() != nil {
			break
		}
		var gone bool
		if gone, err = n.blobs.DeleteUnused(i.Digest, before); gone {
			s.Removed++
			s.Bytes += i.Size
		}
	}
	n.blobs.CleanPartials()
	if s.Removed > 0 {
		n.log.Info("swept blobs that nothing needs", "removed", s.Removed, "bytes", s.Bytes, "of", s.Blobs, "took", time.Since(began).Round(time.Millisecond))
	}
	return s, err
}

// allAnswer reports whether no member is away that may come back.
func (n *Node) allAnswer() bool {
	for _, m := range n.cluster.Members() {
		if m.Status != cluster.StatusAlive && m.Status != cluster.StatusLeft {
			return false
		}
	}
	return true
}

func named(d pipeline.Digest) bool { return len(d) == 64 && d != pipeline.EmptyDigest }
