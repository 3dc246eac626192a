package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const runsPath = "/api/v1/runs"

// Submit asks for a run. With the same key it makes the same run only once; an
// empty key is replaced by a new one. The workspace's blobs must be at the node
// that is asked: SubmitWith sees to that.
func (runs Runs) Submit(ctx context.Context, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	if key == "" {
		key = NewKey()
	}
	header := http.Header{wire.HeaderIdempotencyKey: {key}}
	for name, value := range map[string]string{wire.HeaderTraceParent: in.Trace.Parent, wire.HeaderTraceState: in.Trace.State, wire.HeaderBaggage: in.Trace.Baggage} {
		if value != "" {
			header.Set(name, value)
		}
	}
	return do[wire.RunCreated](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath, safe: true, timeout: time.Minute, header: header}, in)
}

// SubmitWith uploads and submits at one and the same node, and begins again at
// another one when that node goes away. upload gets a client of that node; it
// may be called several times, and may change in, which is sent after it.
func (runs Runs) SubmitWith(ctx context.Context, key string, in *wire.SubmitRequest, upload func(ctx context.Context, at *Client) error) (wire.RunCreated, error) {
	if key == "" {
		key = NewKey()
	}
	return sendWith(ctx, runs.calls, upload, func(ctx context.Context, at *Client) (wire.RunCreated, error) { return at.Runs().Submit(ctx, key, *in) })
}

// ListOptions select runs. Zero values select everything; Stale takes an
// answer that may be behind.
type ListOptions struct {
	Limit    int
	Cursor   string
	State    pipeline.RunState
	Pipeline string
	// Search are words: of the pipeline, number, submitter, branch, commit or reason of
	// a run, or names of its modules.
	Search string
	Stale  bool
}

// List lists runs, newest first, a page at a time.
func (runs Runs) List(ctx context.Context, o ListOptions) (wire.RunList, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}

	set("cursor", o.Cursor)
	set("state", string(o.State))
	set("pipeline", o.Pipeline)
	set("q", o.Search)
	if o.Stale {
		q.Set("stale", "1")
	}

	return do[wire.RunList](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath, query: q, safe: true}, nil)
}

// Find gives the id of the run that is named. A whole id is not looked up.
func (runs Runs) Find(ctx context.Context, ref pipeline.RunRef) (pipeline.RunID, error) {
	if id, ok := ref.ID(); ok {
		return id, nil
	}
	run, err := runs.Summary(ctx, pipeline.RunID(ref.Text))
	return run.ID, err
}

// Summary gives a run without its modules.
func (runs Runs) Summary(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id)), query: url.Values{"brief": {"1"}}, safe: true}, nil)
}

// Get gives a run with its modules.
func (runs Runs) Get(ctx context.Context, id pipeline.RunID) (wire.Run, error) {
	return do[wire.Run](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id)), safe: true}, nil)
}

// Graph gives what the modules of a run wait for, with a drawing. fold is auto, all or
// none.
func (runs Runs) Graph(ctx context.Context, id pipeline.RunID, fold string, unfold ...string) (wire.Graph, error) {
	q := url.Values{"fold": {fold}, "unfold": unfold}
	return do[wire.Graph](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "graph"), query: q, safe: true}, nil)
}

// Wait gives a run once its index is past index, or after wait (at most 5
// minutes) as it is then; with since above 0 only the modules that changed
// after it.
func (runs Runs) Wait(ctx context.Context, id pipeline.RunID, index uint64, wait time.Duration, since uint64) (wire.Run, error) {
	q := url.Values{"index": {strconv.FormatUint(index, 10)}, "wait": {wait.String()}}
	if since > 0 {
		q.Set("since", strconv.FormatUint(since, 10))
	}

	return do[wire.Run](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id)), query: q, safe: true, timeout: wait + runs.calls.cfg.CallTimeout}, nil)
}

// Cancel stops a run. Cancelling one that has finished is a Conflict.
func (runs Runs) Cancel(ctx context.Context, id pipeline.RunID, reason string) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "cancel"), safe: true}, wire.CancelRequest{Reason: reason, Request: NewKey()})
}

// Pin exempts a run from retention.
func (runs Runs) Pin(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "pin"), safe: true}, nil)
}

// Unpin makes a run subject to retention again.
func (runs Runs) Unpin(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "unpin"), safe: true}, nil)
}

// Retry resumes a finished run, or makes a run that retries it with other values of
// variables. Without a request in it, in gets one.
func (runs Runs) Retry(ctx context.Context, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	if in.Request == "" {
		in.Request = NewKey()
	}
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "retry"), safe: true}, in)
}

// PlanRetry says what Retry would run again, and why.
func (runs Runs) PlanRetry(ctx context.Context, id pipeline.RunID, in wire.RetryRequest) (wire.RetryPlan, error) {
	return do[wire.RetryPlan](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "retry", "plan"), safe: true}, in)
}

// Why explains a run, or one module of it.
func (runs Runs) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	q := url.Values{}
	if module != "" {
		q.Set("module", module)
	}

	return do[wire.Why](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "why"), query: q, safe: true}, nil)
}

// Estimate says how long a run of a submission would take, and where its modules
// would run. The files of the workspace are not looked at.
func (runs Runs) Estimate(ctx context.Context, in wire.SubmitRequest) (wire.Estimate, error) {
	return do[wire.Estimate](ctx, runs.calls, &request{method: http.MethodPost, path: "/api/v1/estimate", safe: true}, in)
}
