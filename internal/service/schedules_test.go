package service_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
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

	made, err := r.schedules.TriggerSchedule(t.Context(), sam, "key", "nightly", wire.TriggerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.schedules.TriggerSchedule(t.Context(), sam, "key", "nightly", wire.TriggerRequest{})
	if err != nil || again.ID != made.ID || !again.Repeated {
		t.Errorf("the same key again: %+v, %v", again, err)
	}
	if run := r.read(made.ID); run.Schedule != "nightly" || run.Trigger != pipeline.TriggerManual || run.Tick == nil || time.Since(*run.Tick) > time.Hour {
		t.Errorf("got %+v", run.RunSummary)
	}

	if _, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", api.ScheduleRemove); err != nil {
		t.Fatal(err)
	}
	list, err := r.schedules.Schedules(t.Context(), 0)
	if err != nil || list.Schedules == nil || len(list.Schedules) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// A trigger takes the time that its run is for, by the clock of the schedule's zone.
func TestSchedules_TriggerSchedule_tick(t *testing.T) {
	r := newRig(t)
	source := strings.Replace(nightly, `cron = "@yearly"`, "\ncron = \"@yearly\"\ntimezone = \"Europe/Berlin\"\noverlap = \"allow\"\n", 1)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: source}); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"2026-11-30T02:00:00Z": "2026-11-30T03:00:00+01:00", "2026-11-30T03:00": "2026-11-30T03:00:00+01:00", "2026-07-01": "2026-07-01T00:00:00+02:00",
	} {
		made, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "nightly", wire.TriggerRequest{Tick: given})
		if err != nil {
			t.Fatal(err)
		}
		if run := r.read(made.ID); run.Tick == nil || run.Tick.Format(time.RFC3339) != want {
			t.Errorf("%s: the tick is %v, want %s", given, run.Tick, want)
		}
	}
	_, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "nightly", wire.TriggerRequest{Tick: "yesterday"})
	wantKind(t, err, pipeline.Invalid, `tick: "yesterday" is no time`)
	_, err = r.schedules.TriggerSchedule(t.Context(), sam, "", "nigthly", wire.TriggerRequest{Tick: "2026-07-01"})
	wantKind(t, err, pipeline.NotFound, `did you mean "nightly"?`)
}

// The ticks of the next days are listed if they are asked for, and not if the schedule
// is paused.
func TestSchedules_upcoming(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: strings.Replace(nightly, "@yearly", "@daily", 1)}); err != nil {
		t.Fatal(err)
	}
	ticks := func(days int) []time.Time {
		list, err := r.schedules.Schedules(t.Context(), days)
		if err != nil || len(list.Schedules) != 1 {
			t.Fatalf("got %+v, %v", list, err)
		}
		return list.Schedules[0].Upcoming
	}
	week := ticks(7)
	if len(week) < 6 || len(week) > 8 || !slices.IsSortedFunc(week, time.Time.Compare) || time.Until(week[0]) < 0 || time.Until(week[len(week)-1]) > 7*24*time.Hour {
		t.Errorf("a week has %v", week)
	}
	if none := ticks(0); none != nil {
		t.Errorf("not asked for: %v", none)
	}
	if _, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", api.SchedulePause); err != nil {
		t.Fatal(err)
	}
	if none := ticks(7); none != nil {
		t.Errorf("paused: %v", none)
	}
}

// A list that is cut says where it ends, and one that is not does not.
func TestSchedules_upcomingUntil(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: strings.Replace(nightly, "@yearly", "*/2 * * * *", 1)}); err != nil {
		t.Fatal(err)
	}
	for days, cut := range map[int]bool{0: false, 7: true} {
		list, err := r.schedules.Schedules(t.Context(), days)
		if err != nil {
			t.Fatal(err)
		}
		s := list.Schedules[0]
		if got := s.UpcomingUntil != nil; got != cut || cut && (len(s.Upcoming) != wire.MaxUpcoming || !s.UpcomingUntil.Equal(s.Upcoming[len(s.Upcoming)-1])) {
			t.Errorf("%d days: %d ticks, until %v", days, len(s.Upcoming), s.UpcomingUntil)
		}
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
		"trigger": func() error {
			_, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "nigthly", wire.TriggerRequest{})
			return err
		},
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

