package fsm

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// ScheduleChange registers, pauses, resumes or removes a schedule. Repeating one
// changes nothing.
type ScheduleChange struct {
	Name string     `cbor:"1,keyasint"`
	Do   ScheduleDo `cbor:"2,keyasint"`
	// Record is the whole schedule and Definition its pipeline, as
	// EncodeDefinition makes it, if it is registered.
	Record     ScheduleRecord `cbor:"3,keyasint,omitempty"`
	Definition []byte         `cbor:"4,keyasint,omitempty"`
	// Source is what the definition was compiled from, as its proposer reads it.
	Source []byte `cbor:"6,keyasint,omitempty"`
	// Backfill is the one that begins.
	Backfill *Backfill `cbor:"5,keyasint,omitempty"`
}

// ScheduleDo says what a ScheduleChange does.
type ScheduleDo uint8

// The operations on schedules.
const (
	ScheduleRegister ScheduleDo = iota + 1
	SchedulePause
	ScheduleResume
	ScheduleRemove
	ScheduleBackfill
	ScheduleBackfillStop
)

// ScheduleRecord is a schedule that is registered.
type ScheduleRecord struct {
	// Name is that of its pipeline.
	Name     string            `cbor:"1,keyasint"`
	Schedule pipeline.Schedule `cbor:"2,keyasint"`
	// Registration is an id of the registration; the same one again is a repeat.
	Registration string `cbor:"3,keyasint,omitempty"`
	// Revision is the index of the entry that registered or resumed it. Ticks are
	// decided for a revision.
	Revision uint64 `cbor:"4,keyasint"`
	// What its runs are made of. Workspace is kept for as long as the schedule is
	// there, as the workspaces of runs are; Holders had its blobs.
	Modules   int               `cbor:"5,keyasint"`
	Workspace pipeline.Digest   `cbor:"6,keyasint,omitempty"`
	Holders   []pipeline.NodeID `cbor:"7,keyasint,omitempty"`
	Submitter string            `cbor:"8,keyasint,omitempty"`
	// Group and Cancels are Run's.
	Group        string    `cbor:"9,keyasint,omitempty"`
	Cancels      bool      `cbor:"10,keyasint,omitempty"`
	RegisteredAt time.Time `cbor:"11,keyasint"`
	// Paused schedules decide nothing; ticks missed while paused are skipped.
	Paused bool `cbor:"12,keyasint,omitempty"`
	// Next is the tick that is decided next. Zero: the leader finds out which.
	Next time.Time `cbor:"13,keyasint,omitempty"`
	// Last is the newest tick that was decided, Ticks the last decisions, at most
	// maxTicks, oldest first.
	Last  time.Time    `cbor:"14,keyasint,omitempty"`
	Ticks []TickRecord `cbor:"15,keyasint,omitempty"`
	// Fired and Skipped count ticks since the name was first registered.
	Fired   uint64 `cbor:"16,keyasint,omitempty"`
	Skipped uint64 `cbor:"17,keyasint,omitempty"`
	// Git is Run's.
	Git pipeline.Git `cbor:"18,keyasint,omitzero"`
	// Backfill is the last one of the schedule; nil if it had none.
	Backfill *Backfill `cbor:"19,keyasint,omitempty"`
	// Variables are the values of its variables as users see them, but for those of
	// Sensitive.
	Variables map[string]string `cbor:"20,keyasint,omitempty"`
	Sensitive []string          `cbor:"21,keyasint,omitempty"`
	// Notify is Run's.
	Notify []pipeline.NotifyTarget `cbor:"22,keyasint,omitempty"`
}

// maxTicks bounds the decisions that a schedule remembers.
const maxTicks = 32

// TickRecord is what became of a tick, or, if several were skipped together,
// of the last of them.
type TickRecord struct {
	Tick time.Time `cbor:"1,keyasint"`
	At   time.Time `cbor:"2,keyasint"`
	// Run is the run that was made; "" if it was skipped, and Skipped says why.
	Run     pipeline.RunID `cbor:"3,keyasint,omitempty"`
	Skipped string         `cbor:"4,keyasint,omitempty"`
	// Count is how many ticks were skipped; 0 for one that was not.
	Count uint64 `cbor:"5,keyasint,omitempty"`
}

