package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// healthTimeout bounds how long a node looks into itself.
const healthTimeout = 5 * time.Second

// health answers 200 where the node reaches a leader, else 503 with the same
// body. ?leader=1 is 200 on the leader alone; ?ready=1 is what is answered
// without it too, for those who like to say so.
func (s *Server) health(c *call) error {
	q := c.r.URL.Query()
	leader, err := flag(q, "leader")
	if err != nil {
		return err
	}
	if _, err := flag(q, "ready"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), healthTimeout)
	defer cancel()
	h := s.backend.Health(ctx)
	if h.Voters == nil {
		h.Voters = []string{}
	}
	status := http.StatusOK
	if h.Leader == "" || !h.Quorum || leader && h.Role != "leader" {
		status = http.StatusServiceUnavailable
		c.w.Header().Set("Retry-After", "1")
	}
	s.writeJSON(c, status, "application/json", h)
	return nil
}

func (s *Server) execute(c *call) error {
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
	out, done, err := s.backend.Execute(c.r.Context(), c.by, in, async)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case !done:
		// Nothing else is known of it yet.
		s.writeJSON(c, http.StatusAccepted, "application/json", wire.ExecuteAccepted{ExecutionID: out.ExecutionID, WorkerID: out.WorkerID})
		return nil
	case !out.Success:
		status = http.StatusInternalServerError
	}
	s.writeJSON(c, status, "application/json", out)
	return nil
}

// checkExecution bounds an execution's id. It may be a caller's own or an
// attempt's ("run/module/attempt"); what else it must be the backend knows.
func checkExecution(id string) error {
	if id == "" || len(id) > wire.MaxModuleName+128 {
		return invalid("executionId: want 1 to %d bytes", wire.MaxModuleName+128)
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

// executeFailure is the protocol's body for an execution that came to nothing.
// The header with the kind tells it from a module that failed.
func executeFailure(s *Server, c *call, p wire.Problem) (int, any) {
	in, _ := document[wire.ExecuteRequest](c) // what cannot be read has no id
	return p.Status, wire.ExecuteResponse{
		ExecutionID:   in.ExecutionID,
		WorkerID:      s.backend.NodeName(),
		ErrorMessage:  p.Detail,
		ExceptionType: p.Kind,
		StackTrace:    "request " + c.id,
	}
}

func plainFailure(_ *Server, _ *call, p wire.Problem) (int, any) {
	return p.Status, wire.Success{ErrorMessage: p.Detail}
}

func registerFailure(_ *Server, _ *call, p wire.Problem) (int, any) {
	return p.Status, wire.RegisterResponse{ErrorMessage: p.Detail}
}

func (s *Server) cancelExecution(c *call) error {
	in, err := document[wire.CancelExecution](c)
	if err != nil {
		return err
	}
	if err := checkExecution(in.ExecutionID); err != nil {
		return err
	}
	if err := s.backend.CancelExecution(c.r.Context(), c.by, in); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func (s *Server) result(c *call) error {
	in, err := document[wire.ExecuteResponse](c)
	if err != nil {
		return err
	}
	out, err := s.backend.Result(c.r.Context(), c.by, in)
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
	out, err := s.backend.Register(c.r.Context(), c.by, in)
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
	out, err := s.backend.Heartbeat(c.r.Context(), c.by, in)
	return okOr(s, c, out, err)
}

func (s *Server) workers(c *call) error {
	out, err := s.backend.Workers(c.r.Context())
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
	if err := s.backend.ForgetWorker(c.r.Context(), c.by, id); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}
