package api

import (
	"context"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Histories is what the API needs of a node to report what earlier runs show: leader,
// or with stale any node that has the state.
type Histories interface {
	// Pipelines lists pipelines, each with at most newest of its runs.
	Pipelines(ctx context.Context, newest int) (wire.PipelineList, error)
	// PipelineHistory reads the newest runs of a pipeline, at most newest.
	PipelineHistory(ctx context.Context, name string, newest int) (wire.PipelineHistory, error)
	// Compare compares a run with another one. With "" that is the run of the same
	// pipeline before it, one that succeeded if there is one.
	Compare(ctx context.Context, id, with pipeline.RunID) (wire.Comparison, error)
	// Tests reads the tests that the modules of a run reported.
	Tests(ctx context.Context, id pipeline.RunID, q TestQuery) (wire.TestReport, error)
}

// TestQuery selects tests of a run.
type TestQuery struct {
	// Module is a module, an instance or a block; "" takes all.
	Module string
	// Attempt is the attempt whose tests are meant; 0 is the newest that reported any.
	Attempt int
	// State is a pipeline.TestState or TestsFlaky; "" takes all.
	State string
	// Search is a part of a name or a message, in any case.
	Search string
	// Limit is the greatest number of tests, from 1.
	Limit int
}

// TestsFlaky selects tests that passed after they had failed.
const TestsFlaky = "flaky"

const (
	// maxTests and defaultTests are how many tests an answer has.
	maxTests      = 2000
	defaultTests  = 200
	maxTestSearch = 200
)

// compareBefore is what ?with= has for the run before.
const compareBefore = "before"

type historiesHandler struct {
	histories Histories
	runs      Runs
}

func (h *historiesHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/pipelines", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the pipelines that have runs or a schedule, with figures of the newest runs",
			Query:   []string{"limit", "stale"}, Response: doc[wire.PipelineList](), serve: h.pipelines},
		{Method: "GET", Pattern: "/api/v1/pipelines/history", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the newest runs of a pipeline, and its modules over them",
			Query:   []string{"pipeline", "limit", "stale"}, Response: doc[wire.PipelineHistory](), serve: h.history},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/compare", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "what differs between a run and the one that with names, or the one before it",
			Query:   []string{"with", "stale"}, Response: doc[wire.Comparison](), serve: h.compare},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/tests", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the tests that the modules of a run reported",
			Query:   []string{"module", "attempt", "state", "search", "limit", "stale"}, Response: doc[wire.TestReport](), serve: h.tests},
	}
}

func (h *historiesHandler) pipelines(c *call) error {
	n, err := listLimit(c.r.URL.Query(), 20, 100)
	if err != nil {
		return err
	}
	out, err := h.histories.Pipelines(c.r.Context(), n)
	return c.reply(out, err)
}

func (h *historiesHandler) history(c *call) error {
	q := c.r.URL.Query()
	n, err := listLimit(q, 50, 200)
	if err != nil {
		return err
	}
	name := q.Get("pipeline")
	switch {
	case name == "":
		return invalid("query: missing pipeline=NAME")
	case !pipeline.ValidName(name):
		return invalid("pipeline=%.80s: expected a pipeline's name", name)
	}

	out, err := h.histories.PipelineHistory(c.r.Context(), name, n)
	return c.reply(out, err)
}

func (h *historiesHandler) compare(c *call) error {
	var with pipeline.RunID
	if name := c.r.URL.Query().Get("with"); name != "" && name != compareBefore {
		var err error
		if with, err = findRun(c.r.Context(), h.runs, name, staleAsked(c.r)); err != nil {
			return err
		}
	}

	out, err := h.histories.Compare(c.r.Context(), c.run, with)
	return c.reply(out, err)
}

func (h *historiesHandler) tests(c *call) error {
	q := c.r.URL.Query()
	in := TestQuery{State: q.Get("state"), Search: q.Get("search")}
	var err error
	if in.Module, err = c.moduleParam(); err != nil {
		return err
	}
	if in.Limit, err = listLimit(q, defaultTests, maxTests); err != nil {
		return err
	}
	attempt, err := count(q, "attempt", 0)
	if err != nil {
		return err
	}
	in.Attempt = int(min(attempt, 1<<30))
	switch pipeline.TestState(in.State) {
	case "", TestsFlaky, pipeline.TestFailed, pipeline.TestSkipped, pipeline.TestPassed:
	default:
		return invalid("state=%.40s: expected failed, flaky, skipped or passed", in.State)
	}
	if len(in.Search) > maxTestSearch {
		return invalid("search: longer than %d bytes", maxTestSearch)
	}

	out, err := h.histories.Tests(c.r.Context(), c.run, in)
	return c.reply(out, err)
}