// Fire decides ticks of a schedule: it makes a run for one, or skips some, and
// sets the next one, all in this entry. It is refused unless Revision and Due are
// what the schedule has, so that each tick is decided once.
type Fire struct {
	Schedule string    `cbor:"1,keyasint"`
	Revision uint64    `cbor:"2,keyasint,omitempty"`
	Due      time.Time `cbor:"3,keyasint,omitempty"`
	// Tick is the newest tick that is decided; zero if there is none and only
	// Next is set.
	Tick time.Time `cbor:"4,keyasint,omitempty"`
	Next time.Time `cbor:"5,keyasint,omitempty"`
	// Run is the id of the run; "" skips Count ticks, for the reason in Skip.
	Run   pipeline.RunID `cbor:"6,keyasint,omitempty"`
	Skip  string         `cbor:"7,keyasint,omitempty"`
	Count uint64         `cbor:"8,keyasint,omitempty"`
	// Missed marks a tick that is caught up with: its run waits for earlier ones
	// if overlapping runs are otherwise skipped.
	Missed bool `cbor:"9,keyasint,omitempty"`
	// By triggers a run by hand: whose it is. Tick is that of the run then, and
	// Revision, Due and Next say nothing.
	By string `cbor:"10,keyasint,omitempty"`
	// Key is the idempotency key of what was triggered by hand.
	Key string `cbor:"11,keyasint,omitempty"`
	// Definition is that of a run which is triggered with other variables, Modules, Group,
	// Cancels and Notify what it says; nil is the schedule's. It is refused unless Revision is the
	// schedule's. Untrusted is Run's.
	Definition []byte                  `cbor:"14,keyasint,omitempty"`
	Modules    int                     `cbor:"15,keyasint,omitempty"`
	Group      string                  `cbor:"16,keyasint,omitempty"`
	Cancels    bool                    `cbor:"17,keyasint,omitempty"`
	Untrusted  bool                    `cbor:"18,keyasint,omitempty"`
	Notify     []pipeline.NotifyTarget `cbor:"19,keyasint,omitempty"`
	// Backfill decides a tick of the schedule's backfill of this id instead: Run is made
	// for Tick, "" if none is left, and Had ticks before it had a run. Due and Next are
	// those of the backfill; Revision says nothing.
	Backfill string `cbor:"12,keyasint,omitempty"`
	Had      int    `cbor:"13,keyasint,omitempty"`
}

// FireResult answers Fire with the schedule as it is now. Run has no id if
// none was made.
type FireResult struct {
	Schedule ScheduleRecord
	Run      pipeline.Run
	// Repeated is set if the run was there before.
	Repeated bool
	Err      error
}

// schedules holds the registered schedules and decides their ticks.
type schedules struct {
	*writer
	runs     *runTable
	queues   *queues
	registry *registry
	hooks    *hooks
}

func (s *schedules) schedule(name string) *ScheduleRecord {
	b := s.tx.Bucket(bSchedules).Get([]byte(name))
	if b == nil {
		return nil
	}
	rec := new(ScheduleRecord)
	mustUnmarshal(b, rec)
	return rec
}

func noSchedule(name string) error {
	return pipeline.Errorf(pipeline.NotFound, "no schedule %.80q is registered", name)
}

