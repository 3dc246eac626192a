package remotecache

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// stepEntries is how many entries one entry of the log deletes, or marks as read.
	stepEntries = 500
	// retainEntries is how many entries one call of Retain deletes at most.
	retainEntries = 20 * stepEntries
)

// ListTools lists entries of a kind behind a key.
func (c *Cache) ListTools(_ context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error) {
	out := wire.ToolList{Entries: []wire.ToolEntry{}}
	spaces := spacesOf(kind)
	if len(spaces) > 0 && after.Space == "" {
		after.Space = spaces[0]
	}

	err := c.cfg.State.View(func(v *fsm.View) error {
		var last pipeline.ToolKey
		v.Tools(after, func(e *pipeline.ToolEntry) bool {
			if !slices.Contains(spaces, e.Space) {
				return false // those of a kind are adjacent
			}
			if len(out.Entries) == limit {
				out.Cursor = last.String()
				return false
			}

			out.Entries = append(out.Entries, wire.ToolEntry{Kind: wire.KindOfTool(e.Space), Space: e.Space, Team: e.Team, Key: e.Key,
				Digest: e.Digest, Bytes: e.Size, StoredAt: e.StoredAt, TakenAt: e.TakenAt})
			last = e.ToolKey
			return true
		})
		return nil
	})
	return out, err
}

// selection lists the entries that a request selects, those first whose last read
// is the oldest, and their bytes. most bounds the list; 0 is no bound.
func (c *Cache) selection(in wire.CachePrune, now time.Time, most int) (list []fsm.ToolDelete, bytes int64, err error) {
	spaces := spacesOf(in.Kind)
	before := now.Add(-time.Duration(in.UnusedSeconds * float64(time.Second)))

	err = c.cfg.State.View(func(v *fsm.View) error {
		stats := v.ToolStats()
		var total int64
		for _, s := range spaces {
			total += stats.Of(s).Bytes
		}

		v.ToolsByAge(func(e *pipeline.ToolEntry) bool {
			if !slices.Contains(spaces, e.Space) {
				return true
			}
			unused := in.UnusedSeconds > 0 && e.TakenAt.Before(before)
			tooMuch := in.MaxBytes != nil && total > *in.MaxBytes
			if !in.All && !unused && !tooMuch {
				return false // those that follow were read later
			}

			list = append(list, fsm.ToolDelete{Key: e.ToolKey, Digest: e.Digest, Index: e.Index})
			bytes += e.Size
			total -= e.Size
			return most == 0 || len(list) < most
		})
		return nil
	})
	return list, bytes, err
}

// Prune deletes the entries that a request selects, or with DryRun counts them.
func (c *Cache) Prune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	list, bytes, err := c.selection(in, time.Now(), 0)
	if err == nil && !in.DryRun {
		if err = c.delete(ctx, list); err == nil {
			c.log.Info("remote cache entries pruned", "by", by.Name, "kind", in.Kind, "entries", len(list), "bytes", bytes)
		}
	}

	return wire.CachePruned{Removed: len(list), Bytes: bytes}, err
}

// delete deletes entries. The garbage collection deletes their bytes, unless
// something else needs them.
func (c *Cache) delete(ctx context.Context, list []fsm.ToolDelete) error {
	for part := range slices.Chunk(list, stepEntries) {
		if err := c.propose(ctx, &fsm.Tools{Deletes: part}); err != nil {
			return err
		}
	}

	return nil
}

// Retain deletes what is beyond the limits. Only the leader calls it.
func (c *Cache) Retain(ctx context.Context, now time.Time) error {
	in := wire.CachePrune{UnusedSeconds: c.cfg.KeepFor.Seconds()}
	if c.cfg.MaxBytes > 0 {
		in.MaxBytes = &c.cfg.MaxBytes
	}

	list, bytes, err := c.selection(in, now, retainEntries)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := c.delete(ctx, list); err != nil {
		return err
	}
	c.log.Info("remote cache entries evicted by the limits", "entries", len(list), "bytes", bytes)
	return nil
}

// spacesOf lists the spaces of a kind; of "" all.
func spacesOf(kind string) (list []pipeline.ToolSpace) {
	for _, s := range pipeline.ToolSpaces {
		if kind == "" || wire.KindOfTool(s) == kind {
			list = append(list, s)
		}
	}

	return list
}
