package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Runs is what the API needs of a node to create, read and change runs. Calls
// marked leader reach it on the leader only: the server forwards them first.
type Runs interface {
	// Submit checks the source, makes sure that the workspace has its copies and
	// commits the run, on the node that was asked. The same key again gives the
	// same run. A *SourceError is an invalid pipeline.
	Submit(ctx context.Context, by Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error)
	// Estimate predicts how long a run of a submission would take: leader.
	Estimate(ctx context.Context, by Subject, in wire.SubmitRequest) (wire.Estimate, error)
	// FindRun finds the run that a caller names, on a node that has the state; with
	// stale, in the state as it is here. NotFound, or Invalid if several are meant.
	FindRun(ctx context.Context, ref pipeline.RunRef, stale bool) (pipeline.RunID, error)
	// RunSummary reads one run without its modules, as Run does.
	RunSummary(ctx context.Context, id pipeline.RunID) (wire.RunSummary, error)
	// Runs lists runs, newest first: leader, or with stale any node that has the
	// state.
	Runs(ctx context.Context, q RunQuery) (wire.RunList, error)
	// Run reads one run: leader, or with stale any node that has the state. It
	// waits until the run's index is past afterIndex, at most wait, and leaves out
	// modules that did not change after since.
	Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error)
	// Graph reads what the modules of a run wait for, with a drawing: leader, or with
	// stale any node that has the state.
	Graph(ctx context.Context, id pipeline.RunID, fold GraphFold) (wire.Graph, error)
	// Cancel cancels a run: leader. Cancelling it again changes nothing.
	Cancel(ctx context.Context, by Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error)
	// Retry resumes a finished run, or with other values of variables makes a run that
	// retries it: leader.
	Retry(ctx context.Context, by Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error)
	// PlanRetry says what a retry would run again, and why: leader.
	PlanRetry(ctx context.Context, by Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RetryPlan, error)
	// Pin exempts a run from retention, or ends the exemption: leader.
	Pin(ctx context.Context, by Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error)
	// Decide approves or rejects a module that waits for an approval: leader. The
	// same decision again changes nothing; another one is a Conflict.
	Decide(ctx context.Context, by Subject, id pipeline.RunID, in ApprovalDecision) (wire.Module, error)
	// Approvals lists the modules that wait for an approval, over all runs: leader, or
	// with stale any node that has the state.
	Approvals(ctx context.Context, by Subject) (wire.ApprovalList, error)
	// Why explains the state of a module, or with "" of all modules: leader.
	Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error)
	// Waiting lists what waits in all runs: leader.
	Waiting(ctx context.Context) (wire.WaitingList, error)
	// Locks lists the locks that are held or waited for: leader.
	Locks(ctx context.Context) (wire.LockList, error)
}

// findRun gives the id of the run that a caller names. A whole id is not looked up.
func findRun(ctx context.Context, runs Runs, name string, stale bool) (pipeline.RunID, error) {
	ref, err := pipeline.ParseRunRef(name)
	if err != nil {
		return "", err
	}
	if id, ok := ref.ID(); ok {
		return id, nil
	}
	return runs.FindRun(ctx, ref, stale)
}

// RunQuery selects runs.
type RunQuery struct {
	// Limit is the greatest number of runs, from 1.
	Limit int
	// Cursor is the one of the page before; "" starts with the newest run.
	Cursor string
	// State and Pipeline select; "" takes all.
	State    pipeline.RunState
	Pipeline string
	// Words must each be in what lists show of a run, or be the name of one of its
	// modules.
	Words []string
}

// GraphFold says which blocks of instances a drawing shows as one node: by itself
// those with many, with All every block, with None none. Unfold names blocks that it
// shows one by one in any case.
type GraphFold struct {
	All, None bool
	Unfold    []string
}

// Folds reports whether a block is one node; many says that it has many instances.
func (f GraphFold) Folds(block string, many bool) bool {
	return !f.None && (many || f.All) && !slices.Contains(f.Unfold, block)
}

// ApprovalDecision is what a person decided about a module that waits for an
// approval, with a comment or reason ("" for none).
type ApprovalDecision struct {
	Module   string
	Decision pipeline.Decision
	Comment  string
}

// SourceError is a refused pipeline: kind Invalid, with every mistake and its
// place. The problem document carries the diagnostics.
type SourceError = wire.SourceError

type runsHandler struct{ runs Runs }

