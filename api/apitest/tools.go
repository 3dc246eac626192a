package apitest

import (
	"context"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// ToolFuncs are the methods of api.RemoteCache.
type ToolFuncs struct {
	OpenToolFunc   func(context.Context, pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error)
	FindToolsFunc  func(context.Context, []pipeline.ToolKey) ([]*pipeline.ToolEntry, error)
	PutToolFunc    func(context.Context, pipeline.ToolEntry, io.Reader) error
	DeleteToolFunc func(context.Context, pipeline.ToolKey) error
	ListToolsFunc  func(context.Context, string, int, pipeline.ToolKey) (wire.ToolList, error)
}

func (b *ToolFuncs) OpenTool(ctx context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
	if b.OpenToolFunc == nil {
		return nil, pipeline.ToolEntry{}, unset("OpenTool")
	}
	return b.OpenToolFunc(ctx, k)
}

func (b *ToolFuncs) FindTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	if b.FindToolsFunc == nil {
		return nil, unset("FindTools")
	}
	return b.FindToolsFunc(ctx, keys)
}

func (b *ToolFuncs) PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error {
	if b.PutToolFunc == nil {
		return unset("PutTool")
	}
	return b.PutToolFunc(ctx, e, r)
}

func (b *ToolFuncs) DeleteTool(ctx context.Context, k pipeline.ToolKey) error {
	if b.DeleteToolFunc == nil {
		return unset("DeleteTool")
	}
	return b.DeleteToolFunc(ctx, k)
}

func (b *ToolFuncs) ListTools(ctx context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error) {
	if b.ListToolsFunc == nil {
		return wire.ToolList{}, unset("ListTools")
	}
	return b.ListToolsFunc(ctx, kind, limit, after)
}