// What the runs of a schedule are made of is stored with it, after its workspace
// was secured.
func TestSchedules_RegisterSchedule(t *testing.T) {
	r := newRig(t)
	in := source("  schedule { cron = \"0 3 * * *\" }\n  concurrency { group = \"deploy\" }\n" + chain)
	in.Workspace = blob.DigestOf([]byte("files"))
	got, err := r.schedules.RegisterSchedule(t.Context(), sam, "key", in)
	if err != nil || got.ModuleCount != 4 || got.Group != "deploy" || got.Workspace != in.Workspace || got.Submitter != "sam" ||
		!slices.Equal(got.Cron, []string{"0 3 * * *"}) || got.Timezone != "UTC" || got.Overlap != "skip" || got.RegisteredAt.IsZero() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if !got.Next.After(time.Now()) || got.Next.Hour() != 3 {
		t.Errorf("the next tick is %v", got.Next)
	}
	if !slices.Equal(r.workspaces.asked, []pipeline.Digest{in.Workspace}) {
		t.Errorf("secured %v", r.workspaces.asked)
	}

	made, err := r.schedules.TriggerSchedule(t.Context(), api.Subject{}, "", "p", wire.TriggerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	run := r.read(made.ID)
	if run.Workspace != in.Workspace || run.Group != "deploy" || len(run.Modules) != 4 || run.Tick == nil || run.Submitter != "a user" {
		t.Errorf("got %+v", run.RunSummary)
	}
}

// The same registration again changes nothing; another one replaces the pipeline,
// and the schedule stays paused.
func TestSchedules_RegisterSchedule_again(t *testing.T) {
	r := newRig(t)
	const cron = "  schedule { cron = \"@yearly\" }\n"
	register := func(key, blocks string) wire.Schedule {
		t.Helper()
		got, err := r.schedules.RegisterSchedule(t.Context(), sam, key, source(cron+blocks))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}

	register("one", single)
	if _, err := r.schedules.ChangeSchedule(t.Context(), sam, "p", api.SchedulePause); err != nil {
		t.Fatal(err)
	}
	if got := register("one", chain); got.ModuleCount != 1 || !got.Paused {
		t.Errorf("the same key: %+v", got)
	}
	if got := register("two", chain); got.ModuleCount != 4 || !got.Paused || got.Next != nil {
		t.Errorf("another key: %+v", got)
	}
	if got := register("", single); got.ModuleCount != 1 {
		t.Errorf("no key: %+v", got)
	}
}

func TestSchedules_RegisterSchedule_mistakes(t *testing.T) {
	r := newRig(t)
	var mistakes *api.SourceError
	_, err := r.schedules.RegisterSchedule(t.Context(), sam, "", source("  schedule { cron = \"every day\" }\n  module \"a\" { comand = 1 }"))
	if !errors.As(err, &mistakes) || len(mistakes.Diagnostics) < 2 {
		t.Errorf("got %v, want each mistake", err)
	}
	_, err = r.schedules.RegisterSchedule(t.Context(), sam, "", source("  schedule { cron = \"@daily\" }\n  module \"a\" {\n command = [\"true\"]\n secrets = [\"KEY\"]\n }"))
	wantError(t, "a secret that is not set", err, pipeline.Invalid, "KEY")

	r.workspaces.fail = pipeline.Errorf(pipeline.Unavailable, "no second node took the workspace")
	_, err = r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly})
	wantError(t, "the workspace", err, pipeline.Unavailable)
	if n := r.leader.commits.Load(); n != 0 {
		t.Errorf("%d entries of the log after refusals", n)
	}
}

// Ticks are shown newest first with the states of their runs; a list shows the
// last only.
func TestSchedules_Schedule_ticks(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}
	var rec fsm.ScheduleRecord
	r.view(func(v *fsm.View) { rec, _ = v.Schedule("nightly") })
	first, second, third := service.NewRunID(), service.NewRunID(), at.AddDate(2, 0, 0)
	r.apply(&fsm.Command{Fire: &fsm.Fire{Schedule: "nightly", Revision: rec.Revision, Tick: at, Next: at.AddDate(1, 0, 0), Run: first}})
	r.apply(&fsm.Command{Fire: &fsm.Fire{Schedule: "nightly", Revision: rec.Revision, Due: at.AddDate(1, 0, 0), Tick: at.AddDate(1, 0, 0),
		Next: third, Run: second}})

	got, err := r.schedules.Schedule(t.Context(), "nightly")
	if err != nil || len(got.Ticks) != 2 || got.Fired != 1 || got.Skipped != 1 || !got.Next.Equal(third) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if tick := got.Ticks[0]; !tick.Tick.Equal(at.AddDate(1, 0, 0)) || tick.Run != "" || tick.Skipped == "" || tick.Count != 1 || *got.Last != tick {
		t.Errorf("the newest tick %+v, last %+v", tick, got.Last)
	}
	if tick := got.Ticks[1]; tick.Run != first || tick.State != pipeline.RunWaiting || tick.Skipped != "" {
		t.Errorf("the first tick %+v", tick)
	}

	list, err := r.schedules.Schedules(t.Context(), 0)
	if err != nil || len(list.Schedules) != 1 || list.Schedules[0].Ticks != nil || *list.Schedules[0].Last != got.Ticks[0] {
		t.Errorf("list %+v, %v", list, err)
	}

	// Its run stands in the way of the next one, by hand too.
	_, err = r.schedules.TriggerSchedule(t.Context(), sam, "", "nightly", wire.TriggerRequest{})
	wantError(t, "trigger", err, pipeline.Conflict, string(first), "has not finished")
}

// A paused schedule can be triggered by hand, and has no next tick.
func TestSchedules_TriggerSchedule_paused(t *testing.T) {
	r := newRig(t)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again changes nothing
		if got, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", api.SchedulePause); err != nil || !got.Paused || got.Next != nil {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if made, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "nightly", wire.TriggerRequest{}); err != nil || made.Repeated || made.Number != 1 {
		t.Errorf("got %+v, %v", made, err)
	}
}

func TestSchedules_ChangeSchedule_refuses(t *testing.T) {
	r := newRig(t)
	for what, change := range map[string]api.ScheduleChange{"pause": api.SchedulePause, "resume": api.ScheduleResume, "remove": api.ScheduleRemove} {
		_, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", change)
		wantError(t, what, err, pipeline.NotFound, `no schedule "nightly" is registered: pipelined schedules ls lists those that are`)
	}
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}
	_, err := r.schedules.ChangeSchedule(t.Context(), sam, "nightly", "forget")
	wantError(t, "an unknown change", err, pipeline.Invalid)
	_, err = r.schedules.ChangeSchedule(t.Context(), sam, "../x", api.SchedulePause)
	wantError(t, "no name", err, pipeline.Invalid, "expected the name of a pipeline")
}
