package api

import (
	"context"
	"slices"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Cache is what the API needs of a node for the result cache.
type Cache interface {
	// CacheList lists entries behind the key after: leader, or with stale any node
	// that has the state. With a pipeline's name it lists the entries of that one.
	CacheList(ctx context.Context, pipeline string, limit int, after pipeline.Digest) (wire.CacheList, error)
	// CacheStats counts entries, hits and misses: leader, or with stale any node
	// that has the state.
	CacheStats(ctx context.Context) (wire.CacheStats, error)
	// CacheLookup predicts which modules of a submission would use a cached
	// result: leader.
	CacheLookup(ctx context.Context, by Subject, in wire.SubmitRequest) (wire.CacheForecast, error)
	// CachePrune removes entries of the result cache and of remote caches: leader.
	CachePrune(ctx context.Context, by Subject, in wire.CachePrune) (wire.CachePruned, error)
}

type cacheHandler struct{ cache Cache }

// routes are the calls about cached results.
func (h *cacheHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/cache", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "cached results",
			Query:   []string{"pipeline", "limit", "cursor", "stale"}, Response: doc[wire.CacheList](),
			serve: h.list},
		{Method: "GET", Pattern: "/api/v1/cache/stats", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "number of cached results, hits and misses",
			Query:   []string{"stale"}, Response: doc[wire.CacheStats](), serve: h.stats},
		{Method: "POST", Pattern: "/api/v1/cache/lookup", Role: RoleSubmit, Where: OnLeader,
			Summary: "which modules of a pipeline would use a cached result",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.CacheForecast](), serve: h.lookup},
		{Method: "POST", Pattern: "/api/v1/cache/prune", Role: RoleAdmin, Where: OnState,
			Summary: "remove cached results, or entries of remote caches",
			Body:    JSONBody, Request: doc[wire.CachePrune](), Response: doc[wire.CachePruned](),
			serve: h.prune},
	}
}

func (h *cacheHandler) list(c *call) error {
	q := c.r.URL.Query()
	limit, err := listLimit(q, 100, maxList)
	if err != nil {
		return err
	}
	cursor := q.Get("cursor")
	if _, err := pipeline.ParseDigest(cursor); cursor != "" && err != nil {
		return badCursor(cursor)
	}

	out, err := h.cache.CacheList(c.r.Context(), q.Get("pipeline"), limit, pipeline.Digest(cursor))
	if out.Entries == nil {
		out.Entries = []wire.CacheEntry{}
	}
	return c.reply(out, err)
}

func badCursor(cursor string) error {
	return invalid("cursor %.80q: use the one of the page before", cursor)
}

func (h *cacheHandler) stats(c *call) error {
	out, err := h.cache.CacheStats(c.r.Context())
	return c.reply(out, err)
}

// cacheKinds are those that can be pruned.
var cacheKinds = []string{"", wire.KindResults, wire.KindBazel, wire.KindTurbo}

func (h *cacheHandler) prune(c *call) error {
	in, err := document[wire.CachePrune](c)
	if err != nil {
		return err
	}

	switch {
	case !slices.Contains(cacheKinds, in.Kind):
		return invalid("kind %.40q: expected %s, %s or %s", in.Kind, wire.KindResults, wire.KindBazel, wire.KindTurbo)
	case in.Pipeline != "" && in.Kind != "" && in.Kind != wire.KindResults:
		return invalid("pipeline: only results belong to a pipeline, and kind is %s", in.Kind)
	case in.UnusedSeconds < 0 || in.UnusedSeconds > 1e10:
		return invalid("unusedSeconds: expected 0 or more")
	case in.MaxBytes != nil && *in.MaxBytes < 0:
		return invalid("maxBytes: expected 0 or more")
	case !in.All && in.UnusedSeconds == 0 && in.MaxBytes == nil && in.Pipeline == "":
		return invalid("say which results to remove: unusedSeconds, maxBytes, pipeline or all")
	}

	out, err := h.cache.CachePrune(c.r.Context(), c.by, in)
	return c.reply(out, err)
}

func (h *cacheHandler) lookup(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}

	out, err := h.cache.CacheLookup(c.r.Context(), c.by, in)
	if out.Modules == nil {
		out.Modules = []wire.ModuleForecast{}
	}
	return c.reply(out, err)
}
