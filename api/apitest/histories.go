package apitest

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Histories is an api.Histories made of functions.
type Histories struct {
	PipelinesFunc       func(context.Context, int) (wire.PipelineList, error)
	PipelineHistoryFunc func(context.Context, string, int) (wire.PipelineHistory, error)
	CompareFunc         func(context.Context, pipeline.RunID, pipeline.RunID) (wire.Comparison, error)
	TestsFunc           func(context.Context, pipeline.RunID, api.TestQuery) (wire.TestReport, error)
}

// Pipelines calls PipelinesFunc.
func (f *Histories) Pipelines(ctx context.Context, newest int) (wire.PipelineList, error) {
	if f.PipelinesFunc == nil {
		return wire.PipelineList{}, unset("Pipelines")
	}

	return f.PipelinesFunc(ctx, newest)
}

// PipelineHistory calls PipelineHistoryFunc.
func (f *Histories) PipelineHistory(ctx context.Context, name string, newest int) (wire.PipelineHistory, error) {
	if f.PipelineHistoryFunc == nil {
		return wire.PipelineHistory{}, unset("PipelineHistory")
	}

	return f.PipelineHistoryFunc(ctx, name, newest)
}

// Compare calls CompareFunc.
func (f *Histories) Compare(ctx context.Context, id, with pipeline.RunID) (wire.Comparison, error) {
	if f.CompareFunc == nil {
		return wire.Comparison{}, unset("Compare")
	}

	return f.CompareFunc(ctx, id, with)
}

// Tests calls TestsFunc.
func (f *Histories) Tests(ctx context.Context, id pipeline.RunID, q api.TestQuery) (wire.TestReport, error) {
	if f.TestsFunc == nil {
		return wire.TestReport{}, unset("Tests")
	}

	return f.TestsFunc(ctx, id, q)
}
