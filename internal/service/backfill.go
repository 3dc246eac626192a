package service

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// BackfillSchedule begins to make runs for the ticks of a schedule in an interval of the
// past. The same key again changes nothing.
func (s *Schedules) BackfillSchedule(ctx context.Context, by api.Subject, key, name string, in wire.BackfillRequest) (wire.Schedule, error) {
	rec, err := s.record(name)
	if err != nil {
		return wire.Schedule{}, err
	}
	b, err := newBackfill(&rec, &in, time.Now())
	if err != nil {
		return wire.Schedule{}, err
	}

	if b.ID = key; key == "" {
		b.ID = uuid.NewString()
	}
	by.Name = nameOf(by)
	out, err := s.propose(ctx, by, &fsm.ScheduleChange{Name: name, Do: fsm.ScheduleBackfill, Backfill: b})
	return out, s.withNearest(err, name)
}

// newBackfill checks a request for a backfill. Ticks that are not due yet are the
// schedule's own.
func newBackfill(rec *fsm.ScheduleRecord, in *wire.BackfillRequest, now time.Time) (*fsm.Backfill, error) {
	zone := rec.Schedule.Timezone
	b := &fsm.Backfill{To: now.UTC().Truncate(time.Second), Parallel: max(in.MaxParallel, 1), Again: in.Again}

	var err error
	if b.From, err = calendar.Time(in.From, zone); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "from: %w", err)
	}
	if in.To != "" {
		to, err := calendar.EndOf(in.To, zone)
		if err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "to: %w", err)
		}
		if to.Before(b.To) {
			b.To = to
		}
	}

	shown := func(t time.Time) string { return calendar.Text(t, zone) }
	switch {
	case in.MaxParallel < 0 || in.MaxParallel > pipeline.MaxBackfillParallel:
		return nil, pipeline.Errorf(pipeline.Invalid, "max parallel %d: expected 1 to %d", in.MaxParallel, pipeline.MaxBackfillParallel)
	case b.To.Before(b.From):
		return nil, pipeline.Errorf(pipeline.Invalid, "the interval ends at %s, before it begins at %s", shown(b.To), shown(b.From))
	}

	cal, err := calendar.Parse(rec.Schedule.Cron, zone)
	if err != nil {
		return nil, err
	}
	for at := cal.Next(b.From.Add(-time.Second)); !at.IsZero() && !at.After(b.To); at = cal.Next(at) {
		if b.Total++; b.Total == 1 {
			b.Next = at
		}
		if b.Total > pipeline.MaxBackfillTicks {
			return nil, pipeline.Errorf(pipeline.Invalid, "schedule %s has more than %d ticks from %s to %s: choose a shorter interval",
				rec.Name, pipeline.MaxBackfillTicks, shown(b.From), shown(b.To))
		}
	}
	if b.Total == 0 {
		return nil, pipeline.Errorf(pipeline.Invalid, "schedule %s has no tick from %s to %s", rec.Name, shown(b.From), shown(b.To))
	}
	return b, nil
}

// nameOf is what a caller is called who has begun something.
func nameOf(by api.Subject) string {
	if by.Name == "" {
		return "a user"
	}
	return by.Name
}

// backfillOf is the last backfill of a schedule; nil if it had none. Without a view its
// runs that are under way are not counted.
func backfillOf(v *fsm.View, rec *fsm.ScheduleRecord) *wire.Backfill {
	b := rec.Backfill
	if b == nil {
		return nil
	}
	out := &wire.Backfill{From: calendar.In(b.From, rec.Schedule.Timezone), To: calendar.In(b.To, rec.Schedule.Timezone), Ticks: b.Total,
		MaxParallel: b.Parallel, Again: b.Again, By: b.By, StartedAt: b.At.UTC(), Runs: b.Made, HadRuns: b.Had, Succeeded: b.Succeeded, Failed: b.Failed,
		FinishedAt: wire.TimeOf(b.EndedAt), Stopped: b.Stopped}
	if b.Active() && !b.Next.After(b.To) {
		next := calendar.In(b.Next, rec.Schedule.Timezone)
		out.Next = &next
	}
	if v != nil {
		out.Running = v.BackfillLive(rec.Name)
	}
	return out
}
