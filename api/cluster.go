package api

import (
	"context"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// Cluster is what the API needs of a node to show the cluster and to change
// its membership.
type Cluster interface {
	// Health describes this node and what it knows of the cluster.
	Health(ctx context.Context) wire.Health
	// Members lists the nodes, as this node sees them.
	Members(ctx context.Context) (wire.MemberList, error)
	// Raft describes the consensus group; it needs the replicated state.
	Raft(ctx context.Context) (wire.RaftInfo, error)
	// Drain stops or resumes the assignment of work to a node: leader.
	Drain(ctx context.Context, by Subject, node string, in wire.DrainRequest) error
	// Leave removes this node from the cluster permanently. It returns once the
	// request is noted; the node leaves afterwards.
	Leave(ctx context.Context, by Subject) error
}

func (s *Server) members(c *call) error {
	out, err := s.cfg.Cluster.Members(c.r.Context())
	if out.Members == nil {
		out.Members = []wire.Member{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) raft(c *call) error {
	out, err := s.cfg.Cluster.Raft(c.r.Context())
	if out.Servers == nil {
		out.Servers = []wire.RaftServer{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) drain(c *call) error {
	node := c.r.PathValue("name")
	if !token(node, 128) {
		return invalid("node %.80q: want letters, digits, '.', '_' and '-'", node)
	}
	in, err := document[wire.DrainRequest](c)
	if err != nil {
		return err
	}
	if in.DeadlineSeconds < 0 || in.DeadlineSeconds > 1e9 {
		return invalid("deadlineSeconds: want 0 (no deadline) or more")
	}
	if err := s.cfg.Cluster.Drain(c.r.Context(), c.by, node, in); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func (s *Server) leave(c *call) error {
	if err := s.cfg.Cluster.Leave(c.r.Context(), c.by); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

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
	h := s.cfg.Cluster.Health(ctx)
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
