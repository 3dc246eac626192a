package service_test

import (
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const nightly = `pipeline "nightly" {
  schedule { cron = "@yearly" }
  module "m" { command = ["true"] }
}`

func TestSchedules(t *testing.T) {
	r := newRig(t)
	s, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly})
	if err != nil || s.Name != "nightly" || s.Submitter != "sam" || s.Next == nil {
		t.Fatalf("got %+v, %v", s, err)
	}
	for _, c := range []struct {
		change api.ScheduleChange
		paused bool
	}{{api.SchedulePause, true}, {api.ScheduleResume, false}} {
		if s, err = r.schedules.ChangeSchedule(t.Context(), sam, "nightly", c.change); err != nil || s.Paused != c.paused || (s.Next == nil) != c.paused {
			t.Errorf("%v: got %+v, %v", c.change, s, err)
		}
	}

	made, err := r.schedules.TriggerSchedule(t.Context(), sam, "key", "nightly")
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.schedules.TriggerSchedule(t.Context(), sam, "key", "nightly")
	if err != nil || again.ID != made.ID || !again.Repeated {
		t.Errorf("the same key again: %+v, %v", again, err)
	}
	if run := r.read(made.ID); run.Schedule != "nightly" {
		t.Errorf("got %+v", run.RunSummary)
	}

	if _, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", api.ScheduleRemove); err != nil {
		t.Fatal(err)
	}
	list, err := r.schedules.Schedules(t.Context())
	if err != nil || list.Schedules == nil || len(list.Schedules) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// A name that no schedule has comes back with the nearest one.
func TestSchedules_nearestName(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func() error{
		"show": func() error { _, err := r.schedules.Schedule(t.Context(), "nigthly"); return err },
		"pause": func() error {
			_, err := r.schedules.ChangeSchedule(t.Context(), sam, "nigthly", api.SchedulePause)
			return err
		},
		"trigger": func() error { _, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "nigthly"); return err },
	} {
		t.Run(what, func(t *testing.T) { wantKind(t, call(), pipeline.NotFound, `did you mean "nightly"?`) })
	}
}

func TestSchedules_RegisterSchedule_refuses(t *testing.T) {
	r := newRig(t)
	_, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: two})
	wantKind(t, err, pipeline.Invalid, "has no schedule")
	_, err = r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly, Cache: pipeline.CacheOff})
	wantKind(t, err, pipeline.Invalid, "cache")
}
