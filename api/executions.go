package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
)

// Executions is what the API needs of a node to run single modules over the
// execution protocol.
type Executions interface {
	// Execute runs one module on this node, as a run of its own. With async it
	// returns after the commit, with done false.
	Execute(ctx context.Context, by Subject, in wire.ExecuteRequest, async bool) (out wire.ExecuteResponse, done bool, err error)
	// CancelExecution cancels one; it works on any node.
	CancelExecution(ctx context.Context, by Subject, in wire.CancelExecution) error
}

type executionsHandler struct{ executions Executions }

// routes are the calls of the execution protocol that run a module, which programs of other
// languages make too.
func (h *executionsHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/execution/execute", Role: RoleSubmit, Long: true,
			Summary: "run one module on this node",
			Body:    LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteRequest](),
			Response: doc[wire.ExecuteResponse](), serve: h.execute, failure: executeFailure},
		{Method: "POST", Pattern: "/api/execution/cancel", Role: RoleSubmit,
			Summary: "cancel an execution",
			Body:    LenientBody, Request: doc[wire.CancelExecution](), Response: doc[wire.Success](),
			serve: h.cancel, failure: plainFailure},
	}
}

func (h *executionsHandler) execute(c *call) error {
	in, err := document[wire.ExecuteRequest](c)
	if err != nil {
		return err
	}
	if err := checkExecution(in.ExecutionID); err != nil {
		return err
	}

	async := prefersAsync(c.r.Header.Values("Prefer"))
	if async {
		c.w.Header().Set("Preference-Applied", "respond-async")
	}
	out, done, err := h.executions.Execute(c.r.Context(), c.by, in, async)
	if err != nil {
		return err
	}

	switch {
	case !done:
		// Its outcome is not known yet.
		c.json(http.StatusAccepted, wire.ExecuteAccepted{ExecutionID: out.ExecutionID, WorkerID: out.WorkerID})
	case !out.Success:
		c.json(http.StatusInternalServerError, out)
	default:
		c.json(http.StatusOK, out)
	}
	return nil
}

// checkExecution bounds an execution's id. It may be a caller's own or an
// attempt's ("run/module/attempt"); further rules are the node's.
func checkExecution(id string) error {
	if id == "" || len(id) > wire.MaxModuleName+128 {
		return invalid("executionId: expected 1 to %d bytes", wire.MaxModuleName+128)
	}

	for _, c := range id {
		if c < 0x20 || c == 0x7f {
			return invalid("executionId: a control character is not allowed")
		}
	}
	return nil
}

// prefersAsync reads the header Prefer for respond-async.
func prefersAsync(values []string) bool {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// executeFailure is the protocol's body for an execution that was not started.
// The header with the kind distinguishes it from a module that failed.
func executeFailure(c *call, p wire.Problem) (int, any) {
	in, _ := document[wire.ExecuteRequest](c) // a body that cannot be read has no id

	return p.Status, wire.ExecuteResponse{
		ExecutionID:   in.ExecutionID,
		WorkerID:      c.node,
		ErrorMessage:  p.Detail,
		ExceptionType: p.Kind,
		StackTrace:    "request " + c.id,
	}
}

func plainFailure(_ *call, p wire.Problem) (int, any) {
	return p.Status, wire.Success{ErrorMessage: p.Detail}
}

func (h *executionsHandler) cancel(c *call) error {
	in, err := document[wire.CancelExecution](c)
	if err != nil {
		return err
	}
	if err := checkExecution(in.ExecutionID); err != nil {
		return err
	}

	return c.done(h.executions.CancelExecution(c.r.Context(), c.by, in))
}
