package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pipelined/pipelined/api/wire"
)

const cachePath = "/api/v1/cache"

// List lists cached results: those of a pipeline if one is named, at most
// limit (0: a default), from a cursor on.
func (cache Cache) List(ctx context.Context, pipeline string, limit int, cursor string) (wire.CacheList, error) {
	return do[wire.CacheList](ctx, cache.calls, &request{method: http.MethodGet, path: cachePath, query: listQuery("pipeline", pipeline, limit, cursor), safe: true}, nil)
}

// Tools lists what other tools keep: of one kind, or with "" of all, at most
// limit (0: a default), from a cursor on.
func (cache Cache) Tools(ctx context.Context, kind string, limit int, cursor string) (wire.ToolList, error) {
	return do[wire.ToolList](ctx, cache.calls, &request{method: http.MethodGet, path: cachePath + "/tools", query: listQuery("kind", kind, limit, cursor), safe: true}, nil)
}

// listQuery asks for a page of a list that one parameter narrows.
func listQuery(name, value string, limit int, cursor string) url.Values {
	q := url.Values{}
	for name, value := range map[string]string{name: value, "cursor": cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}

	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}

	return q
}

// Stats counts cached results and their use.
func (cache Cache) Stats(ctx context.Context) (wire.CacheStats, error) {
	return do[wire.CacheStats](ctx, cache.calls, &request{method: http.MethodGet, path: cachePath + "/stats", safe: true}, nil)
}

// Prune removes cached results.
func (cache Cache) Prune(ctx context.Context, in wire.CachePrune) (wire.CachePruned, error) {
	return do[wire.CachePruned](ctx, cache.calls, &request{method: http.MethodPost, path: cachePath + "/prune", safe: true}, in)
}

// Lookup says which modules of a submission would take a cached result.
// Only the listing of the workspace need be at the cluster.
func (cache Cache) Lookup(ctx context.Context, in wire.SubmitRequest) (wire.CacheForecast, error) {
	return do[wire.CacheForecast](ctx, cache.calls, &request{method: http.MethodPost, path: cachePath + "/lookup", safe: true}, in)
}
