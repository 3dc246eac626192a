package api

import (
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (s *Server) members(c *call) error {
	out, err := s.backend.Members(c.r.Context())
	if out.Members == nil {
		out.Members = []wire.Member{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) raft(c *call) error {
	out, err := s.backend.Raft(c.r.Context())
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
	if err := s.backend.Drain(c.r.Context(), c.by, node, in); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func (s *Server) leave(c *call) error {
	if err := s.backend.Leave(c.r.Context(), c.by); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func (s *Server) createToken(c *call) error {
	in, err := document[wire.TokenRequest](c)
	if err != nil {
		return err
	}
	if role := Role(in.Role); role != RoleWorker && rank[role] == 0 {
		return invalid("role %.40q: want read, submit, worker or admin", in.Role)
	}
	if in.TTLSeconds < 0 || in.TTLSeconds > 100*365*24*3600 {
		return invalid("ttlSeconds: want 0 (for ever) to a hundred years")
	}
	if len(in.Name) > 128 {
		return invalid("name: longer than 128 bytes")
	}
	out, err := s.backend.CreateToken(c.r.Context(), c.by, in)
	if err != nil {
		return err
	}
	s.writeJSON(c, http.StatusCreated, "application/json", out)
	return nil
}

func (s *Server) tokens(c *call) error {
	out, err := s.backend.Tokens(c.r.Context())
	if out.Tokens == nil {
		out.Tokens = []wire.TokenInfo{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) deleteToken(c *call) error {
	id := c.r.PathValue("id")
	if !token(id, 128) {
		return pipeline.Errorf(pipeline.NotFound, "token %.80q: there is none", id)
	}
	if err := s.backend.DeleteToken(c.r.Context(), c.by, id); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}
