package api

import (
	"strings"
	"unicode"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// approvalsHandler serves the calls about modules that wait for a person.
type approvalsHandler struct{ runs Runs }

// routes are the calls about approvals.
func (h *approvalsHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/approve", Role: RoleSubmit, Where: OnState,
			Summary: "approve a module that waits for an approval",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ApproveRequest](), Response: doc[wire.Module](),
			serve: h.approve},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/reject", Role: RoleSubmit, Where: OnState,
			Summary: "reject a module that waits for an approval",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.RejectRequest](), Response: doc[wire.Module](),
			serve: h.reject},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/approve", Role: RoleSubmit, Where: OnState,
			Summary: "approve a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ApproveRequest](), Response: doc[wire.Module](),
			serve: h.approve},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/reject", Role: RoleSubmit, Where: OnState,
			Summary: "reject a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.RejectRequest](), Response: doc[wire.Module](),
			serve: h.reject},
		{Method: "GET", Pattern: "/api/v1/approvals", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the modules that wait for an approval, over all runs",
			Query:   []string{"stale"}, Response: doc[wire.ApprovalList](), serve: h.list},
	}
}

func (h *approvalsHandler) approve(c *call) error {
	in, err := document[wire.ApproveRequest](c)
	if err != nil {
		return err
	}

	return h.decide(c, pipeline.Approved, "comment", in.Comment)
}

func (h *approvalsHandler) reject(c *call) error {
	in, err := document[wire.RejectRequest](c)
	if err != nil {
		return err
	}

	return h.decide(c, pipeline.Rejected, "reason", in.Reason)
}

func (h *approvalsHandler) decide(c *call, d pipeline.Decision, field, text string) error {
	id := c.run
	module, err := c.module()
	if err != nil {
		return err
	}

	if len(text) > pipeline.MaxComment {
		return invalid("%s: longer than %d bytes", field, pipeline.MaxComment)
	}
	// It is printed on terminals: an escape sequence must not get there.
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
		return invalid("%s: control character in the text", field)
	}

	out, err := h.runs.Decide(c.r.Context(), c.by, id, ApprovalDecision{Module: module, Decision: d, Comment: text})
	return c.reply(out, err)
}

func (h *approvalsHandler) list(c *call) error {
	out, err := h.runs.Approvals(c.r.Context(), c.by)
	return c.reply(out, err)
}
