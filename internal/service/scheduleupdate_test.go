package service_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const withVariables = `pipeline "v" {
  variable "day" {
    type    = number
    default = 1
  }
  variable "password" { sensitive = true }
  schedule {
    cron    = "@yearly"
    overlap = "allow"
  }
  concurrency { group = "day ${var.day}" }
  module "m" { command = ["echo", var.day] }
}`

func TestSchedules_variables(t *testing.T) {
	r := newRig(t)
	in := wire.SubmitRequest{Source: withVariables, Variables: map[string]string{"day": "2", "password": "a secret value"}}
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", in); err != nil {
		t.Fatal(err)
	}

	s, err := r.schedules.Schedule(t.Context(), "v")
	if err != nil || !maps.Equal(s.Variables, map[string]string{"day": "2"}) || !slices.Equal(s.Sensitive, []string{"password"}) {
		t.Errorf("got %v, %v, %v", s.Variables, s.Sensitive, err)
	}
	err = r.state.View(func(v *fsm.View) error {
		if source := v.ScheduleSource("v"); len(source) == 0 || strings.Contains(string(source), "secret") {
			t.Errorf("the source is kept as %q", source)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	trigger := func(by api.Subject, variables map[string]string) (wire.RunCreated, error) {
		return r.schedules.TriggerSchedule(t.Context(), by, "", "v", wire.TriggerRequest{Variables: variables})
	}
	for value, want := range map[string]string{"": "2", "7": "7"} {
		given := map[string]string{"day": value}
		if value == "" {
			given = nil
		}
		made, err := trigger(sam, given)
		if err != nil {
			t.Fatal(err)
		}
		if def, run := r.definition(made.ID), r.read(made.ID); def.Modules[0].Command[1] != want || run.Group != "day "+want || len(def.Scope.Sealed) == 0 {
			t.Errorf("%q: got %v in group %s", value, def.Modules[0].Command, run.Group)
		}
	}

	var mistakes *api.SourceError
	for name, want := range map[string]string{"day": `variable "day": wrong type`, "dya": `unknown variable "dya"`} {
		_, err := trigger(sam, map[string]string{name: "x"})
		if !errors.As(err, &mistakes) || !strings.Contains(mistakes.Diagnostics[0].Summary, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}

	// Who may not leave anything in caches does not by choosing what a run does.
	made, err := trigger(api.Subject{Name: "fork", Untrusted: true}, map[string]string{"day": "9"})
	if err != nil {
		t.Fatal(err)
	}
	err = r.state.View(func(v *fsm.View) error {
		if run, _ := v.Run(made.ID); !run.Untrusted {
			t.Error("a run that an untrusted token chose the values of is trusted")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSchedules_UpdateSchedule(t *testing.T) {
	r := newRig(t)
	in := wire.SubmitRequest{Source: withVariables, Variables: map[string]string{"day": "2", "password": "a secret value"}, Env: map[string]string{"A": "then"}}
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", in); err != nil {
		t.Fatal(err)
	}
	if _, err := r.schedules.ChangeSchedule(t.Context(), sam, "v", api.SchedulePause); err != nil {
		t.Fatal(err)
	}

	update := func(source string) (wire.Schedule, error) {
		return r.schedules.UpdateSchedule(t.Context(), sam, "", "v", wire.SubmitRequest{Source: source, Env: map[string]string{"A": "now", "B": "now"}})
	}
	changed := strings.Replace(withVariables, `["echo", var.day]`, `["echo", "fixed", var.day]`, 1)
	s, err := update(strings.Replace(changed, "schedule {", "env_from = [\"A\", \"B\"]\n schedule {", 1))
	if err != nil || !s.Paused || s.Variables["day"] != "2" {
		t.Fatalf("got %+v, %v", s, err)
	}
	made, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "v", wire.TriggerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m := r.definition(made.ID).Modules[0]; !slices.Equal(m.Command, []string{"echo", "fixed", "2"}) || m.Env["A"] != "then" || m.Env["B"] != "now" {
		t.Errorf("got %v with %v", m.Command, m.Env)
	}

	_, err = update(strings.Replace(changed, `pipeline "v"`, `pipeline "other"`, 1))
	wantKind(t, err, pipeline.Invalid, "the file has pipeline other, and the schedule is of v")
	_, err = r.schedules.UpdateSchedule(t.Context(), sam, "", "w", wire.SubmitRequest{Source: changed})
	wantKind(t, err, pipeline.NotFound, `no schedule "w" is registered`)
	var mistakes *api.SourceError
	_, err = update(strings.Replace(changed, "pipeline", "pipline", 1))
	if !errors.As(err, &mistakes) {
		t.Errorf("a mistake of the source: got %v", err)
	}
}
