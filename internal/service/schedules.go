package service

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// SchedulesConfig says what Schedules is made of. All fields are needed.
type SchedulesConfig struct {
	State      *state.State
	Compiler   *Compiler
	Vault      *Vault
	Workspaces Workspaces
}

// Schedules registers, reads and changes schedules. It implements api.Schedules.
type Schedules struct {
	state      *state.State
	compiler   *Compiler
	vault      *Vault
	workspaces Workspaces
}

// NewSchedules makes a Schedules.
func NewSchedules(cfg SchedulesConfig) *Schedules {
	return &Schedules{state: cfg.State, compiler: cfg.Compiler, vault: cfg.Vault, workspaces: cfg.Workspaces}
}

// RegisterSchedule compiles a pipeline, makes sure that its workspace has two
// copies and commits its schedule. All runs of the schedule are made of what is
// stored here.
func (s *Schedules) RegisterSchedule(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	return s.register(ctx, by, key, "", in)
}

// UpdateSchedule registers a pipeline and its files anew, with the values of variables and
// the selection of modules that its schedule has.
func (s *Schedules) UpdateSchedule(ctx context.Context, by api.Subject, key, name string, in wire.SubmitRequest) (wire.Schedule, error) {
	_, old, err := s.registered(name)
	if err != nil {
		return wire.Schedule{}, err
	}

	in.Variables, in.Targets, in.Tags, in.Skip = old.Variables, old.Targets, old.Tags, old.Skip
	env := maps.Clone(in.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, old.Env) // what env_from took then
	in.Env = env
	return s.register(ctx, by, key, name, in)
}

// register registers a pipeline for its schedule; it must have a name, unless that is "".
func (s *Schedules) register(ctx context.Context, by api.Subject, key, name string, in wire.SubmitRequest) (wire.Schedule, error) {
	if in.Cache != "" {
		return wire.Schedule{}, pipeline.Errorf(pipeline.Invalid, "cache %.40q: the use of cached results is chosen for a run, not for a schedule", in.Cache)
	}
	def, err := s.compiler.compile(ctx, by, "", in)
	if err != nil {
		return wire.Schedule{}, err
	}
	if name != "" && def.Name != name {
		return wire.Schedule{}, pipeline.Errorf(pipeline.Invalid, "the file has pipeline %s, and the schedule is of %s: register it with pipelined submit -register", def.Name, name)
	}
	if def.Schedule == nil {
		return wire.Schedule{}, pipeline.Errorf(pipeline.Invalid, `pipeline %s has no schedule: write schedule { cron = "…" } in it`, def.Name)
	}
	holders, err := s.workspaces.Secure(ctx, in.Workspace)
	if err != nil {
		return wire.Schedule{}, err
	}
	raw, err := s.vault.encodeDefinition(def)
	if err != nil {
		return wire.Schedule{}, err
	}

	source, err := s.vault.sealSource(def.Name, &in)
	if err != nil {
		return wire.Schedule{}, err
	}

	if key == "" {
		key = uuid.NewString()
	}
	rec := fsm.ScheduleRecord{Schedule: *def.Schedule, Registration: key, Modules: len(def.Modules), Workspace: in.Workspace, Holders: holders, Submitter: by.Name, Git: gitOf(&in),
		Variables: variablesOf(&def.Scope), Sensitive: def.Scope.Sensitive, Notify: def.NotifyTargets()}
	rec.Group, rec.Cancels = groupOf(def)
	out, err := s.propose(ctx, by, &fsm.ScheduleChange{Name: def.Name, Do: fsm.ScheduleRegister, Record: rec, Definition: raw, Source: source})
	if err != nil {
		return wire.Schedule{}, tooLarge(err, len(raw)+len(source))
	}
	return out, nil
}

// propose commits a change of a schedule and gives what the schedule then is;
// the zero value if it was removed.
func (s *Schedules) propose(ctx context.Context, by api.Subject, change *fsm.ScheduleChange) (wire.Schedule, error) {
	reply, err := s.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Schedule: change})
	if err != nil || reply.Schedule == nil {
		return wire.Schedule{}, err
	}
	return scheduleOf(nil, reply.Schedule), nil
}