func (s *schedules) applySchedule(c *Command, ch *change) FireResult {
	op := c.Schedule
	if !pipeline.ValidName(op.Name) {
		return FireResult{Err: pipeline.Errorf(pipeline.Invalid, "schedule %.80q: expected the name of a pipeline", op.Name)}
	}

	old := s.schedule(op.Name)
	if old == nil && op.Do != ScheduleRegister {
		return FireResult{Err: noSchedule(op.Name)}
	}

	var rec ScheduleRecord
	switch op.Do {
	case ScheduleRegister:
		if old != nil && old.Registration != "" && old.Registration == op.Record.Registration {
			return FireResult{Schedule: *old}
		}
		if why := badGroup(op.Record.Group); why != "" {
			return FireResult{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
		}
		if err := s.hooks.accepts(op.Record.Notify, op.Name); err != nil {
			return FireResult{Err: err}
		}

		rec = s.registered(op, old, c.At)
		s.putRaw(bScheduleDefs, []byte(op.Name), op.Definition)
		s.putRaw(bScheduleSources, []byte(op.Name), op.Source)
	case SchedulePause:
		rec = *old
		rec.Paused, rec.Next = true, time.Time{}
	case ScheduleResume:
		rec = *old
		if rec.Paused {
			rec.Paused, rec.Next, rec.Revision = false, time.Time{}, s.index
		}
	case ScheduleBackfill, ScheduleBackfillStop:
		rec = *old
		if err := s.backfill(op, &rec, c); err != nil {
			return FireResult{Schedule: *old, Err: err}
		}
	case ScheduleRemove:
		s.del(bSchedules, []byte(op.Name))
		s.del(bScheduleDefs, []byte(op.Name))
		s.del(bScheduleSources, []byte(op.Name))
		s.happened(pipeline.Event{Type: pipeline.EventScheduleRemoved, Subject: op.Name, Actor: c.By})
		ch.Schedules = true
		return FireResult{Schedule: *old}
	default:
		return FireResult{Err: pipeline.Errorf(pipeline.Invalid, "a change of a schedule that this version does not know")}
	}

	s.put(bSchedules, []byte(op.Name), rec)
	ch.Schedules = true
	s.changed(op, old, c.By)

	return FireResult{Schedule: rec}
}

// changed notes what a change of a schedule made happen; pausing one that is paused
// makes nothing happen.
func (s *schedules) changed(op *ScheduleChange, old *ScheduleRecord, by string) {
	e := pipeline.Event{Subject: op.Name, Actor: by}
	switch {
	case op.Do == ScheduleRegister:
		e.Type, e.Actor = pipeline.EventScheduleRegistered, cmp.Or(by, op.Record.Submitter)
	case op.Do == SchedulePause && !old.Paused:
		e.Type = pipeline.EventSchedulePaused
	case op.Do == ScheduleResume && old.Paused:
		e.Type = pipeline.EventScheduleResumed
	default:
		return
	}
	s.happened(e)
}

// registered returns the record of a registration. If it replaces another, it
// keeps the outcomes of its ticks, whether it is paused, and, if the times are
// the same, the next tick.
func (s *schedules) registered(op *ScheduleChange, old *ScheduleRecord, at time.Time) ScheduleRecord {
	rec := op.Record
	rec.Name, rec.Revision, rec.RegisteredAt = op.Name, s.index, at
	rec.Paused, rec.Next, rec.Last, rec.Ticks, rec.Fired, rec.Skipped = false, time.Time{}, time.Time{}, nil, 0, 0
	rec.Backfill = nil
	if old == nil {
		return rec
	}
	rec.Paused, rec.Last, rec.Ticks, rec.Fired, rec.Skipped = old.Paused, old.Last, old.Ticks, old.Fired, old.Skipped
	rec.Backfill = old.Backfill
	switch {
	case old.Schedule.Timezone == rec.Schedule.Timezone && strings.Join(old.Schedule.Cron, "\n") == strings.Join(rec.Schedule.Cron, "\n"):
		rec.Next = old.Next
	case old.Backfill.Active():
		s.stopBackfill(&rec, "the schedule was registered with other times", at)
	}
	return rec
}

func (s *schedules) applyFire(c *Command, ch *change) FireResult {
	f := c.Fire
	rec := s.schedule(f.Schedule)
	switch {
	case rec == nil:
		return FireResult{Err: noSchedule(f.Schedule)}
	case f.By != "":
		return s.trigger(c, rec, ch)
	case f.Backfill != "":
		return s.fill(c, rec, ch)
	case rec.Paused || f.Revision != rec.Revision || !f.Due.Equal(rec.Next):
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Conflict, "what was due was decided before")}
	case f.Next.IsZero() || !f.Next.After(f.Tick):
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Invalid, "the next tick is not after the last")}
	}

	var made pipeline.Run
	if !f.Tick.IsZero() {
		t := TickRecord{Tick: f.Tick, At: c.At, Run: f.Run, Skipped: f.Skip, Count: f.Count}
		if f.Run != "" {
			t.Skipped, t.Count = "", 0
			if busy := s.queues.first(queueOfSchedule, rec.Name); busy != "" && rec.Schedule.Overlap == pipeline.OverlapSkip && !f.Missed {
				t.Run, t.Skipped, t.Count = "", fmt.Sprintf("run %s had not finished", busy), 1
			} else {
				r := rec.run(f.Run, rec.Submitter)
				r.Tick, r.Queued = f.Tick, r.Queued || f.Missed && rec.Schedule.Overlap == pipeline.OverlapSkip
				if err := s.scheduledRun(&r, c, ch); err != nil {
					return FireResult{Schedule: *rec, Err: err}
				}
				made = r
				rec.Fired++
			}
		}

		if t.Count > 0 {
			s.happened(pipeline.Event{Type: pipeline.EventScheduleSkipped, Subject: rec.Name, Reason: t.Skipped, Count: int(min(t.Count, 1<<31-1))})
		}
		rec.Skipped += t.Count
		rec.Last = f.Tick

		if rec.Ticks = append(rec.Ticks, t); len(rec.Ticks) > maxTicks {
			rec.Ticks = rec.Ticks[len(rec.Ticks)-maxTicks:]
		}
	}

	rec.Next = f.Next
	s.put(bSchedules, []byte(rec.Name), rec)
	ch.Schedules = true

	return FireResult{Schedule: *rec, Run: made}
}

