package api

import (
	"context"
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
	// UpdateSchedule takes a pipeline and its files anew for a schedule, on the node that
	// was asked. The schedule keeps the values of its variables. The same key again
	// changes nothing.
	UpdateSchedule(ctx context.Context, by Subject, key, name string, in wire.SubmitRequest) (wire.Schedule, error)
	// Schedules lists them, with the ticks of the next days; Schedule reads one:
	// leader, or with stale any node that has the state.
	Schedules(ctx context.Context, days int) (wire.ScheduleList, error)
	Schedule(ctx context.Context, name string) (wire.Schedule, error)
	// ChangeSchedule pauses, resumes or removes a schedule: leader.
	ChangeSchedule(ctx context.Context, by Subject, name string, change ScheduleChange) (wire.Schedule, error)
	// TriggerSchedule creates a run of a schedule now: leader. The same key again
	// gives the same run.
	TriggerSchedule(ctx context.Context, by Subject, key, name string, in wire.TriggerRequest) (wire.RunCreated, error)
	// BackfillSchedule begins to make runs for ticks of the past: leader. The same key
	// again changes nothing.
	BackfillSchedule(ctx context.Context, by Subject, key, name string, in wire.BackfillRequest) (wire.Schedule, error)
}

// ScheduleChange is a change of a schedule.
type ScheduleChange string

// The changes of schedules.
const (
	SchedulePause  ScheduleChange = "pause"
	ScheduleResume ScheduleChange = "resume"
	ScheduleRemove ScheduleChange = "remove"
	// ScheduleBackfillStop stops its backfill.
	ScheduleBackfillStop ScheduleChange = "stop its backfill"
)

// maxDays bounds the days whose ticks are listed.
const maxDays = 31

type schedulesHandler struct{ schedules Schedules }

// routes are the calls about schedules.
func (h *schedulesHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/schedules", Role: RoleSubmit, Shared: true,
			Summary: "register a pipeline for its schedule, or replace it",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.Schedule](), serve: h.register},
		{Method: "GET", Pattern: "/api/v1/schedules", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the schedules that are registered",
			Query:   []string{"days", "stale"}, Response: doc[wire.ScheduleList](), serve: h.list},
		{Method: "GET", Pattern: "/api/v1/schedules/{name}", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "one schedule with its last ticks",
			Query:   []string{"stale"}, Response: doc[wire.Schedule](), serve: h.get},
		{Method: "PUT", Pattern: "/api/v1/schedules/{name}", Role: RoleSubmit, Shared: true,
			Summary: "take the pipeline and files of a schedule anew",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.Schedule](), serve: h.update},
		{Method: "DELETE", Pattern: "/api/v1/schedules/{name}", Role: RoleSubmit, Shared: true,
			Summary:  "remove a schedule; its runs stay",
			Response: doc[wire.Success](), serve: h.remove},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/pause", Role: RoleSubmit, Shared: true,
			Summary:  "pause a schedule",
			Response: doc[wire.Schedule](), serve: h.pause},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/resume", Role: RoleSubmit, Shared: true,
			Summary:  "resume a paused schedule",
			Response: doc[wire.Schedule](), serve: h.resume},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/trigger", Role: RoleSubmit,
			Summary: "create a run of a schedule now",
			Body:    OptionalBody, Request: doc[wire.TriggerRequest](),
			Response: doc[wire.RunCreated](), serve: h.trigger},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/backfill", Role: RoleSubmit, Shared: true,
			Summary: "create runs of a schedule for its ticks in an interval of the past",
			Body:    JSONBody, Request: doc[wire.BackfillRequest](),
			Response: doc[wire.Schedule](), serve: h.backfill},
		{Method: "DELETE", Pattern: "/api/v1/schedules/{name}/backfill", Role: RoleSubmit, Shared: true,
			Summary:  "stop the backfill of a schedule; its runs continue",
			Response: doc[wire.Schedule](), serve: h.stopBackfill},
	}
}

func (c *call) scheduleName() (string, error) {
	name := c.r.PathValue("name")
	if !pipeline.ValidName(name) {
		return "", pipeline.Errorf(pipeline.NotFound, "schedule %.80q: there is none", name)
	}

	return name, nil
}

func (h *schedulesHandler) register(c *call) error {
	in, err := c.submission()
	if err != nil {
		return err
	}

	out, err := h.schedules.RegisterSchedule(c.r.Context(), c.by, c.key, in)
	if err != nil {
		return err
	}
	return c.created("/api/v1/schedules/"+url.PathEscape(out.Name), out)
}

func (h *schedulesHandler) update(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}

	in, err := c.submission()
	if err != nil {
		return err
	}
	return c.reply(h.schedules.UpdateSchedule(c.r.Context(), c.by, c.key, name, in))
}

func (h *schedulesHandler) list(c *call) error {
	days, err := count(c.r.URL.Query(), "days", 0)
	if err != nil {
		return err
	}
	if days > maxDays {
		return invalid("days: expected 0 to %d", maxDays)
	}
	out, err := h.schedules.Schedules(c.r.Context(), int(days))
	if out.Schedules == nil {
		out.Schedules = []wire.Schedule{}
	}
	return c.reply(out, err)
}

func (h *schedulesHandler) get(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}

	out, err := h.schedules.Schedule(c.r.Context(), name)
	return c.reply(out, err)
}

func (h *schedulesHandler) pause(c *call) error  { return c.reply(h.change(c, SchedulePause)) }
func (h *schedulesHandler) resume(c *call) error { return c.reply(h.change(c, ScheduleResume)) }

func (h *schedulesHandler) backfill(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}

	in, err := document[wire.BackfillRequest](c)
	if err != nil {
		return err
	}
	return c.reply(h.schedules.BackfillSchedule(c.r.Context(), c.by, c.key, name, in))
}

func (h *schedulesHandler) stopBackfill(c *call) error {
	return c.reply(h.change(c, ScheduleBackfillStop))
}

func (h *schedulesHandler) remove(c *call) error {
	_, err := h.change(c, ScheduleRemove)
	return c.done(err)
}

func (h *schedulesHandler) change(c *call, change ScheduleChange) (out wire.Schedule, err error) {
	name, err := c.scheduleName()
	if err != nil {
		return out, err
	}

	return h.schedules.ChangeSchedule(c.r.Context(), c.by, name, change)
}

func (h *schedulesHandler) trigger(c *call) error {
	name, err := c.scheduleName()
	if err != nil {
		return err
	}

	in, err := document[wire.TriggerRequest](c)
	if err != nil {
		return err
	}

	out, err := h.schedules.TriggerSchedule(c.r.Context(), c.by, c.key, name, in)
	if err != nil {
		return err
	}
	return c.created(runAddress(out.ID), out)
}
