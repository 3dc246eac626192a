package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pipelined/pipelined/api/wire"
)

// Execute runs one module, and waits for it unless async is set; done is false
// if it has not ended. A module that failed is an answer with Success false
// and no error.
func (executions Executions) Execute(ctx context.Context, in wire.ExecuteRequest, async bool) (out wire.ExecuteResponse, done bool, err error) {
	rq := &request{method: http.MethodPost, path: "/api/execution/execute", safe: true, timeout: -1,
		accept: bare(http.StatusInternalServerError),
		seen:   func(r *http.Response) { done = r.StatusCode != http.StatusAccepted }}
	if async {
		rq.header, rq.timeout = http.Header{"Prefer": {"respond-async"}}, 0
	}

	out, err = do[wire.ExecuteResponse](ctx, executions.calls, rq, in)
	return out, done && err == nil, err
}

// Cancel stops an execution; NotFound if there is none.
func (executions Executions) Cancel(ctx context.Context, in wire.CancelExecution) error {
	return call(ctx, executions.calls, http.MethodPost, "/api/execution/cancel", true, in)
}

// Result hands in how an execution ended. Repeat it until Committed.
func (executions Executions) Result(ctx context.Context, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	return do[wire.ResultResponse](ctx, executions.calls, &request{method: http.MethodPost, path: "/api/execution/result", safe: true}, in)
}

// Register joins as an external worker.
func (workers Workers) Register(ctx context.Context, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	return do[wire.RegisterResponse](ctx, workers.calls, &request{method: http.MethodPost, path: "/api/workers/register", safe: true}, in)
}

// Heartbeat says that an external worker is there.
func (workers Workers) Heartbeat(ctx context.Context, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	return do[wire.HeartbeatResponse](ctx, workers.calls, &request{method: http.MethodPost, path: "/api/workers/heartbeat", safe: true}, in)
}

// List lists who can execute modules.
func (workers Workers) List(ctx context.Context) (wire.WorkerList, error) {
	return do[wire.WorkerList](ctx, workers.calls, &request{method: http.MethodGet, path: "/api/workers", safe: true}, nil)
}

// Brief lists them without the programs that they have, which are most of a list.
func (workers Workers) Brief(ctx context.Context) (wire.WorkerList, error) {
	return do[wire.WorkerList](ctx, workers.calls, &request{method: http.MethodGet, path: "/api/workers", query: url.Values{"brief": {"1"}}, safe: true}, nil)
}

// Forget removes an external worker.
func (workers Workers) Forget(ctx context.Context, id string) error {
	return call(ctx, workers.calls, http.MethodDelete, "/api/workers"+path(id), true, nil)
}
