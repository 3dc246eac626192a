package api

import (
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (s *Server) setSecret(c *call) error {
	in, err := document[wire.SecretRequest](c)
	if err != nil {
		return err
	}
	out, err := s.backend.SetSecret(c.r.Context(), c.by, c.r.PathValue("name"), in)
	return okOr(s, c, out, err)
}

func (s *Server) secrets(c *call) error {
	out, err := s.backend.Secrets(c.r.Context())
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
	if err := s.backend.DeleteSecret(c.r.Context(), c.by, name); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}
