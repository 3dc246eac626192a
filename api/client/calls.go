package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// path joins escaped segments.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

const runsPath = "/api/v1/runs"

// Health asks one node how it is. A node without a leader answers too: see
// Status, Leader and Quorum.
func (c *Client) Health(ctx context.Context) (wire.Health, error) {
	return do[wire.Health](ctx, c.calls, &request{method: http.MethodGet, path: "/api/health", safe: true, accept: bare(http.StatusServiceUnavailable)}, nil)
}

// bare accepts a status of a call that has a meaning of its own for it, which
// answers without a kind.
func bare(status int) func(*http.Response) bool {
	return func(r *http.Response) bool { return r.StatusCode == status && r.Header.Get(wire.HeaderKind) == "" }
}

// Submit asks for a run. With the same key it makes the same run only once; an
// empty key is replaced by a new one. The workspace's blobs must be at the node
// that is asked: SubmitWith sees to that.
func (runs Runs) Submit(ctx context.Context, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	if key == "" {
		key = NewKey()
	}
	return do[wire.RunCreated](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath, safe: true, timeout: time.Minute,
		header: http.Header{wire.HeaderIdempotencyKey: {key}}}, in)
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

// sendWith uploads and then calls, both at one node, and begins again at another
// one when that node goes away.
func sendWith[T any](ctx context.Context, c *caller, upload func(context.Context, *Client) error, call func(context.Context, *Client) (T, error)) (T, error) {
	var none T
	if err := c.meet(ctx); err != nil {
		return none, err
	}
	start := time.Now()
	for {
		var last error
		for _, node := range c.nodes.all() {
			one := &nodes{list: []*url.URL{node}, worked: true}
			at := &Client{calls: c.at(one)}
			err := upload(ctx, at)
			if err == nil {
				var out T
				if out, err = call(ctx, at); err == nil {
					c.nodes.answered(node)
					return out, nil
				}
			}
			if kind := pipeline.KindOf(err); kind != pipeline.Unavailable && kind != pipeline.Unknown || ctx.Err() != nil {
				return none, err
			}
			c.nodes.failed(node)
			last = err
		}
		if time.Since(start) > c.cfg.RetryFor || !c.nodes.everWorked() {
			return none, last
		}
		if !sleep(ctx, time.Second) {
			return none, contextError(ctx)
		}
	}
}

// ListOptions select runs. Zero values select everything; Stale takes an
// answer that may be behind.
type ListOptions struct {
	Limit    int
	Cursor   string
	State    pipeline.RunState
	Pipeline string
	Stale    bool
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
	if o.Stale {
		q.Set("stale", "1")
	}
	return do[wire.RunList](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath, query: q, safe: true}, nil)
}

// Get gives a run with its modules.
func (runs Runs) Get(ctx context.Context, id pipeline.RunID) (wire.Run, error) {
	return do[wire.Run](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id)), safe: true}, nil)
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

// Cancel stops a run. Cancelling what is over is a Conflict.
func (runs Runs) Cancel(ctx context.Context, id pipeline.RunID, reason string) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "cancel"), safe: true}, wire.CancelRequest{Reason: reason, Request: NewKey()})
}

// Pin keeps a run whole whatever the limits say, Unpin takes that back.
func (runs Runs) Pin(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "pin"), safe: true}, nil)
}

// Unpin lets the limits hold for a run again.
func (runs Runs) Unpin(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "unpin"), safe: true}, nil)
}

// Approve approves what a module waits for. Approving it again changes nothing;
// where it was decided otherwise, or does not wait, that is a Conflict.
func (modules Modules) Approve(ctx context.Context, id pipeline.RunID, module, comment string) (wire.Module, error) {
	return do[wire.Module](ctx, modules.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "modules", module, "approve"), safe: true}, wire.ApproveRequest{Comment: comment})
}

// Reject rejects what a module waits for, as Approve approves it.
func (modules Modules) Reject(ctx context.Context, id pipeline.RunID, module, reason string) (wire.Module, error) {
	return do[wire.Module](ctx, modules.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "modules", module, "reject"), safe: true}, wire.RejectRequest{Reason: reason})
}

// Retry makes a run that is over go on: with what did not succeed, or with the
// modules of from and all that depends on them.
func (runs Runs) Retry(ctx context.Context, id pipeline.RunID, from []string) (wire.RunSummary, error) {
	return do[wire.RunSummary](ctx, runs.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "retry"), safe: true}, wire.RetryRequest{From: from, Request: NewKey()})
}

// Why explains a run, or one module of it.
func (runs Runs) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	q := url.Values{}
	if module != "" {
		q.Set("module", module)
	}
	return do[wire.Why](ctx, runs.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "why"), query: q, safe: true}, nil)
}

