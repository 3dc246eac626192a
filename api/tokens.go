package api

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Tokens is what the API needs of a node to manage tokens. All calls: leader.
type Tokens interface {
	// CreateToken creates a token; its secret is in this answer only.
	CreateToken(ctx context.Context, by Subject, in wire.TokenRequest) (wire.TokenCreated, error)
	// Tokens lists tokens without their secrets.
	Tokens(ctx context.Context) (wire.TokenList, error)
	// DeleteToken revokes a token.
	DeleteToken(ctx context.Context, by Subject, id string) error
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
	out, err := s.cfg.Tokens.CreateToken(c.r.Context(), c.by, in)
	if err != nil {
		return err
	}
	s.writeJSON(c, http.StatusCreated, "application/json", out)
	return nil
}

func (s *Server) tokens(c *call) error {
	out, err := s.cfg.Tokens.Tokens(c.r.Context())
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
	if err := s.cfg.Tokens.DeleteToken(c.r.Context(), c.by, id); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}
