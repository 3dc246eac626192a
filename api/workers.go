package api

import (
	"context"
	"slices"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Workers is what the API needs of a node to serve external workers. All calls:
// leader; Workers also on any node that has the state, with stale.
type Workers interface {
	// Register adds an external worker, or confirms one that is known.
	Register(ctx context.Context, by Subject, in wire.RegisterRequest) (wire.RegisterResponse, error)
	// Heartbeat extends the lease of an external worker.
	Heartbeat(ctx context.Context, by Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error)
	// Result accepts the outcome of an execution; the same outcome again is
	// harmless.
	Result(ctx context.Context, by Subject, in wire.ExecuteResponse) (wire.ResultResponse, error)
	// Workers lists all workers, external ones and nodes.
	Workers(ctx context.Context) (wire.WorkerList, error)
	// ForgetWorker removes an external worker and revokes what belongs to it.
	ForgetWorker(ctx context.Context, by Subject, id string) error
}

type workersHandler struct{ workers Workers }

// routes are the calls of external workers, and about all workers.
func (h *workersHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/execution/result", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Summary: "report the outcome of an external worker's execution",
			Body:    LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteResponse](),
			Response: doc[wire.ResultResponse](), serve: h.result},
		{Method: "POST", Pattern: "/api/workers/register", Role: RoleAdmin, Worker: true, Where: OnState,
			Summary: "register an external worker",
			Body:    LenientBody, Request: doc[wire.RegisterRequest](), Response: doc[wire.RegisterResponse](),
			serve: h.register, failure: registerFailure},
		{Method: "POST", Pattern: "/api/workers/heartbeat", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Summary: "extend the lease of an external worker",
			Body:    LenientBody, Request: doc[wire.HeartbeatRequest](), Response: doc[wire.HeartbeatResponse](),
			serve: h.heartbeat},
		{Method: "GET", Pattern: "/api/workers", Role: RoleRead, Worker: true, Where: OnLeader, Stale: true,
			Summary: "the workers, external ones and nodes",
			Query:   []string{"brief", "stale"}, Response: doc[wire.WorkerList](), serve: h.list},
		{Method: "DELETE", Pattern: "/api/workers/{id}", Role: RoleAdmin, Worker: true, Where: OnState,
			Summary:  "remove an external worker",
			Response: doc[wire.Success](), serve: h.forget, failure: plainFailure},
	}
}

func (h *workersHandler) register(c *call) error {
	in, err := document[wire.RegisterRequest](c)
	if err != nil {
		return err
	}
	if err := checkWorker("workerNode.id", in.WorkerNode.ID); err != nil {
		return err
	}

	out, err := h.workers.Register(c.r.Context(), c.by, in)
	return c.reply(out, err)
}

// checkWorker checks the id of an external worker; field is where it stands.
func checkWorker(field, id string) error {
	if !pipeline.ValidName(id) {
		return invalid("%s: expected 1 to 63 letters, digits, _ or -", field)
	}

	return nil
}

func registerFailure(_ *call, p wire.Problem) (int, any) {
	return p.Status, wire.RegisterResponse{ErrorMessage: p.Detail}
}

func (h *workersHandler) heartbeat(c *call) error {
	in, err := document[wire.HeartbeatRequest](c)
	if err != nil {
		return err
	}
	if err := checkWorker("workerId", in.WorkerID); err != nil {
		return err
	}

	out, err := h.workers.Heartbeat(c.r.Context(), c.by, in)
	return c.reply(out, err)
}

func (h *workersHandler) result(c *call) error {
	in, err := document[wire.ExecuteResponse](c)
	if err != nil {
		return err
	}

	out, err := h.workers.Result(c.r.Context(), c.by, in)
	return c.reply(out, err)
}

func (h *workersHandler) list(c *call) error {
	brief, err := flag(c.r.URL.Query(), "brief")
	if err != nil {
		return err
	}

	out, err := h.workers.Workers(c.r.Context())
	if brief { // a list of every program in PATH is most of it
		out.Workers = slices.Clone(out.Workers)
		for i := range out.Workers {
			out.Workers[i].Capabilities.InstalledTools = []string{}
		}
	}
	if out.Workers == nil {
		out.Workers = []wire.WorkerNode{}
	}
	return c.reply(out, err)
}

func (h *workersHandler) forget(c *call) error {
	id := c.r.PathValue("id")
	if err := checkWorker("worker", id); err != nil {
		return err
	}
	return c.done(h.workers.ForgetWorker(c.r.Context(), c.by, id))
}
