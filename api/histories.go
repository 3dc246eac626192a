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
	// Approvals lists the modules that wait for an approval, over all runs.
	Approvals(ctx context.Context, by Subject) (wire.ApprovalList, error)
}

// compareBefore is what ?with= has for the run before.
const compareBefore = "before"

type historiesHandler struct {
	histories Histories
	runs      Runs
}

func (h *handlers) historyRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/pipelines", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the pipelines that have runs or a schedule, with figures of the newest runs",
			Query:   []string{"limit", "stale"}, Response: doc[wire.PipelineList](), serve: h.histories.pipelines},
		{Method: "GET", Pattern: "/api/v1/pipelines/history", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the newest runs of a pipeline, and its modules over them",
			Query:   []string{"pipeline", "limit", "stale"}, Response: doc[wire.PipelineHistory](), serve: h.histories.history},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/compare", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "what differs between a run and the one that with names, or the one before it",
			Query:   []string{"with", "stale"}, Response: doc[wire.Comparison](), serve: h.histories.compare},
		{Method: "GET", Pattern: "/api/v1/approvals", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the modules that wait for an approval, over all runs",
			Query:   []string{"stale"}, Response: doc[wire.ApprovalList](), serve: h.histories.approvals},
	}
}

// newest is how many runs are asked for.
func (c *call) newest(def, most uint64) (int, error) {
	n, err := count(c.r.URL.Query(), "limit", def)
	if err == nil && (n < 1 || n > most) {
		err = invalid("limit=%d: expected 1 to %d", n, most)
	}
	return int(n), err
}

func (h *historiesHandler) pipelines(c *call) error {
	n, err := c.newest(20, 100)
	if err != nil {
		return err
	}
	out, err := h.histories.Pipelines(c.r.Context(), n)
	return c.reply(out, err)
}

func (h *historiesHandler) history(c *call) error {
	n, err := c.newest(50, 200)
	if err != nil {
		return err
	}
	name := c.r.URL.Query().Get("pipeline")
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

func (h *historiesHandler) approvals(c *call) error {
	out, err := h.histories.Approvals(c.r.Context(), c.by)
	return c.reply(out, err)
}