// routes are the calls about runs.
func (h *runsHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/runs", Role: RoleSubmit,
			Summary: "submit a pipeline",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.RunCreated](), serve: h.submit},
		{Method: "GET", Pattern: "/api/v1/runs", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "runs, newest first",
			Query:   []string{"limit", "cursor", "state", "pipeline", "q", "stale"}, Response: doc[wire.RunList](),
			serve: h.list},
		{Method: "GET", Pattern: "/api/v1/runs/{id}", Role: RoleRead, Where: OnLeader, Stale: true,
			Long:    true,
			Summary: "one run with its modules; with index and wait, after its next change",
			Query:   []string{"index", "wait", "since", "brief", "stale"}, Response: doc[wire.Run](), serve: h.get},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/graph", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "what the modules of a run wait for, with a drawing and without states",
			Query:   []string{"fold", "unfold", "stale"}, Response: doc[wire.Graph](), serve: h.graph},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/cancel", Role: RoleSubmit, Where: OnState,
			Summary: "cancel a run",
			Body:    OptionalBody, Request: doc[wire.CancelRequest](), Response: doc[wire.RunSummary](),
			serve: h.cancel},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/retry", Role: RoleSubmit, Where: OnState,
			Summary: "resume a finished run where it failed, or retry it with other variables as a new run",
			Body:    OptionalBody, Request: doc[wire.RetryRequest](), Response: doc[wire.RunSummary](),
			serve: h.retry},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/retry/plan", Role: RoleSubmit, Where: OnState,
			Summary: "what a retry of a finished run would run again, and why",
			Body:    OptionalBody, Request: doc[wire.RetryRequest](), Response: doc[wire.RetryPlan](),
			serve: h.planRetry},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/pin", Role: RoleSubmit, Where: OnState,
			Summary:  "exempt a run from retention",
			Response: doc[wire.RunSummary](), serve: h.pin},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/unpin", Role: RoleSubmit, Where: OnState,
			Summary:  "make a run subject to retention again",
			Response: doc[wire.RunSummary](), serve: h.unpin},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/why", Role: RoleRead, Where: OnLeader,
			Summary: "why a run or a module is in its state",
			Query:   []string{"module"}, Response: doc[wire.Why](), serve: h.why},
		{Method: "POST", Pattern: "/api/v1/estimate", Role: RoleSubmit, Where: OnLeader,
			Summary: "predicted duration of a run, and where its modules would run",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.Estimate](), serve: h.estimate},
		{Method: "GET", Pattern: "/api/v1/waiting", Role: RoleRead, Where: OnLeader,
			Summary:  "what waits in all runs, and for what",
			Response: doc[wire.WaitingList](), serve: h.waiting},
		{Method: "GET", Pattern: "/api/v1/locks", Role: RoleRead, Where: OnLeader,
			Summary:  "the locks that are held or waited for",
			Response: doc[wire.LockList](), serve: h.locks},
	}
}

func (h *runsHandler) submit(c *call) error {
	in, err := c.submission()
	if err != nil {
		return err
	}
	in.Trace = traceContext(c.r.Header)

	out, err := h.runs.Submit(c.r.Context(), c.by, c.key, in)
	if err != nil {
		return err
	}

	if out.Repeated {
		c.w.Header().Set("Location", runAddress(out.ID))
		return c.ok(out)
	}
	return c.created(runAddress(out.ID), out)
}

// traceContext is the trace that a request is part of; the zero value for none. Lists
// may come as several headers.
func traceContext(h http.Header) pipeline.TraceContext {
	list := func(name string) string { return strings.Join(h.Values(name), ",") }
	return pipeline.NewTraceContext(h.Get(wire.HeaderTraceParent), list(wire.HeaderTraceState), list(wire.HeaderBaggage))
}

func runAddress(id pipeline.RunID) string { return "/api/v1/runs/" + url.PathEscape(string(id)) }

func (h *runsHandler) estimate(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}

	out, err := h.runs.Estimate(c.r.Context(), c.by, in)
	if out.Modules == nil {
		out.Modules = []wire.ModuleEstimate{}
	}
	if out.CriticalPath == nil {
		out.CriticalPath = []string{}
	}
	return c.reply(out, err)
}

// maxRunSearch bounds the words that runs are searched for, in bytes.
const maxRunSearch = 200

func (h *runsHandler) list(c *call) error {
	q := c.r.URL.Query()
	limit, err := listLimit(q, 50, maxList)
	if err != nil {
		return err
	}

	cursor := q.Get("cursor")
	if len(cursor) > maxCursor {
		return invalid("cursor: longer than %d bytes; use the one of the page before unchanged", maxCursor)
	}
	state := pipeline.RunState(q.Get("state"))
	if state != "" && !knownState(state) {
		return invalid("state=%.40s: expected waiting, running, cancelling, succeeded, succeeded_with_warnings, failed or cancelled", state)
	}
	name := q.Get("pipeline")
	if name != "" && !pipeline.ValidName(name) {
		return invalid("pipeline=%.80s: expected a pipeline's name", name)
	}

	search := q.Get("q")
	if len(search) > maxRunSearch {
		return invalid("q: longer than %d bytes", maxRunSearch)
	}

	out, err := h.runs.Runs(c.r.Context(), RunQuery{Limit: limit, Cursor: cursor, State: state, Pipeline: name, Words: strings.Fields(search)})
	if out.Runs == nil {
		out.Runs = []wire.RunSummary{}
	}
	return c.reply(out, err)
}

