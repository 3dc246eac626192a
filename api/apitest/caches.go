package apitest

import (
	"context"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Cache is an api.Cache made of functions.
type Cache struct {
	CacheListFunc   func(context.Context, string, int, pipeline.Digest) (wire.CacheList, error)
	CacheStatsFunc  func(context.Context) (wire.CacheStats, error)
	CacheLookupFunc func(context.Context, api.Subject, wire.SubmitRequest) (wire.CacheForecast, error)
	CachePruneFunc  func(context.Context, api.Subject, wire.CachePrune) (wire.CachePruned, error)
}

// CacheList calls CacheListFunc.
func (f *Cache) CacheList(ctx context.Context, pipeline string, limit int, after pipeline.Digest) (wire.CacheList, error) {
	if f.CacheListFunc == nil {
		return wire.CacheList{}, unset("CacheList")
	}

	return f.CacheListFunc(ctx, pipeline, limit, after)
}

// CacheStats calls CacheStatsFunc.
func (f *Cache) CacheStats(ctx context.Context) (wire.CacheStats, error) {
	if f.CacheStatsFunc == nil {
		return wire.CacheStats{}, unset("CacheStats")
	}

	return f.CacheStatsFunc(ctx)
}

// CacheLookup calls CacheLookupFunc.
func (f *Cache) CacheLookup(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.CacheForecast, error) {
	if f.CacheLookupFunc == nil {
		return wire.CacheForecast{}, unset("CacheLookup")
	}

	return f.CacheLookupFunc(ctx, by, in)
}

// CachePrune calls CachePruneFunc.
func (f *Cache) CachePrune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	if f.CachePruneFunc == nil {
		return wire.CachePruned{}, unset("CachePrune")
	}

	return f.CachePruneFunc(ctx, by, in)
}

// RemoteCache is an api.RemoteCache made of functions.
type RemoteCache struct {
	OpenToolFunc   func(context.Context, pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error)
	FindToolsFunc  func(context.Context, []pipeline.ToolKey) ([]*pipeline.ToolEntry, error)
	PutToolFunc    func(context.Context, pipeline.ToolEntry, io.Reader) error
	DeleteToolFunc func(context.Context, pipeline.ToolKey) error
	ListToolsFunc  func(context.Context, string, int, pipeline.ToolKey) (wire.ToolList, error)
}

// OpenTool calls OpenToolFunc.
func (f *RemoteCache) OpenTool(ctx context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
	if f.OpenToolFunc == nil {
		return nil, pipeline.ToolEntry{}, unset("OpenTool")
	}

	return f.OpenToolFunc(ctx, k)
}

// FindTools calls FindToolsFunc.
func (f *RemoteCache) FindTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	if f.FindToolsFunc == nil {
		return nil, unset("FindTools")
	}

	return f.FindToolsFunc(ctx, keys)
}

// PutTool calls PutToolFunc.
func (f *RemoteCache) PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error {
	if f.PutToolFunc == nil {
		return unset("PutTool")
	}

	return f.PutToolFunc(ctx, e, r)
}

// DeleteTool calls DeleteToolFunc.
func (f *RemoteCache) DeleteTool(ctx context.Context, k pipeline.ToolKey) error {
	if f.DeleteToolFunc == nil {
		return unset("DeleteTool")
	}

	return f.DeleteToolFunc(ctx, k)
}

// ListTools calls ListToolsFunc.
func (f *RemoteCache) ListTools(ctx context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error) {
	if f.ListToolsFunc == nil {
		return wire.ToolList{}, unset("ListTools")
	}

	return f.ListToolsFunc(ctx, kind, limit, after)
}
