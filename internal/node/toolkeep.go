package node

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// toolStep is how many entries of other tools one entry of the log removes, or
// notes as taken.
const toolStep = 500

// ListTools lists what other tools keep.
func (b *backend) ListTools(_ context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error) {
	out := wire.ToolList{Entries: []wire.ToolEntry{}}
	spaces := spacesOf(kind)
	if len(spaces) > 0 && after.Space == "" {
		after.Space = spaces[0]
	}
	err := b.store.View(func(v *fsm.View) error {
		var last pipeline.ToolKey
		v.Tools(after, func(e *pipeline.ToolEntry) bool {
			if !slices.Contains(spaces, e.Space) {
				return false // they stand together
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

// prunableTools lists entries that are to go, those first that were taken longest
// ago, and their bytes. most bounds the list; 0 is no bound.
func (n *Node) prunableTools(in wire.CachePrune, now time.Time, most int) (list []fsm.ToolDelete, bytes int64, err error) {
	spaces := spacesOf(in.Kind)
	before := now.Add(-time.Duration(in.UnusedSeconds * float64(time.Second)))
	err = n.store.View(func(v *fsm.View) error {
		stats := v.ToolStats()
		var total int64
		for _, s := range spaces {
			total += stats.Of(s).Bytes
		}
		v.ToolsByAge(func(e *pipeline.ToolEntry) bool {
			if !slices.Contains(spaces, e.Space) {
				return true
			}
			if !in.All && !(in.UnusedSeconds > 0 && e.TakenAt.Before(before)) && !(in.MaxBytes != nil && total > *in.MaxBytes) {
				return false // those that follow were taken later
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

// Prune removes what other tools keep, for the API.
func (b *backend) Prune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	n := b.node()
	list, bytes, err := n.prunableTools(in, time.Now(), 0)
	if err == nil && !in.DryRun {
		if err = n.dropTools(ctx, list); err == nil {
			n.log.Info("remote cache entries pruned", "by", by.Name, "kind", in.Kind, "entries", len(list), "bytes", bytes)
		}
	}
	return wire.CachePruned{Removed: len(list), Bytes: bytes}, err
}

// dropTools removes entries; their bytes go with the next sweep, where nothing else
// needs them.
func (n *Node) dropTools(ctx context.Context, list []fsm.ToolDelete) error {
	for part := range slices.Chunk(list, toolStep) {
		if err := n.proposeTool(ctx, &fsm.Command{Tools: &fsm.Tools{Deletes: part}}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) proposeTool(ctx context.Context, c *fsm.Command) error {
	c.At = time.Now().UTC()
	_, err := n.state.Propose(ctx, c)
	return err
}

// retainSteps is how many entries of other tools one look of the leader removes.
const retainSteps = 20 * toolStep

// retainTools removes what other tools keep beyond the limits.
func (n *Node) retainTools(ctx context.Context, now time.Time) error {
	l := &n.cfg.Limits
	in := wire.CachePrune{UnusedSeconds: l.KeepToolCacheFor.Seconds()}
	if l.MaxToolCache > 0 {
		in.MaxBytes = &l.MaxToolCache
	}
	list, bytes, err := n.prunableTools(in, now, retainSteps)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := n.dropTools(ctx, list); err != nil {
		return err
	}
	n.log.Info("entries of the cache of other tools went by the limits", "entries", len(list), "bytes", bytes)
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

// takeTool remembers that an entry was taken, where the state does not know yet.
func (n *Node) takeTool(e *pipeline.ToolEntry) {
	if time.Since(e.TakenAt) < takenEvery {
		return
	}
	n.tools.mu.Lock()
	defer n.tools.mu.Unlock()
	if len(n.tools.taken) < maxTaken { // beyond, it is told when it is taken again
		n.tools.taken[e.ToolKey] = struct{}{}
	}
}

// toolDuties tells the state what was taken, until ctx ends.
func (n *Node) toolDuties(ctx context.Context) {
	for sleep(ctx, toolDutyEvery) {
		if err := n.tellTaken(ctx); err != nil && ctx.Err() == nil {
			n.log.Info("tell what was taken of the cache of other tools", "error", err)
		}
	}
}

func (n *Node) tellTaken(ctx context.Context) error {
	n.tools.mu.Lock()
	taken := n.tools.taken
	n.tools.taken = map[pipeline.ToolKey]struct{}{}
	n.tools.mu.Unlock()
	op := &fsm.Tools{}
	for k := range taken {
		if op.Takes = append(op.Takes, k); len(op.Takes) == toolStep {
			if err := n.proposeTool(ctx, &fsm.Command{Tools: op}); err != nil {
				return err
			}
			op = &fsm.Tools{}
		}
	}
	if len(op.Takes) == 0 {
		return nil
	}
	return n.proposeTool(ctx, &fsm.Command{Tools: op})
}