// Locks lists the locks that are held or waited for.
func (cluster Cluster) Locks(ctx context.Context) (wire.LockList, error) {
	return do[wire.LockList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/locks", safe: true}, nil)
}

// List lists the output files of a run, or of one module of it.
func (artifacts Artifacts) List(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	q := url.Values{}
	if module != "" {
		q.Set("module", module)
	}
	return do[wire.ArtifactList](ctx, artifacts.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "artifacts"), query: q, safe: true}, nil)
}

// Execute runs one module, and waits for it unless async is set; done is false
// where it has not ended. A module that failed is an answer with Success false
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

// Cancel stops an execution; NotFound where there is none.
func (executions Executions) Cancel(ctx context.Context, in wire.CancelExecution) error {
	return call(ctx, executions.calls, http.MethodPost, "/api/execution/cancel", true, in)
}

// Result hands in how an execution ended. Repeat it until Committed.
func (executions Executions) Result(ctx context.Context, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	return do[wire.ResultResponse](ctx, executions.calls, &request{method: http.MethodPost, path: "/api/execution/result", safe: true}, in)
}

// Register joins as an outside worker.
func (workers Workers) Register(ctx context.Context, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	return do[wire.RegisterResponse](ctx, workers.calls, &request{method: http.MethodPost, path: "/api/workers/register", safe: true}, in)
}

// Heartbeat says that an outside worker is there.
func (workers Workers) Heartbeat(ctx context.Context, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	return do[wire.HeartbeatResponse](ctx, workers.calls, &request{method: http.MethodPost, path: "/api/workers/heartbeat", safe: true}, in)
}

// List lists who can execute modules.
func (workers Workers) List(ctx context.Context) (wire.WorkerList, error) {
	return do[wire.WorkerList](ctx, workers.calls, &request{method: http.MethodGet, path: "/api/workers", safe: true}, nil)
}

// Forget removes an outside worker.
func (workers Workers) Forget(ctx context.Context, id string) error {
	return call(ctx, workers.calls, http.MethodDelete, "/api/workers"+path(id), true, nil)
}

// Members lists the nodes of the cluster, and learns their addresses.
func (cluster Cluster) Members(ctx context.Context) (wire.MemberList, error) {
	list, err := do[wire.MemberList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/members", safe: true}, nil)
	if err == nil {
		cluster.calls.learn(list)
	}
	return list, err
}

// Raft describes the consensus group.
func (cluster Cluster) Raft(ctx context.Context) (wire.RaftInfo, error) {
	return do[wire.RaftInfo](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/raft", safe: true}, nil)
}

// Drain empties a node of work, or with Off takes it into use again.
func (cluster Cluster) Drain(ctx context.Context, node string, in wire.DrainRequest) error {
	return call(ctx, cluster.calls, http.MethodPost, "/api/v1/members"+path(node, "drain"), true, in)
}

// Leave takes a node out of the cluster for good; "" is the node that answers.
func (cluster Cluster) Leave(ctx context.Context, node string) error {
	if node == "" {
		return call(ctx, cluster.calls, http.MethodPost, "/api/v1/leave", false, nil)
	}
	return call(ctx, cluster.calls, http.MethodPost, "/api/v1/members"+path(node, "leave"), false, nil)
}

// Create makes a token. An Unknown error leaves it open whether there is
// one more; Tokens tells.
func (tokens Tokens) Create(ctx context.Context, in wire.TokenRequest) (wire.TokenCreated, error) {
	return do[wire.TokenCreated](ctx, tokens.calls, &request{method: http.MethodPost, path: "/api/v1/tokens"}, in)
}

// List lists the tokens, without their secrets.
func (tokens Tokens) List(ctx context.Context) (wire.TokenList, error) {
	return do[wire.TokenList](ctx, tokens.calls, &request{method: http.MethodGet, path: "/api/v1/tokens", safe: true}, nil)
}

// Delete revokes a token.
func (tokens Tokens) Delete(ctx context.Context, id string) error {
	return call(ctx, tokens.calls, http.MethodDelete, "/api/v1/tokens"+path(id), true, nil)
}

// call is do for calls whose answer says nothing more.
func call(ctx context.Context, c *caller, method, path string, safe bool, in any) error {
	_, err := do[none](ctx, c, &request{method: method, path: path, safe: safe}, in)
	return err
}

// Set sets a secret, or replaces it. Repeating it is harmless.
func (secrets Secrets) Set(ctx context.Context, name, value string) (wire.SecretInfo, error) {
	return do[wire.SecretInfo](ctx, secrets.calls, &request{method: http.MethodPut, path: "/api/v1/secrets" + path(name), safe: true}, wire.SecretRequest{Value: value})
}

// List lists the secrets, without their values.
func (secrets Secrets) List(ctx context.Context) (wire.SecretList, error) {
	return do[wire.SecretList](ctx, secrets.calls, &request{method: http.MethodGet, path: "/api/v1/secrets", safe: true}, nil)
}

// Delete removes a secret.
func (secrets Secrets) Delete(ctx context.Context, name string) error {
	return call(ctx, secrets.calls, http.MethodDelete, "/api/v1/secrets"+path(name), true, nil)
}
