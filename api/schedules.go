package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Schedules is what the API needs of a node for schedules.
type Schedules interface {
	// RegisterSchedule registers or replaces a schedule, on the node that was
	// asked. The same key again changes nothing. A *SourceError is an invalid
	// pipeline.
	RegisterSchedule(ctx context.Context, by Subject, key string, in wire.SubmitRequest) (wire.Schedule, error)
	// Schedules lists them, Schedule reads one: leader, or with stale any node
	// that has the state.
	Schedules(ctx context.Context) (wire.ScheduleList, error)
	Schedule(ctx context.Context, name string) (wire.Schedule, error)
	// ChangeSchedule pauses, resumes or removes a schedule: leader.
	ChangeSchedule(ctx context.Context, by Subject, name string, change ScheduleChange) (wire.Schedule, error)
	// TriggerSchedule creates a run of a schedule now: leader. The same key again
	// gives the same run.
	TriggerSchedule(ctx context.Context, by Subject, key, name string) (wire.RunCreated, error)
}

func scheduleRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/schedules", Summary: "register a pipeline for its schedule, or replace it", Role: RoleSubmit, Body: JSONBody, MaxBody: maxRunDoc,
			Request: doc[wire.SubmitRequest](), Response: doc[wire.Schedule](), serve: (*Server).registerSchedule},
		{Method: "GET", Pattern: "/api/v1/schedules", Summary: "the schedules that are registered", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"stale"}, Response: doc[wire.ScheduleList](), serve: (*Server).schedules},
		{Method: "GET", Pattern: "/api/v1/schedules/{name}", Summary: "one schedule with its last ticks", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"stale"}, Response: doc[wire.Schedule](), serve: (*Server).schedule},
		{Method: "DELETE", Pattern: "/api/v1/schedules/{name}", Summary: "remove a schedule; its runs stay", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.Success](), serve: (*Server).removeSchedule},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/pause", Summary: "let a schedule make no runs", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.Schedule](), serve: changeSchedule(SchedulePause)},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/resume", Summary: "let a paused schedule make runs again", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.Schedule](), serve: changeSchedule(ScheduleResume)},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/trigger", Summary: "make a run of a schedule now", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.RunCreated](), serve: (*Server).triggerSchedule},
	}
}

// ScheduleChange is what is done to a schedule.
type ScheduleChange string

// The changes of schedules.
const (
	SchedulePause  ScheduleChange = "pause"
	ScheduleResume ScheduleChange = "resume"
	ScheduleRemove ScheduleChange = "remove"
)

func (c *call) scheduleName() (string, error) {
	name := c.r.PathValue("name")
	if !pipeline.ValidName(name) {
		return "", pipeline.Errorf(pipeline.NotFound, "schedule %.80q: there is none", name)
	}
	return name, nil
}

func (s *Server) registerSchedule(c *call) error {
	in, err := document[wire.SubmitRequest](c)
	if err != nil {
		return err
	}
	if in.Workspace != "" {
		if in.Workspace, err = digest(string(in.Workspace)); err != nil {
			return err
		}
	}
	out, err := s.cfg.Schedules.RegisterSchedule(c.r.Context(), c.by, c.key, in)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/api/v1/schedules/"+url.PathEscape(out.Name))
	s.writeJSON(c, http.StatusCreated, "application/json", out)
	return nil
}

func (s *Server) schedules(c *call) error {
	out, err := s.cfg.Schedules.Schedules(c.r.Context())
	if out.Schedules == nil {
		out.Schedules = []wire.Schedule{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) schedule(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}
	out, err := s.cfg.Schedules.Schedule(c.r.Context(), name)
	return okOr(s, c, out, err)
}

func (s *Server) removeSchedule(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}
	if _, err := s.cfg.Schedules.ChangeSchedule(c.r.Context(), c.by, name, ScheduleRemove); err != nil {
		return err
	}
	return s.ok(c, wire.Success{Success: true})
}

func changeSchedule(change ScheduleChange) func(*Server, *call) error {
	return func(s *Server, c *call) error {
		name, err := c.scheduleName()
		if err != nil {
			return err
		}
		out, err := s.cfg.Schedules.ChangeSchedule(c.r.Context(), c.by, name, change)
		return okOr(s, c, out, err)
	}
}

func (s *Server) triggerSchedule(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}
	out, err := s.cfg.Schedules.TriggerSchedule(c.r.Context(), c.by, c.key, name)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/api/v1/runs/"+url.PathEscape(string(out.ID)))
	s.writeJSON(c, http.StatusCreated, "application/json", out)
	return nil
}
