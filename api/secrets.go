package api

import (
	"context"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Secrets is what the API needs of a node for secrets.
type Secrets interface {
	// SetSecret sets or replaces a secret. The node that was asked seals the value
	// before it leaves that node.
	SetSecret(ctx context.Context, by Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error)
	// Secrets lists names, never values: leader.
	Secrets(ctx context.Context) (wire.SecretList, error)
	// DeleteSecret removes a secret, on any node.
	DeleteSecret(ctx context.Context, by Subject, name string) error
}

func (s *Server) setSecret(c *call) error {
	in, err := document[wire.SecretRequest](c)
	if err != nil {
		return err
	}
	out, err := s.cfg.Secrets.SetSecret(c.r.Context(), c.by, c.r.PathValue("name"), in)
	return okOr(s, c, out, err)
}

func (s *Server) secrets(c *call) error {
	out, err := s.cfg.Secrets.Secrets(c.r.Context())
	if out.Secrets == nil {
		out.Secrets = []wire.SecretInfo{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) deleteSecret(c *call) error {
	name := c.r.PathValue("name")
	if !token(name, 128) {
		return pipeline.Errorf(pipeline.NotFound, "secret %.80q: there is none", name)
	}
	if err := s.cfg.Secrets.DeleteSecret(c.r.Context(), c.by, name); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}
