package api

import (
	"strings"
	"unicode"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (s *Server) approve(c *call) error {
	in, err := document[wire.ApproveRequest](c)
	if err != nil {
		return err
	}
	return s.decide(c, pipeline.Approved, "comment", in.Comment)
}

func (s *Server) reject(c *call) error {
	in, err := document[wire.RejectRequest](c)
	if err != nil {
		return err
	}
	return s.decide(c, pipeline.Rejected, "reason", in.Reason)
}

func (s *Server) decide(c *call, d pipeline.Decision, field, text string) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module := c.r.PathValue("module")
	if !wire.ValidModule(module) {
		return badModule(module)
	}
	if len(text) > pipeline.MaxComment {
		return invalid("%s: longer than %d bytes", field, pipeline.MaxComment)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }) {
		return invalid("%s: control character in the text", field)
	}
	out, err := s.cfg.Runs.Decide(c.r.Context(), c.by, id, module, d, text)
	return okOr(s, c, out, err)
}
