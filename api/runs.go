package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
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
	// Runs lists runs, newest first: leader, or with stale any node that has the
	// state.
	Runs(ctx context.Context, q RunQuery) (wire.RunList, error)
	// Run reads one run: leader, or with stale any node that has the state. It
	// waits until the run's index is past afterIndex, at most wait, and leaves out
	// modules that did not change after since.
	Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error)
	// Cancel cancels a run: leader. Cancelling it again changes nothing.
	Cancel(ctx context.Context, by Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error)
	// Retry resumes a finished run: leader.
	Retry(ctx context.Context, by Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error)
	// Pin exempts a run from retention, or ends the exemption: leader.
	Pin(ctx context.Context, by Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error)
	// Decide approves or rejects a module that waits for an approval: leader. The
	// same decision again changes nothing; another one is a Conflict.
	Decide(ctx context.Context, by Subject, id pipeline.RunID, module string, d pipeline.Decision, comment string) (wire.Module, error)
	// Why explains the state of a module, or with "" of all modules: leader.
	Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error)
	// Locks lists the locks that are held or waited for: leader.
	Locks(ctx context.Context) (wire.LockList, error)
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
}

// SourceError is a refused pipeline: kind Invalid, with every mistake and its
// place. The problem document carries the diagnostics.
type SourceError = wire.SourceError

// Bounds of what a caller may ask for.
const (
	maxWait     = 5 * time.Minute
	defaultWait = 30 * time.Second
	maxList     = 1000
	maxCursor   = 512
)

// ok answers 200 with a document.
func (s *Server) ok(c *call, v any) error {
	s.writeJSON(c, http.StatusOK, "application/json", v)
	return nil
}

// okOr answers with a document or gives the error on.
func okOr[T any](s *Server, c *call, v T, err error) error {
	if err != nil {
		return err
	}
	return s.ok(c, v)
}

// runID is the id in the path.
func (c *call) runID() (pipeline.RunID, error) { return pipeline.ParseRunID(c.r.PathValue("id")) }

func badModule(m string) error {
	return invalid("module %.80q: want a module's name, or an instance's as in build[linux,amd64]", m)
}

// count reads a whole number from 0 on; def where the parameter is not given.
func count(q url.Values, name string, def uint64) (uint64, error) {
	if !q.Has(name) {
		return def, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 63)
	if err != nil {
		return 0, invalid("%s=%.40s: want a whole number from 0 on", name, q.Get(name))
	}
	return n, nil
}

// listLimit is how many entries of a list are asked for; without a wish 100.
func listLimit(q url.Values) (int, error) {
	n, err := count(q, "limit", 100)
	if err != nil {
		return 0, err
	}
	if n < 1 || n > maxList {
		return 0, invalid("limit=%d: want 1 to %d", n, maxList)
	}
	return int(n), nil
}

func (s *Server) submit(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}
	if in.Workspace != "" {
		if in.Workspace, err = digest(string(in.Workspace)); err != nil {
			return err
		}
	}
	out, err := s.cfg.Runs.Submit(c.r.Context(), c.by, c.key, in)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if out.Repeated {
		status = http.StatusOK
	}
	c.w.Header().Set("Location", "/api/v1/runs/"+url.PathEscape(string(out.ID)))
	s.writeJSON(c, status, "application/json", out)
	return nil
}

func (s *Server) runs(c *call) error {
	q := c.r.URL.Query()
	limit, err := count(q, "limit", 50)
	if err != nil {
		return err
	}
	if limit < 1 || limit > maxList {
		return invalid("limit=%d: want 1 to %d", limit, maxList)
	}
	cursor := q.Get("cursor")
	if len(cursor) > maxCursor {
		return invalid("cursor: longer than %d bytes; take it from the page before as it is", maxCursor)
	}
	state := pipeline.RunState(q.Get("state"))
	if state != "" && !knownState(state) {
		return invalid("state=%.40s: want waiting, running, cancelling, succeeded, succeeded_with_warnings, failed or cancelled", state)
	}
	name := q.Get("pipeline")
	if name != "" && !pipeline.ValidName(name) {
		return invalid("pipeline=%.80s: want a pipeline's name", name)
	}
	out, err := s.cfg.Runs.Runs(c.r.Context(), RunQuery{Limit: int(limit), Cursor: cursor, State: state, Pipeline: name})
	if out.Runs == nil {
		out.Runs = []wire.RunSummary{}
	}
	return okOr(s, c, out, err)
}

func knownState(state pipeline.RunState) bool {
	return state == pipeline.RunWaiting || state == pipeline.RunRunning || state == pipeline.RunCancelling || state.Final()
}

func (s *Server) run(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
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
			return invalid("wait=%.40s: want a duration such as 30s", q.Get("wait"))
		}
	}
	out, err := s.cfg.Runs.Run(c.r.Context(), id, index, min(wait, maxWait), since)
	if err != nil {
		return err
	}
	if out.Modules == nil {
		out.Modules = []wire.Module{}
	}
	c.w.Header().Set(wire.HeaderIndex, strconv.FormatUint(out.Index, 10))
	return s.ok(c, out)
}

func (s *Server) cancel(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	in, err := document[wire.CancelRequest](c)
	if err != nil {
		return err
	}
	if len(in.Request) > maxCursor {
		return invalid("request: longer than %d bytes", maxCursor)
	}
	out, err := s.cfg.Runs.Cancel(c.r.Context(), c.by, id, in)
	return okOr(s, c, out, err)
}

func (s *Server) pin(c *call, pinned bool) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	out, err := s.cfg.Runs.Pin(c.r.Context(), c.by, id, pinned)
	return okOr(s, c, out, err)
}

func (s *Server) retry(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	in, err := document[wire.RetryRequest](c)
	if err != nil {
		return err
	}
	if in.Request == "" {
		in.Request = c.key
	}
	if len(in.Request) > wire.MaxIdempotencyKey {
		return invalid("request: longer than %d bytes", wire.MaxIdempotencyKey)
	}
	for _, m := range in.From {
		if !wire.ValidModule(m) {
			return badModule(m)
		}
	}
	out, err := s.cfg.Runs.Retry(c.r.Context(), c.by, id, in)
	return okOr(s, c, out, err)
}

func (s *Server) why(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module := c.r.URL.Query().Get("module")
	if module != "" && !wire.ValidModule(module) {
		return badModule(module)
	}
	out, err := s.cfg.Runs.Why(c.r.Context(), id, module)
	return okOr(s, c, out, err)
}

func (s *Server) locks(c *call) error {
	out, err := s.cfg.Runs.Locks(c.r.Context())
	return okOr(s, c, out, err)
}