// run returns a run of a schedule.
func (rec *ScheduleRecord) run(id pipeline.RunID, submitter string) pipeline.Run {
	return pipeline.Run{ID: id, Pipeline: rec.Name, Modules: rec.Modules, Workspace: rec.Workspace, Holders: rec.Holders, Submitter: submitter,
		Schedule: rec.Name, Zone: rec.Schedule.Timezone, Queued: rec.Schedule.Overlap == pipeline.OverlapQueue, Group: rec.Group, Cancels: rec.Cancels, Git: rec.Git, Notify: rec.Notify}
}

func (s *schedules) scheduledRun(r *pipeline.Run, c *Command, ch *change) error {
	if why := badSubmit(r); why != "" {
		return pipeline.Errorf(pipeline.Invalid, "%s", why)
	}
	if s.runs.run(r.ID) != nil {
		return pipeline.Errorf(pipeline.Conflict, "run %s exists", r.ID)
	}
	if err := s.registry.use(c.Use); err != nil {
		return err
	}
	definition := c.Fire.Definition
	if definition == nil {
		definition = append([]byte(nil), s.tx.Bucket(bScheduleDefs).Get([]byte(r.Schedule))...)
	}
	s.queues.start(r, definition, c.At, ch)
	return nil
}

// Schedules lists the schedules that are registered, by name.
func (v *View) Schedules() []ScheduleRecord {
	var out []ScheduleRecord
	_ = eachRecord(v.tx.Bucket(bSchedules), func(rec ScheduleRecord) { out = append(out, rec) }) // the callback never fails
	return out
}

// ScheduleSource is what a schedule was registered with, as its proposer gave it.
func (v *View) ScheduleSource(name string) []byte {
	return append([]byte(nil), v.tx.Bucket(bScheduleSources).Get([]byte(name))...)
}

// Schedule finds a schedule by its name.
func (v *View) Schedule(name string) (ScheduleRecord, bool) {
	var rec ScheduleRecord
	return rec, v.get(bSchedules, []byte(name), &rec)
}
