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

func cacheRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/cache", Summary: "recorded results", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"pipeline", "limit", "cursor", "stale"}, Response: doc[wire.CacheList](), serve: (*Server).cacheList},
		{Method: "GET", Pattern: "/api/v1/cache/stats", Summary: "how many results are recorded and how often they were taken", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"stale"}, Response: doc[wire.CacheStats](), serve: (*Server).cacheStats},
		{Method: "POST", Pattern: "/api/v1/cache/lookup", Summary: "which modules of a pipeline would take a recorded result", Role: RoleSubmit, Where: OnLeader, Body: JSONBody, MaxBody: maxRunDoc,
			Request: doc[wire.SubmitRequest](), Response: doc[wire.CacheForecast](), serve: (*Server).cacheLookup},
		{Method: "POST", Pattern: "/api/v1/cache/prune", Summary: "remove recorded results", Role: RoleAdmin, Where: OnLeader, Body: JSONBody,
			Request: doc[wire.CachePrune](), Response: doc[wire.CachePruned](), serve: (*Server).cachePrune},
	}
}

func (s *Server) cacheList(c *call) error {
	q := c.r.URL.Query()
	limit, err := listLimit(q)
	if err != nil {
		return err
	}
	cursor := q.Get("cursor")
	if _, err := pipeline.ParseDigest(cursor); cursor != "" && err != nil {
		return invalid("cursor %.80q: use the one of the page before", cursor)
	}
	out, err := s.cfg.Cache.CacheList(c.r.Context(), q.Get("pipeline"), limit, pipeline.Digest(cursor))
	if out.Entries == nil {
		out.Entries = []wire.CacheEntry{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) cacheStats(c *call) error {
	out, err := s.cfg.Cache.CacheStats(c.r.Context())
	return okOr(s, c, out, err)
}

// cacheKinds are those that can be pruned.
var cacheKinds = []string{"", wire.KindResults, wire.KindBazel, wire.KindTurbo}

func (s *Server) cachePrune(c *call) error {
	in, err := document[wire.CachePrune](c)
	if err != nil {
		return err
	}
	switch {
	case !slices.Contains(cacheKinds, in.Kind):
		return invalid("kind %.40q: want %s, %s or %s", in.Kind, wire.KindResults, wire.KindBazel, wire.KindTurbo)
	case in.Pipeline != "" && in.Kind != "" && in.Kind != wire.KindResults:
		return invalid("pipeline: only results are a pipeline's, and kind is %s", in.Kind)
	case in.UnusedSeconds < 0 || in.UnusedSeconds > 1e10:
		return invalid("unusedSeconds: want 0 or more")
	case in.MaxBytes != nil && *in.MaxBytes < 0:
		return invalid("maxBytes: want 0 or more")
	case !in.All && in.UnusedSeconds == 0 && in.MaxBytes == nil && in.Pipeline == "":
		return invalid("say which results go: unusedSeconds, maxBytes, pipeline or all")
	}
	out, err := s.cfg.Cache.CachePrune(c.r.Context(), c.by, in)
	return okOr(s, c, out, err)
}

func (s *Server) cacheLookup(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}
	out, err := s.cfg.Cache.CacheLookup(c.r.Context(), c.by, in)
	if out.Modules == nil {
		out.Modules = []wire.ModuleForecast{}
	}
	return okOr(s, c, out, err)
}