func knownState(state pipeline.RunState) bool {
	return state == pipeline.RunWaiting || state == pipeline.RunRunning || state == pipeline.RunCancelling || state.Final()
}

func (h *runsHandler) get(c *call) error {
	id, q := c.run, c.r.URL.Query()
	if brief, err := flag(q, "brief"); err != nil {
		return err
	} else if brief {
		out, err := h.runs.RunSummary(c.r.Context(), id)
		return c.reply(out, err)
	}

	index, err := count(q, "index", 0)
	if err != nil {
		return err
	}
	since, err := count(q, "since", 0)
	if err != nil {
		return err
	}

	var wait time.Duration
	if q.Has("index") {
		wait = defaultWait
	}
	if q.Has("wait") {
		if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait < 0 {
			return invalid("wait=%.40s: expected a duration such as 30s", q.Get("wait"))
		}
	}

	out, err := h.runs.Run(c.r.Context(), id, index, min(wait, maxWait), since)
	if err == nil && wait > 0 && c.current != nil {
		err = c.current() // another node may lead since the wait began
	}
	if err != nil {
		return err
	}
	if out.Modules == nil {
		out.Modules = []wire.Module{}
	}
	c.w.Header().Set(wire.HeaderIndex, strconv.FormatUint(out.Index, 10))
	return c.ok(out)
}

func (h *runsHandler) graph(c *call) error {
	q := c.r.URL.Query()
	fold := GraphFold{Unfold: q["unfold"]}
	switch how := q.Get("fold"); how {
	case "", "auto":
	case "all":
		fold.All = true
	case "none":
		fold.None = true
	default:
		return invalid("fold=%.40s: expected auto, all or none", how)
	}

	out, err := h.runs.Graph(c.r.Context(), c.run, fold)
	return c.reply(out, err)
}

func (h *runsHandler) cancel(c *call) error {
	id := c.run
	in, err := document[wire.CancelRequest](c)
	if err != nil {
		return err
	}
	if len(in.Request) > maxCursor {
		return invalid("request: longer than %d bytes", maxCursor)
	}

	out, err := h.runs.Cancel(c.r.Context(), c.by, id, in)
	return c.reply(out, err)
}

func (h *runsHandler) pin(c *call) error   { return h.setPinned(c, true) }
func (h *runsHandler) unpin(c *call) error { return h.setPinned(c, false) }

func (h *runsHandler) setPinned(c *call, pinned bool) error {
	out, err := h.runs.Pin(c.r.Context(), c.by, c.run, pinned)
	return c.reply(out, err)
}

func (h *runsHandler) retry(c *call) error {
	in, err := retryRequest(c)
	if err != nil {
		return err
	}
	out, err := h.runs.Retry(c.r.Context(), c.by, c.run, in)
	return c.reply(out, err)
}

func (h *runsHandler) planRetry(c *call) error {
	in, err := retryRequest(c)
	if err != nil {
		return err
	}
	out, err := h.runs.PlanRetry(c.r.Context(), c.by, c.run, in)
	return c.reply(out, err)
}

func retryRequest(c *call) (wire.RetryRequest, error) {
	in, err := document[wire.RetryRequest](c)
	if err != nil {
		return in, err
	}
	if in.Request == "" {
		in.Request = c.key
	}
	if len(in.Request) > wire.MaxIdempotencyKey {
		return in, invalid("request: longer than %d bytes", wire.MaxIdempotencyKey)
	}
	for _, m := range in.From {
		if !wire.ValidModule(m) {
			return in, badModule(m)
		}
	}
	return in, nil
}

func (h *runsHandler) why(c *call) error {
	id := c.run
	module, err := c.moduleParam()
	if err != nil {
		return err
	}

	out, err := h.runs.Why(c.r.Context(), id, module)
	return c.reply(out, err)
}

func (h *runsHandler) waiting(c *call) error {
	out, err := h.runs.Waiting(c.r.Context())
	return c.reply(out, err)
}

func (h *runsHandler) locks(c *call) error {
	out, err := h.runs.Locks(c.r.Context())
	return c.reply(out, err)
}