// scheduleOf gives a schedule with its ticks and, with a view, the states of
// their runs.
func scheduleOf(v *fsm.View, rec *fsm.ScheduleRecord) wire.Schedule {
	rule := rec.Schedule
	out := wire.Schedule{Name: rec.Name, Cron: rule.Cron, Timezone: rule.Timezone, Overlap: rule.Overlap, CatchUp: rule.CatchUp, Paused: rec.Paused,
		Fired: rec.Fired, Skipped: rec.Skipped, Group: rec.Group, ModuleCount: rec.Modules, Workspace: rec.Workspace, Submitter: rec.Submitter,
		RegisteredAt: rec.RegisteredAt.UTC(), Backfill: backfillOf(v, rec), Variables: rec.Variables, Sensitive: rec.Sensitive}
	if rec.Git != (pipeline.Git{}) {
		out.Git = &rec.Git
	}
	if !rec.Paused {
		out.Next = wire.TimeOf(NextTick(rec))
	}

	for _, t := range slices.Backward(rec.Ticks) {
		tick := wire.Tick{Tick: t.Tick.UTC(), At: t.At.UTC(), Run: t.Run, Skipped: t.Skipped, Count: t.Count}
		if v != nil && t.Run != "" {
			if run, ok := v.Run(t.Run); ok {
				tick.State, tick.StartedAt = run.State, wire.TimeOf(run.StartedAt)
			}
		}
		out.Ticks = append(out.Ticks, tick)
	}
	if len(out.Ticks) > 0 {
		last := out.Ticks[0]
		out.Last = &last
	}
	return out
}

// NextTick is the next due time of a schedule. The leader records it a moment
// after the registration; until then it is computed here.
func NextTick(rec *fsm.ScheduleRecord) time.Time {
	if !rec.Next.IsZero() {
		return rec.Next
	}
	cal, err := calendar.Parse(rec.Schedule.Cron, rec.Schedule.Timezone)
	if err != nil {
		return time.Time{}
	}
	return cal.Next(time.Now())
}

// upcoming are the ticks of a schedule within a time, and the last one of them if there
// are more.
func upcoming(rec *fsm.ScheduleRecord, within time.Duration) ([]time.Time, *time.Time) {
	cal, err := calendar.Parse(rec.Schedule.Cron, rec.Schedule.Timezone)
	if err != nil || rec.Paused {
		return nil, nil
	}
	now := time.Now()
	var out []time.Time
	for at := cal.Next(now); !at.IsZero() && at.Sub(now) < within; at = cal.Next(at) {
		if len(out) == wire.MaxUpcoming {
			return out, &out[len(out)-1]
		}
		out = append(out, at.UTC())
	}
	return out, nil
}

// Schedules lists the schedules, each with its last tick and those of the next days.
func (s *Schedules) Schedules(_ context.Context, days int) (wire.ScheduleList, error) {
	out := wire.ScheduleList{Schedules: []wire.Schedule{}}
	err := s.state.View(func(v *fsm.View) error {
		for _, rec := range v.Schedules() {
			if n := len(rec.Ticks); n > 1 {
				rec.Ticks = rec.Ticks[n-1:]
			}
			item := scheduleOf(v, &rec)
			item.Ticks = nil
			if days > 0 {
				item.Upcoming, item.UpcomingUntil = upcoming(&rec, time.Duration(days)*24*time.Hour)
			}
			out.Schedules = append(out.Schedules, item)
		}
		return nil
	})
	return out, err
}

// record reads the record of a schedule.
func (s *Schedules) record(name string) (rec fsm.ScheduleRecord, err error) {
	err = s.state.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Schedule(name); !ok {
			return noSchedule(v, name)
		}
		return nil
	})
	return rec, err
}

