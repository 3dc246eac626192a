package node

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// RegisterSchedule checks a pipeline, sees to the copies of its workspace and
// commits its schedule. The runs are made of what is stored here.
func (b *backend) RegisterSchedule(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.Schedule, error) {
	n := b.node()
	if in.Cache != "" {
		return wire.Schedule{}, pipeline.Errorf(pipeline.Invalid, "whether recorded results are taken (%.40q) is said of one run, not of a schedule", in.Cache)
	}
	// Without a run's id: what names it is evaluated in each run.
	def, err := n.compile(ctx, by, "", in)
	if err != nil {
		return wire.Schedule{}, err
	}
	if def.Schedule == nil {
		return wire.Schedule{}, pipeline.Errorf(pipeline.Invalid, `pipeline %s has no schedule: write schedule { cron = "…" } in it`, def.Name)
	}
	holders, err := n.secureWorkspace(ctx, in.Workspace)
	if err != nil {
		return wire.Schedule{}, err
	}
	if def, err = n.sealDefinition(def); err != nil {
		return wire.Schedule{}, err
	}
	raw, err := fsm.EncodeDefinition(def)
	if err != nil {
		return wire.Schedule{}, err
	}
	if key == "" {
		key = uuid.NewString()
	}
	rec := fsm.ScheduleRecord{Schedule: *def.Schedule, Registration: key, Modules: len(def.Modules), Workspace: in.Workspace, Holders: holders, Submitter: by.Name}
	if x := def.Concurrency; x != nil {
		rec.Group, rec.Cancels = x.Group, x.CancelInProgress
	}
	res, err := n.proposeSchedule(ctx, &fsm.Command{Schedule: &fsm.ScheduleChange{Name: def.Name, Do: fsm.ScheduleRegister, Record: rec, Definition: raw}})
	if pipeline.KindOf(err) == pipeline.TooLarge {
		return wire.Schedule{}, pipeline.Errorf(pipeline.TooLarge, "the pipeline is too large: packed it has %d bytes, and %d fit", len(raw), fsm.MaxCommandBytes)
	}
	return res, err
}

// proposeSchedule commits a change of a schedule and gives what it is then.
func (n *Node) proposeSchedule(ctx context.Context, c *fsm.Command) (wire.Schedule, error) {
	c.At = time.Now().UTC()
	res, err := n.state.Propose(ctx, c)
	if err != nil || res.Schedule == nil {
		return wire.Schedule{}, err
	}
	return scheduleOf(nil, res.Schedule), nil
}

// scheduleOf gives a schedule with its ticks; with a view, with the states of
// their runs.
func scheduleOf(v *fsm.View, rec *fsm.ScheduleRecord) wire.Schedule {
	s := rec.Schedule
	out := wire.Schedule{Name: rec.Name, Cron: s.Cron, Timezone: s.Timezone, Overlap: s.Overlap, CatchUp: s.CatchUp, Paused: rec.Paused,
		Fired: rec.Fired, Skipped: rec.Skipped, Group: rec.Group, ModuleCount: rec.Modules, Workspace: rec.Workspace, Submitter: rec.Submitter,
		RegisteredAt: rec.RegisteredAt.UTC()}
	if !rec.Paused {
		next := rec.Next
		if next.IsZero() { // the leader is about to find out
			if cal, err := calendar.Parse(s.Cron, s.Timezone); err == nil {
				next = cal.Next(time.Now())
			}
		}
		out.Next = timeOf(next)
	}
	for _, t := range slices.Backward(rec.Ticks) {
		tick := wire.Tick{Tick: t.Tick.UTC(), At: t.At.UTC(), Run: t.Run, Skipped: t.Skipped, Count: t.Count}
		if v != nil && t.Run != "" {
			if r, ok := v.Run(t.Run); ok {
				tick.State = r.State
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

// Schedules lists the schedules that are registered.
func (b *backend) Schedules(context.Context) (wire.ScheduleList, error) {
	out := wire.ScheduleList{Schedules: []wire.Schedule{}}
	err := b.store.View(func(v *fsm.View) error {
		for _, rec := range v.Schedules() {
			if k := len(rec.Ticks); k > 1 {
				rec.Ticks = rec.Ticks[k-1:]
			}
			s := scheduleOf(v, &rec)
			s.Ticks = nil
			out.Schedules = append(out.Schedules, s)
		}
		return nil
	})
	return out, err
}

// Schedule gives one schedule.
func (b *backend) Schedule(_ context.Context, name string) (out wire.Schedule, err error) {
	err = b.store.View(func(v *fsm.View) error {
		rec, ok := v.Schedule(name)
		if !ok {
			return noSchedule(v, name)
		}
		out = scheduleOf(v, &rec)
		return nil
	})
	return out, err
}

// noSchedule is the error of a name that no schedule has.
func noSchedule(v *fsm.View, name string) error {
	recs := v.Schedules()
	names := make([]string, len(recs))
	for i := range recs {
		names[i] = recs[i].Name
	}
	if near := pipeline.Nearest(name, names); near != "" {
		return pipeline.Errorf(pipeline.NotFound, "no schedule %q is registered: did you mean %q?", name, near)
	}
	return pipeline.Errorf(pipeline.NotFound, "no schedule %q is registered", name)
}

// nameNearest adds the name that comes nearest, where a change found no schedule.
func (b *backend) nameNearest(err error, name string) error {
	if pipeline.KindOf(err) == pipeline.NotFound {
		_ = b.store.View(func(v *fsm.View) error { // keeps err where it fails
			err = noSchedule(v, name)
			return nil
		})
	}
	return err
}

// ChangeSchedule pauses, resumes or removes a schedule.
func (b *backend) ChangeSchedule(ctx context.Context, _ api.Subject, name string, change api.ScheduleChange) (wire.Schedule, error) {
	do := map[api.ScheduleChange]fsm.ScheduleDo{api.SchedulePause: fsm.SchedulePause, api.ScheduleResume: fsm.ScheduleResume,
		api.ScheduleRemove: fsm.ScheduleRemove}[change]
	out, err := b.node().proposeSchedule(ctx, &fsm.Command{Schedule: &fsm.ScheduleChange{Name: name, Do: do}})
	return out, b.nameNearest(err, name)
}

// TriggerSchedule makes a run of a schedule now. The same key makes the same run.
func (b *backend) TriggerSchedule(ctx context.Context, by api.Subject, key, name string) (wire.RunCreated, error) {
	who := by.Name
	if who == "" {
		who = "a user"
	}
	res, err := b.node().state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Fire: &fsm.Fire{Schedule: name, Run: newRunID(), By: who, Key: key}})
	if err != nil {
		return wire.RunCreated{}, b.nameNearest(err, name)
	}
	return wire.RunCreated{ID: res.Run.ID, Number: res.Run.Number, Repeated: res.Repeated}, nil
}
