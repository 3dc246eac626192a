package api

import (
	"context"

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

func (s *Server) result(c *call) error {
	in, err := document[wire.ExecuteResponse](c)
	if err != nil {
		return err
	}
	out, err := s.cfg.Workers.Result(c.r.Context(), c.by, in)
	return okOr(s, c, out, err)
}

func (s *Server) register(c *call) error {
	in, err := document[wire.RegisterRequest](c)
	if err != nil {
		return err
	}
	if !token(in.WorkerNode.ID, 128) {
		return invalid("workerNode.id: want 1 to 128 letters, digits and '.', '_', ':', '-'")
	}
	out, err := s.cfg.Workers.Register(c.r.Context(), c.by, in)
	return okOr(s, c, out, err)
}

func (s *Server) heartbeat(c *call) error {
	in, err := document[wire.HeartbeatRequest](c)
	if err != nil {
		return err
	}
	if !token(in.WorkerID, 128) {
		return invalid("workerId: want 1 to 128 letters, digits and '.', '_', ':', '-'")
	}
	out, err := s.cfg.Workers.Heartbeat(c.r.Context(), c.by, in)
	return okOr(s, c, out, err)
}

func (s *Server) workers(c *call) error {
	out, err := s.cfg.Workers.Workers(c.r.Context())
	if out.Workers == nil {
		out.Workers = []wire.WorkerNode{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) forgetWorker(c *call) error {
	id := c.r.PathValue("id")
	if !token(id, 128) {
		return invalid("worker %.80q: want letters, digits and '.', '_', ':', '-'", id)
	}
	if c.by.Role == RoleWorker && c.by.Worker != "" && string(c.by.Worker) != id {
		return pipeline.Errorf(pipeline.Forbidden, "worker %s: this token belongs to %s", id, c.by.Worker)
	}
	if err := s.cfg.Workers.ForgetWorker(c.r.Context(), c.by, id); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func registerFailure(_ *Server, _ *call, p wire.Problem) (int, any) {
	return p.Status, wire.RegisterResponse{ErrorMessage: p.Detail}
}