// Schedule reads one schedule.
func (s *Schedules) Schedule(_ context.Context, name string) (wire.Schedule, error) {
	var out wire.Schedule
	err := s.state.View(func(v *fsm.View) error {
		rec, ok := v.Schedule(name)
		if !ok {
			return noSchedule(v, name)
		}
		out = scheduleOf(v, &rec)
		return nil
	})
	return out, err
}

// noSchedule is the error for a name that no schedule has.
func noSchedule(v *fsm.View, name string) error {
	recs := v.Schedules()
	names := make([]string, len(recs))
	for i := range recs {
		names[i] = recs[i].Name
	}
	if nearest := pipeline.Nearest(name, names); nearest != "" {
		return pipeline.Errorf(pipeline.NotFound, "no schedule %q is registered: did you mean %q?", name, nearest)
	}
	return pipeline.Errorf(pipeline.NotFound, "no schedule %q is registered: pipelined schedules ls lists those that are", name)
}

// withNearest adds the nearest name to the error of a change that found no
// schedule.
func (s *Schedules) withNearest(err error, name string) error {
	if pipeline.KindOf(err) == pipeline.NotFound {
		_ = s.state.View(func(v *fsm.View) error { // if it is closed, err stays as it is
			err = noSchedule(v, name)
			return nil
		})
	}
	return err
}

// ChangeSchedule pauses, resumes or removes a schedule, or stops its backfill.
func (s *Schedules) ChangeSchedule(ctx context.Context, by api.Subject, name string, change api.ScheduleChange) (wire.Schedule, error) {
	do := map[api.ScheduleChange]fsm.ScheduleDo{api.SchedulePause: fsm.SchedulePause, api.ScheduleResume: fsm.ScheduleResume,
		api.ScheduleRemove: fsm.ScheduleRemove, api.ScheduleBackfillStop: fsm.ScheduleBackfillStop}[change]
	out, err := s.propose(ctx, by, &fsm.ScheduleChange{Name: name, Do: do})
	return out, s.withNearest(err, name)
}

// TriggerSchedule makes a run of a schedule now. The same key makes the same
// run.
func (s *Schedules) TriggerSchedule(ctx context.Context, by api.Subject, key, name string, in wire.TriggerRequest) (wire.RunCreated, error) {
	f := &fsm.Fire{Schedule: name, Run: NewRunID(), Tick: time.Now().UTC().Truncate(time.Second), By: nameOf(by), Key: key}
	if in.Tick != "" {
		rec, err := s.record(name)
		if err != nil {
			return wire.RunCreated{}, err
		}
		if f.Tick, err = calendar.Time(in.Tick, rec.Schedule.Timezone); err != nil {
			return wire.RunCreated{}, pipeline.Errorf(pipeline.Invalid, "tick: %w", err)
		}
	}
	if len(in.Variables) > 0 {
		if err := s.withVariables(ctx, f, in.Variables); err != nil {
			return wire.RunCreated{}, err
		}
		// Its submitter chose what it does.
		f.Untrusted = by.Untrusted
	}

	reply, err := s.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Use: by.Use, Fire: f})
	if err != nil {
		return wire.RunCreated{}, s.withNearest(err, name)
	}
	return wire.RunCreated{ID: reply.Run.ID, Number: reply.Run.Number, Repeated: reply.Repeated}, nil
}

// withVariables compiles the pipeline of a schedule with other values, for one run.
func (s *Schedules) withVariables(ctx context.Context, f *fsm.Fire, variables map[string]string) error {
	rec, in, err := s.registered(f.Schedule)
	if err != nil {
		return err
	}

	all := maps.Clone(in.Variables)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, variables)
	in.Variables = all

	def, err := s.compiler.compile(ctx, api.Subject{Name: rec.Submitter}, "", in)
	if err != nil {
		return err
	}
	f.Revision, f.Modules, f.Notify = rec.Revision, len(def.Modules), def.NotifyTargets()
	f.Group, f.Cancels = groupOf(def)
	f.Definition, err = s.vault.encodeDefinition(def)
	return err
}
