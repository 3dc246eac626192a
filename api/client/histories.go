package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const pipelinesPath = "/api/v1/pipelines"

// Pipelines lists pipelines, the one that ran last first.
func (histories Histories) Pipelines(ctx context.Context) (wire.PipelineList, error) {
	return do[wire.PipelineList](ctx, histories.calls, &request{method: http.MethodGet, path: pipelinesPath, safe: true}, nil)
}

// Pipeline gives the newest runs of a pipeline, at most newest, and its modules over them.
func (histories Histories) Pipeline(ctx context.Context, name string, newest int) (wire.PipelineHistory, error) {
	q := url.Values{"pipeline": {name}, "limit": {strconv.Itoa(newest)}}
	return do[wire.PipelineHistory](ctx, histories.calls, &request{method: http.MethodGet, path: pipelinesPath + "/history", query: q, safe: true}, nil)
}

// Compare compares a run with another one, or with "" with the one before it.
func (histories Histories) Compare(ctx context.Context, id pipeline.RunID, with string) (wire.Comparison, error) {
	q := url.Values{"with": {with}}
	return do[wire.Comparison](ctx, histories.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "compare"), query: q, safe: true}, nil)
}

// Tests gives the tests that the modules of a run reported, at most limit, failed ones
// first.
func (histories Histories) Tests(ctx context.Context, id pipeline.RunID, limit int) (wire.TestReport, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	return do[wire.TestReport](ctx, histories.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "tests"), query: q, safe: true}, nil)
}
