package service_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const hourly = `pipeline "hourly" {
  schedule {
    cron     = "0 * * * *"
    timezone = "Europe/Berlin"
  }
  module "m" { command = ["true"] }
}`

func TestSchedules_BackfillSchedule(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: hourly}); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		in   wire.BackfillRequest
		want string
	}{
		{wire.BackfillRequest{}, `from: "" is no time`},
		{wire.BackfillRequest{From: "2025-03-01", To: "soon"}, `to: "soon" is no time: expected 2026-11-30T03:00:00Z, or 2026-11-30T03:00 or 2026-11-30 by the clock of Europe/Berlin`},
		{wire.BackfillRequest{From: "2025-03-01", To: "2025-02-01"}, "the interval ends at 2025-02-01T23:59:59+01:00, before it begins at 2025-03-01T00:00:00+01:00"},
		{wire.BackfillRequest{From: "2126-03-01"}, "before it begins at 2126-03-01"},
		{wire.BackfillRequest{From: "2025-03-01", MaxParallel: 101}, "max parallel 101: expected 1 to 100"},
		{wire.BackfillRequest{From: "2020-03-01", To: "2025-03-01"}, "schedule hourly has more than 1000 ticks from 2020-03-01T00:00:00+01:00"},
		{wire.BackfillRequest{From: "2025-03-01T00:10", To: "2025-03-01T00:20"}, "schedule hourly has no tick from 2025-03-01T00:10:00+01:00"},
	} {
		_, err := r.schedules.BackfillSchedule(t.Context(), sam, "", "hourly", c.in)
		wantKind(t, err, pipeline.Invalid, c.want)
	}
	_, err := r.schedules.BackfillSchedule(t.Context(), sam, "", "houly", wire.BackfillRequest{From: "2025-03-01"})
	wantKind(t, err, pipeline.NotFound, `did you mean "hourly"?`)
	_, err = r.schedules.ChangeSchedule(t.Context(), sam, "hourly", api.ScheduleBackfillStop)
	wantKind(t, err, pipeline.Conflict, "no backfill under way")

	// A day on which the clock goes forward has 23 ticks.
	in := wire.BackfillRequest{From: "2025-03-30", To: "2025-03-30", MaxParallel: 4}
	s, err := r.schedules.BackfillSchedule(t.Context(), sam, "key", "hourly", in)
	if err != nil || s.Backfill == nil || s.Backfill.Ticks != 23 || s.Backfill.MaxParallel != 4 || s.Backfill.By != "sam" ||
		s.Backfill.Next.Format(time.RFC3339) != "2025-03-30T00:00:00+01:00" || s.Backfill.To.Format(time.RFC3339) != "2025-03-30T23:59:59+02:00" {
		t.Fatalf("got %+v, %v", s.Backfill, err)
	}
	if _, err = r.schedules.BackfillSchedule(t.Context(), sam, "key", "hourly", in); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	_, err = r.schedules.BackfillSchedule(t.Context(), sam, "other", "hourly", in)
	wantKind(t, err, pipeline.Conflict, "pipelined schedules backfill -cancel hourly")

	if s, err = r.schedules.ChangeSchedule(t.Context(), sam, "hourly", api.ScheduleBackfillStop); err != nil || s.Backfill.Stopped != "stopped by sam" || s.Backfill.FinishedAt == nil {
		t.Errorf("got %+v, %v", s.Backfill, err)
	}

	// What is not due yet is the schedule's own.
	s, err = r.schedules.BackfillSchedule(t.Context(), sam, "", "hourly", wire.BackfillRequest{From: time.Now().Add(-150 * time.Minute).UTC().Format(time.RFC3339), To: "2126-01-01"})
	if err != nil || s.Backfill.Ticks < 2 || s.Backfill.Ticks > 3 || s.Backfill.To.After(time.Now()) || s.Backfill.MaxParallel != 1 {
		t.Errorf("got %+v, %v", s.Backfill, err)
	}
	if got, err := r.schedules.Schedule(t.Context(), "hourly"); err != nil || got.Backfill == nil || got.Backfill.Running != 0 {
		t.Errorf("got %+v, %v", got.Backfill, err)
	}
}
