package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// pruneStep is how many cached results one entry of the log deletes.
const pruneStep = 1000

// RemoteCache is what the cache calls need of the remote caches.
type RemoteCache interface {
	// Prune deletes the entries that the request selects, or with DryRun counts
	// them.
	Prune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error)
}

// CacheConfig says what Cache is made of. All fields are needed.
type CacheConfig struct {
	State    *state.State
	Planner  Planner
	Compiler *Compiler
	Remote   RemoteCache
	Logger   hclog.Logger
}

// Cache lists, counts and deletes cached results. It implements api.Cache.
type Cache struct {
	state    *state.State
	planner  Planner
	compiler *Compiler
	remote   RemoteCache
	log      hclog.Logger
}

// NewCache makes a Cache.
func NewCache(cfg CacheConfig) *Cache {
	return &Cache{state: cfg.State, planner: cfg.Planner, compiler: cfg.Compiler, remote: cfg.Remote, log: cfg.Logger}
}

// entryBytes counts what a cached result takes, in bytes.
func entryBytes(e *pipeline.CacheEntry) int64 {
	return e.OutputBytes + e.LogSize + int64(len(e.Result))
}

// CacheList lists cached results behind the key after.
func (c *Cache) CacheList(_ context.Context, name string, limit int, after pipeline.Digest) (wire.CacheList, error) {
	out := wire.CacheList{Entries: []wire.CacheEntry{}}
	err := c.state.View(func(v *fsm.View) error {
		v.CacheEntries(after, func(e *pipeline.CacheEntry, use pipeline.CacheUse) bool {
			if name != "" && e.Pipeline != name {
				return true
			}
			if len(out.Entries) == limit { // there is one more
				out.Cursor = string(out.Entries[limit-1].Key)
				return false
			}
			out.Entries = append(out.Entries, wire.CacheEntry{Key: e.Key, Pipeline: e.Pipeline, Module: e.From.Module, Run: e.From.Run,
				Attempt: e.From.Attempt, Worker: e.Worker, MadeAt: e.MadeAt.UTC(), DurationSeconds: e.Duration.Seconds(),
				UsedAt: use.Last.UTC(), Hits: use.Hits, Bytes: entryBytes(e), Files: e.OutputCount})
			return true
		})
		return nil
	})
	return out, err
}

// CacheStats counts entries, hits and misses.
func (c *Cache) CacheStats(context.Context) (wire.CacheStats, error) {
	var out wire.CacheStats
	err := c.state.View(func(v *fsm.View) error {
		results, remote := v.CacheStats(), v.ToolStats()
		out = wire.CacheStats{Entries: results.Entries, StateBytes: results.StateBytes, Hits: results.Hits, Misses: results.Misses,
			SavedSeconds: results.Saved.Seconds(), Evicted: results.Evicted,
			Tools: remoteCounts(&remote), ToolsEvicted: remote.Evicted}
		v.CacheEntries("", func(e *pipeline.CacheEntry, _ pipeline.CacheUse) bool {
			out.Bytes += entryBytes(e)
			return true
		})
		return nil
	})
	return out, err
}

// remoteCounts counts the entries of remote caches by kind. Spaces of one kind
// stand next to each other.
func remoteCounts(s *pipeline.ToolStats) []wire.ToolCount {
	var out []wire.ToolCount
	for _, space := range pipeline.ToolSpaces {
		kind, c := wire.KindOfTool(space), s.Of(space)
		if n := len(out); n > 0 && out[n-1].Kind == kind {
			out[n-1].Entries += c.Entries
			out[n-1].Bytes += c.Bytes
			continue
		}
		out = append(out, wire.ToolCount{Kind: kind, Entries: c.Entries, Bytes: c.Bytes})
	}
	return out
}

// CachePrune deletes cached results or entries of remote caches. Bytes that
// nothing else needs go with the next sweep.
func (c *Cache) CachePrune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	if in.All && (in.UnusedSeconds != 0 || in.MaxBytes != nil) {
		return wire.CachePruned{}, pipeline.Errorf(pipeline.Invalid, "all deletes every entry: leave out all, or unusedSeconds and maxBytes")
	}
	if !c.state.Fresh(ctx) { // what is selected here must be what there is
		return wire.CachePruned{}, pipeline.ErrNoLeader
	}
	if in.Kind != "" && in.Kind != wire.KindResults {
		return c.remote.Prune(ctx, by, in)
	}

	out, err := c.Evict(ctx, in)
	if err == nil && !in.DryRun {
		c.log.Info("cached results pruned", "by", by.Name, "results", out.Removed, "bytes", out.Bytes)
	}
	return out, err
}

// Evict deletes the cached results that a request selects, the least recently
// used first, or with DryRun counts them.
func (c *Cache) Evict(ctx context.Context, in wire.CachePrune) (wire.CachePruned, error) {
	keys, bytes, err := c.selected(in)
	if err != nil || in.DryRun {
		return wire.CachePruned{Removed: len(keys), Bytes: bytes}, err
	}

	var out wire.CachePruned
	for part := range slices.Chunk(keys, pruneStep) {
		if _, err := c.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), CacheDelete: &fsm.CacheDelete{Keys: part}}); err != nil {
			return out, err
		}
		out.Removed += len(part)
	}
	out.Bytes = bytes
	return out, nil
}

// selected lists the cached results that a request selects, and their bytes.
func (c *Cache) selected(in wire.CachePrune) (keys []pipeline.Digest, bytes int64, err error) {
	type entry struct {
		key  pipeline.Digest
		size int64
		last time.Time
	}
	var list []entry
	var total int64
	err = c.state.View(func(v *fsm.View) error {
		v.CacheEntries("", func(e *pipeline.CacheEntry, use pipeline.CacheUse) bool {
			if in.Pipeline == "" || in.Pipeline == e.Pipeline {
				list = append(list, entry{e.Key, entryBytes(e), use.Last})
				total += entryBytes(e)
			}
			return true
		})
		return nil
	})

	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.key, b.key)) })
	before := time.Now().Add(-time.Duration(in.UnusedSeconds * float64(time.Second)))
	all := in.All || in.UnusedSeconds == 0 && in.MaxBytes == nil
	for _, e := range list {
		if all || in.UnusedSeconds > 0 && e.last.Before(before) || in.MaxBytes != nil && total > *in.MaxBytes {
			keys = append(keys, e.key)
			bytes += e.size
			total -= e.size
		}
	}
	return keys, bytes, err
}

// CacheLookup predicts which modules of a submission would use a cached result.
func (c *Cache) CacheLookup(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.CacheForecast, error) {
	out := wire.CacheForecast{Modules: []wire.ModuleForecast{}}
	if _, err := pipeline.ParseDigest(string(in.Workspace)); in.Workspace != "" && err != nil {
		return out, pipeline.Errorf(pipeline.Invalid, "workspace: %w", err)
	}

	id := NewRunID()
	def, err := c.compiler.compile(ctx, by, id, in)
	if err != nil {
		return out, err
	}
	list, err := c.planner.Forecast(ctx, pipeline.Run{ID: id, Pipeline: def.Name, Modules: len(def.Modules), Workspace: in.Workspace, Cache: in.Cache}, def)
	out.Modules = append(out.Modules, list...)
	return out, err
}
