package api

import (
	"github.com/pipelined/pipelined/api/wire"
)

func estimateRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/estimate", Summary: "how long a run of a pipeline would take, and where its modules would run", Role: RoleSubmit, Where: OnLeader, Body: JSONBody, MaxBody: maxRunDoc,
			Request: doc[wire.SubmitRequest](), Response: doc[wire.Estimate](), serve: (*Server).estimate},
	}
}

func (s *Server) estimate(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}
	out, err := s.cfg.Runs.Estimate(c.r.Context(), c.by, in)
	if out.Modules == nil {
		out.Modules = []wire.ModuleEstimate{}
	}
	if out.CriticalPath == nil {
		out.CriticalPath = []string{}
	}
	return okOr(s, c, out, err)
}
