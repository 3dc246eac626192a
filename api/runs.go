package api

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

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
	out, err := s.backend.Submit(c.r.Context(), c.by, c.key, in)
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
	out, err := s.backend.Runs(c.r.Context(), RunQuery{Limit: int(limit), Cursor: cursor, State: state, Pipeline: name})
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
	out, err := s.backend.Run(c.r.Context(), id, index, min(wait, maxWait), since)
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
	out, err := s.backend.Cancel(c.r.Context(), c.by, id, in)
	return okOr(s, c, out, err)
}

func (s *Server) pin(c *call, pinned bool) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	out, err := s.backend.Pin(c.r.Context(), c.by, id, pinned)
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
	out, err := s.backend.Retry(c.r.Context(), c.by, id, in)
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
	out, err := s.backend.Why(c.r.Context(), id, module)
	return okOr(s, c, out, err)
}

func (s *Server) locks(c *call) error {
	out, err := s.backend.Locks(c.r.Context())
	return okOr(s, c, out, err)
}
