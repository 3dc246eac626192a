package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// bytesOf counts what a recorded result holds.
func bytesOf(e *pipeline.CacheEntry) int64 { return e.OutputBytes + e.LogSize + int64(len(e.Result)) }

// CacheList lists recorded results.
func (b *backend) CacheList(_ context.Context, name string, limit int, after pipeline.Digest) (wire.CacheList, error) {
	out := wire.CacheList{Entries: []wire.CacheEntry{}}
	err := b.store.View(func(v *fsm.View) error {
		v.CacheEntries(after, func(e *pipeline.CacheEntry, use pipeline.CacheUse) bool {
			if name != "" && e.Pipeline != name {
				return true
			}
			if len(out.Entries) == limit {
				out.Cursor = string(out.Entries[limit-1].Key)
				return false
			}
			out.Entries = append(out.Entries, wire.CacheEntry{Key: e.Key, Pipeline: e.Pipeline, Module: e.From.Module, Run: e.From.Run,
				Attempt: e.From.Attempt, Worker: e.Worker, MadeAt: e.MadeAt.UTC(), DurationSeconds: e.Duration.Seconds(),
				UsedAt: use.Last.UTC(), Hits: use.Hits, Bytes: bytesOf(e), Files: e.OutputCount})
			return true
		})
		return nil
	})
	return out, err
}

// CacheStats counts recorded results and their use.
func (b *backend) CacheStats(context.Context) (wire.CacheStats, error) {
	var out wire.CacheStats
	err := b.store.View(func(v *fsm.View) error {
		s := v.CacheStats()
		t := v.ToolStats()
		out = wire.CacheStats{Tools: toolCounts(&t), ToolsEvicted: t.Evicted, Entries: s.Entries, StateBytes: s.StateBytes, Hits: s.Hits, Misses: s.Misses,
			SavedSeconds: s.Saved.Seconds(), Evicted: s.Evicted}
		v.CacheEntries("", func(e *pipeline.CacheEntry, _ pipeline.CacheUse) bool {
			out.Bytes += bytesOf(e)
			return true
		})
		return nil
	})
	return out, err
}

// pruneStep is how many recorded results one entry of the log removes.
const pruneStep = 1000

// CachePrune removes recorded results; their bytes go with the next sweep,
// where nothing else needs them.
func (b *backend) CachePrune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	var out wire.CachePruned
	n := b.node()
	if in.All && (in.UnusedSeconds != 0 || in.MaxBytes != nil) {
		return out, pipeline.Errorf(pipeline.Invalid, "all removes every one, whatever unusedSeconds and maxBytes say: leave it, or them, out")
	}
	if in.Kind != "" && in.Kind != wire.KindResults {
		return n.pruneTools(ctx, by, in)
	}
	keys, bytes, err := n.prunable(in)
	if err != nil || in.DryRun {
		return wire.CachePruned{Removed: len(keys), Bytes: bytes}, err
	}
	for part := range slices.Chunk(keys, pruneStep) {
		_, err := n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), CacheDelete: &fsm.CacheDelete{Keys: part}})
		if err != nil {
			return out, err
		}
		out.Removed += len(part)
	}
	out.Bytes = bytes
	n.log.Info("recorded results were removed", "by", by.Name, "results", out.Removed, "bytes", out.Bytes)
	return out, nil
}

// pruneTools removes what other tools keep.
func (n *Node) pruneTools(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	list, bytes, err := n.prunableTools(in, time.Now(), 0)
	if err == nil && !in.DryRun {
		if err = n.dropTools(ctx, list); err == nil {
			n.log.Info("entries of the cache of other tools were removed", "by", by.Name, "kind", in.Kind, "entries", len(list), "bytes", bytes)
		}
	}
	return wire.CachePruned{Removed: len(list), Bytes: bytes}, err
}

// prunable lists the recorded results that are to go, and their bytes.
func (n *Node) prunable(in wire.CachePrune) (keys []pipeline.Digest, bytes int64, err error) {
	type used struct {
		key  pipeline.Digest
		size int64
		last time.Time
	}
	var list []used
	var total int64
	err = n.store.View(func(v *fsm.View) error {
		v.CacheEntries("", func(e *pipeline.CacheEntry, use pipeline.CacheUse) bool {
			if in.Pipeline == "" || in.Pipeline == e.Pipeline {
				list = append(list, used{e.Key, bytesOf(e), use.Last})
				total += bytesOf(e)
			}
			return true
		})
		return nil
	})
	slices.SortFunc(list, func(a, b used) int { return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.key, b.key)) })
	before := time.Now().Add(-time.Duration(in.UnusedSeconds * float64(time.Second)))
	all := in.All || in.UnusedSeconds == 0 && in.MaxBytes == nil
	for _, u := range list {
		if all || in.UnusedSeconds > 0 && u.last.Before(before) || in.MaxBytes != nil && total > *in.MaxBytes {
			keys = append(keys, u.key)
			bytes += u.size
			total -= u.size
		}
	}
	return keys, bytes, err
}

// CacheLookup says which modules of a submission would take a recorded result.
func (b *backend) CacheLookup(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.CacheForecast, error) {
	n := b.node()
	out := wire.CacheForecast{Modules: []wire.ModuleForecast{}}
	if _, err := pipeline.ParseDigest(string(in.Workspace)); in.Workspace != "" && err != nil {
		return out, pipeline.Errorf(pipeline.Invalid, "workspace: %w", err)
	}
	id := newRunID()
	def, err := n.compile(ctx, by, id, in)
	if err != nil {
		return out, err
	}
	list, err := n.orch.Forecast(ctx, pipeline.Run{ID: id, Pipeline: def.Name, Modules: len(def.Modules), Workspace: in.Workspace, Cache: in.Cache}, def)
	out.Modules = append(out.Modules, list...)
	return out, err
}

// cacheFacts says what a module had to do with recorded results: which it took,
// or why none, and whether its own is recorded.
func (n *Node) cacheFacts(id pipeline.RunID, module string) []string {
	var facts []string
	_ = n.store.View(func(v *fsm.View) error { // closed: nothing to tell
		rec := v.Module(id, module)
		a := rec.Last()
		switch {
		case a == nil:
			return nil
		case a.From != nil:
			facts = append(facts, fmt.Sprintf("cache hit: attempt %d of %s in run %s did the same work, in %s", a.From.Attempt, a.From.Module,
				a.From.Run, rec.Recorded.Round(time.Millisecond)))
			return nil
		case a.Cache == nil:
			return nil
		}
		for _, why := range a.Cache.Missed {
			facts = append(facts, "cache miss: "+why)
		}
		if e, ok := v.CacheEntry(a.Cache.Key); ok && e.From == (pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}) {
			facts = append(facts, "its result is recorded")
		}
		return nil
	})
	return facts
}
