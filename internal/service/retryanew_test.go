package service_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// release is a pipeline whose modules use different variables.
const release = `  on_failure = "continue"
  env_from   = ["COLOR", "GH_TOKEN"]
  variable "level" { default = "1" }
  variable "count" {
    type    = number
    default = 1
  }
  variable "oses" { default = ["linux", "mac"] }
  variable "tag" {}
  variable "password" {
    sensitive = true
    default   = "none"
  }
  module "build" { script = "make" }
  module "test" {
    depends_on = [module.build]
    script     = "test ${var.level}"
    timeout    = "${var.count}m"
  }
  module "each" {
    matrix = { os = var.oses }
    script = "echo ${matrix.os}"
  }
  module "push" {
    depends_on = [module.test]
    script     = "push ${var.tag} ${module.build.result.v}"
  }
  module "login" { script = "login ${var.password}" }
  module "number" { script = "echo ${run.number}" }
  module "color" { script = "echo $COLOR" }`

// released is a finished run of release whose module push failed.
func released(r *rig, change func(*wire.SubmitRequest)) pipeline.RunID {
	r.tb.Helper()
	in := source(release)
	in.Variables = map[string]string{"tag": "1.0"}
	in.Env = map[string]string{"COLOR": "red", "OTHER": "x"}
	in.Workspace = blobs[0]
	if change != nil {
		change(&in)
	}
	made, err := r.runs.Submit(r.tb.Context(), sam, "", in)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.succeed(made.ID, "build", "test", "each[linux]", "each[mac]", "login", "number", "color")
	r.fail(made.ID, "push")
	r.endRun(made.ID, pipeline.RunFailed)
	return made.ID
}

var blobs = []pipeline.Digest{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}

// A run is retried with other values as a new run: modules whose work stays the same,
// and all of whose dependencies are taken over, have the results of the old one.
func TestRuns_Retry_variables(t *testing.T) {
	always := []string{"push", "number"} // it failed, and each run has its own number
	for what, tc := range map[string]struct {
		variables map[string]string
		from      []string
		want      []string
	}{
		"a deferred value":      {map[string]string{"tag": "1.1"}, nil, always},
		"the same value":        {map[string]string{"tag": "1.0"}, nil, always},
		"a value of a script":   {map[string]string{"level": "2"}, nil, append(always, "test")},
		"only a timeout":        {map[string]string{"count": "2"}, nil, always},
		"another matrix":        {map[string]string{"oses": `["linux", "bsd"]`}, nil, append(always, "each[bsd]")},
		"a sensitive value":     {map[string]string{"password": "x"}, nil, append(always, "login")},
		"with a module by name": {map[string]string{"tag": "1.1"}, []string{"color"}, append(always, "color")},
	} {
		r := newRig(t)
		old := released(r, nil)
		got, err := r.runs.Retry(t.Context(), sam, old, wire.RetryRequest{Variables: tc.variables, From: tc.from})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		again := waiting(r, got.ID)
		slices.Sort(again)
		want := slices.Sorted(slices.Values(tc.want))
		if !slices.Equal(again, want) {
			t.Errorf("%s: %v run again, want %v", what, again, want)
		}
		if got.ID == old || got.Number != 2 || got.State != pipeline.RunWaiting || got.ModulesDone != got.ModuleCount-len(want) || got.ModulesCached != got.ModulesDone {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// The two runs name each other, and the new one has the files, the selection, the
// environment and the trust of the old one.
func TestRuns_Retry_variablesLinks(t *testing.T) {
	r := newRig(t)
	old := released(r, func(in *wire.SubmitRequest) { in.Skip = []string{"color"}; in.Git = &pipeline.Git{SHA: "abc"} })
	untrusted := sam
	untrusted.Name, untrusted.Untrusted = "ann", true
	made, err := r.runs.Retry(t.Context(), untrusted, old, wire.RetryRequest{Variables: map[string]string{"tag": "1.1", "password": "pass-word"}})
	if err != nil {
		t.Fatal(err)
	}

	now, was := r.read(made.ID), r.read(old)
	if got, want := now.RetryFacts(), []string{"retry of run 1 with password = (sensitive), tag = 1.1"}; !slices.Equal(got, want) {
		t.Errorf("the new run: %q", got)
	}
	if got, want := was.RetryFacts(), []string{"retried with other variables as run 2"}; !slices.Equal(got, want) {
		t.Errorf("the old run: %q", got)
	}
	if now.Workspace != blobs[0] || now.Submitter != "ann" || now.Git == nil || now.Git.SHA != "abc" || now.Variables["tag"] != "1.1" || now.Variables["level"] != "1" {
		t.Errorf("the new run: %+v", now)
	}
	var run pipeline.Run
	var def *pipeline.Pipeline
	r.view(func(v *fsm.View) { run, _ = v.Run(made.ID); def, _ = v.Definition(made.ID) })
	if m := def.Module("color"); m.Skip == "" || def.Module("build").Env["COLOR"] != "red" || !run.Untrusted || len(run.Holders) != 2 {
		t.Errorf("color %+v, run %+v", m, run)
	}
	if text := def.Given.Variables; !maps.Equal(text, map[string]string{"tag": "1.1"}) || !slices.Equal(def.Given.Sensitive, []string{"password"}) || len(def.Given.Env) != 1 {
		t.Errorf("given: %+v", def.Given)
	}
	if m := r.record(made.ID, "build"); m.State != pipeline.ModuleCached || m.Attempts[0].From.Run != old || m.Reason != "result of run 1, which this one retries" {
		t.Errorf("record of build: %+v", m)
	}
	if why, err := r.runs.Why(t.Context(), made.ID, "build"); err != nil || !slices.Equal(why.Because, now.RetryFacts()) ||
		!strings.HasPrefix(why.Module[0].Because[1], "taken over: attempt 1 of build in run "+string(old)+" did the same work, in ") {
		t.Errorf("why: %+v, %v", why, err)
	}

	// What is untrusted stays so, and what was taken over is taken over again.
	r.succeed(made.ID, "push", "number", "login")
	r.endRun(made.ID, pipeline.RunSucceeded)
	third, err := r.runs.Retry(t.Context(), sam, made.ID, wire.RetryRequest{Variables: map[string]string{"tag": "1.2", "password": "pass-word"}})
	if err != nil {
		t.Fatal(err)
	}
	r.view(func(v *fsm.View) { run, _ = v.Run(third.ID) })
	if m := r.record(third.ID, "build"); !run.Untrusted || m.Attempts[0].From.Run != old {
		t.Errorf("the third: %+v, build %+v", run, m)
	}
	if again := waiting(r, third.ID); !slices.Equal(again, []string{"push", "number"}) {
		t.Errorf("the third: %v run again", again)
	}
}

// The retry of a run of a schedule has its tick, and does not belong to the schedule.
func TestRuns_Retry_variablesSchedule(t *testing.T) {
	r := newRig(t)
	in := source(`  schedule { cron = "0 3 * * *" }
  variable "day" { default = "mon" }
  module "fetch" { script = "echo ${run.tick}" }
  module "load" {
    depends_on = [module.fetch]
    script     = "echo ${var.day}"
  }`)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", in); err != nil {
		t.Fatal(err)
	}
	old, err := r.schedules.TriggerSchedule(t.Context(), sam, "", "p", wire.TriggerRequest{Tick: "2026-11-29T03:00:00Z"})
	if err != nil {
		t.Fatal(err)
	}
	r.succeed(old.ID, "fetch")
	r.fail(old.ID, "load")
	r.endRun(old.ID, pipeline.RunFailed)
	made, err := r.runs.Retry(t.Context(), sam, old.ID, wire.RetryRequest{Variables: map[string]string{"day": "tue"}})
	if err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, made.ID); !slices.Equal(again, []string{"load"}) {
		t.Errorf("%v run again", again)
	}
	if made.Schedule != "" || made.Tick == nil || made.Tick.Format(time.RFC3339) != "2026-11-29T03:00:00Z" {
		t.Errorf("%+v", made)
	}
}

// One request makes one run, also after the old run was resumed.
func TestRuns_Retry_variablesSameRequest(t *testing.T) {
	r := newRig(t)
	old := released(r, nil)
	in := wire.RetryRequest{Variables: map[string]string{"tag": "1.1"}, Request: "one"}
	first, err := r.runs.Retry(t.Context(), sam, old, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.runs.Retry(t.Context(), sam, old, wire.RetryRequest{}); err != nil {
		t.Fatal(err)
	}
	again, err := r.runs.Retry(t.Context(), sam, old, in)
	if err != nil || again.ID != first.ID {
		t.Errorf("got %+v, %v; want %s", again, err, first.ID)
	}
	in.Request = "two"
	_, err = r.runs.Retry(t.Context(), sam, old, in)
	wantError(t, "while the old run is active", err, pipeline.Conflict, "has not finished")
}

func TestRuns_Retry_variablesRefused(t *testing.T) {
	r := newRig(t)
	old := released(r, func(in *wire.SubmitRequest) {
		in.Variables["password"], in.Env["GH_TOKEN"] = "hunter22", "ghp_0123456789"
	})
	retry := func(run pipeline.RunID, from []string, variables, env map[string]string) error {
		_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: from, Variables: variables, Env: env})
		return err
	}
	tag, token := map[string]string{"tag": "2", "password": "p"}, map[string]string{"GH_TOKEN": "ghp_0"}

	wantError(t, "no sensitive value", retry(old, nil, map[string]string{"tag": "2"}, token), pipeline.Invalid, "sensitive variables are not taken over", "password")
	wantError(t, "no credential", retry(old, nil, tag, nil), pipeline.Invalid, "set GH_TOKEN in the environment again")
	wantError(t, "another variable of the environment", retry(old, nil, tag, map[string]string{"GH_TOKEN": "ghp_0", "PATH": "/bin"}), pipeline.Invalid, `env "PATH"`)
	wantError(t, "an unknown module", retry(old, []string{"buidl"}, tag, token), pipeline.NotFound, `did you mean "build"?`)
	wantError(t, "no run", retry("none", nil, tag, token), pipeline.NotFound, "no run none")
	for what, variables := range map[string]map[string]string{
		`unknown variable "tga"`: {"tga": "2", "password": "p"},
		"count":                  {"count": "many", "password": "p"},
	} {
		var mistakes *api.SourceError
		if err := retry(old, nil, variables, token); !errors.As(err, &mistakes) {
			t.Errorf("%s: %v", what, err)
		} else {
			wantError(t, what, err, pipeline.Invalid, what)
		}
	}

	r.workspaces.fail = pipeline.Errorf(pipeline.Invalid, "not in the cluster")
	wantError(t, "no files", retry(old, nil, tag, token), pipeline.Conflict, "no longer kept")
	r.workspaces.fail = nil
	if err := retry(old, nil, tag, token); err != nil {
		t.Error(err)
	}

	r.apply(&fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{old}}})
	wantError(t, "deleted files", retry(old, nil, tag, token), pipeline.Conflict, "workspace and artifacts are no longer kept")

	unchanged := failedChain(r)
	r.apply(&fsm.Command{Forget: &fsm.Forget{Runs: []pipeline.RunID{unchanged}}})
	wantError(t, "a deleted run", retry(unchanged, nil, tag, nil), pipeline.NotFound, "no run")
}

// A retry that would run nothing is refused.
func TestRuns_Retry_variablesNothing(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  variable "x" { default = "1" }
  module "a" { command = ["true"] }`)
	r.succeed(run, "a")
	r.endRun(run, pipeline.RunSucceeded)
	_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
	wantError(t, "nothing", err, pipeline.Conflict, "has nothing to retry")
}

// Commands of notifications are about the new run: they run in it, and are no reason to
// make it.
func TestRuns_Retry_variablesNotify(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  variable "x" { default = "1" }
  module "a" { command = ["echo", var.x] }
  notify "n" {
    on      = ["start", "success"]
    command = ["echo", run.id]
  }`)
	r.succeed(run, "a", "notify[n,start]", "notify[n]")
	r.endRun(run, pipeline.RunSucceeded)
	_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "1"}})
	wantError(t, "nothing", err, pipeline.Conflict, "has nothing to retry")
	made, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, made.ID); !slices.Equal(again, []string{"a", "notify[n,start]", "notify[n]"}) {
		t.Errorf("%v run again", again)
	}
}

// Approvals before what runs again are asked for again, and others stay.
func TestRuns_Retry_variablesApproval(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  variable "x" { default = "1" }
  module "ok" {
    approval { message = "sure?" }
  }
  module "other" {
    approval { message = "sure?" }
  }
  module "a" {
    depends_on = [module.ok]
    command    = ["echo", var.x]
  }
  module "b" {
    depends_on = [module.other]
    command    = ["true"]
  }`)
	for _, name := range []string{"ok", "other"} {
		r.apply(&fsm.Command{Batch: &fsm.Batch{Awaits: []fsm.Await{{Run: run, Module: name, Message: "sure?"}}}})
		if _, err := r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: name, Decision: pipeline.Approved}); err != nil {
			t.Fatal(err)
		}
	}
	r.succeed(run, "a", "b")
	r.endRun(run, pipeline.RunSucceeded)
	made, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, made.ID); !slices.Equal(again, []string{"ok", "a"}) || made.Approvals != 0 {
		t.Errorf("%v run again; %+v", again, made)
	}
}

// A block that became instances stays expanded, and those of its instances run again
// that failed.
func TestRuns_Retry_variablesInstances(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  variable "x" { default = "1" }
  module "list" { command = ["true"] }
  module "each" {
    for_each = module.list.result.v
    command  = ["true"]
  }
  module "a" { command = ["echo", var.x] }`)
	r.succeed(run, "list")
	r.apply(&fsm.Command{Batch: &fsm.Batch{Expands: []fsm.Expand{{Run: run, Module: "each", Instances: []pipeline.Instance{{Key: "0"}, {Key: "1"}}}}}})
	r.succeed(run, "each[0]", "a")
	r.fail(run, "each[1]")
	r.endRun(run, pipeline.RunFailed)
	made, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, made.ID); !slices.Equal(again, []string{"each[1]", "a"}) || made.ModuleCount != 4 || made.ModulesDone != 2 {
		t.Errorf("%v run again; %+v", again, made)
	}
	r.succeed(made.ID, "each[1]", "a")
	r.endRun(made.ID, pipeline.RunSucceeded)
	if got := r.read(made.ID); got.State != pipeline.RunSucceeded || got.ModulesDone != 4 {
		t.Errorf("%+v", got.RunSummary)
	}
}

// The plan of a retry names what runs again, and why, and changes nothing.
func TestRuns_PlanRetry(t *testing.T) {
	r := newRig(t)
	old := released(r, nil)
	because := func(in wire.RetryRequest) map[string]string {
		t.Helper()
		plan, err := r.runs.PlanRetry(t.Context(), sam, old, in)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, m := range plan.Modules {
			if m.Again {
				out[m.Name] = m.Because
			}
		}
		if len(plan.Modules) != 8 {
			t.Errorf("%d modules: %+v", len(plan.Modules), plan)
		}
		return out
	}

	got := because(wire.RetryRequest{Variables: map[string]string{"level": "2", "tag": "1.1"}, From: []string{"color"}})
	want := map[string]string{"test": "changed: script", "push": "changed: var.tag", "number": "changed: run.number", "color": "it is named"}
	if !maps.Equal(got, want) {
		t.Errorf("with variables: %v", got)
	}
	if got, want := because(wire.RetryRequest{}), map[string]string{"push": "it failed"}; !maps.Equal(got, want) {
		t.Errorf("without: %v", got)
	}
	if got, want := because(wire.RetryRequest{From: []string{"build"}}), map[string]string{"build": "it is named", "test": "it depends on build",
		"push": "it depends on build"}; !maps.Equal(got, want) {
		t.Errorf("from build: %v", got)
	}
	if run := r.read(old); run.State != pipeline.RunFailed || len(run.RetriedAs) > 0 {
		t.Errorf("the run: %+v", run.RunSummary)
	}
}

// A source is kept with the definition, unless it is large; the run is made in any case.
func TestRuns_Submit_keepsSource(t *testing.T) {
	retry := func(comment int) error {
		r := newRig(t)
		text := make([]byte, comment)
		for i := range text {
			text[i] = '0' + byte(i%10)
		}
		run := r.newRun("  variable \"x\" { default = \"1\" }\n  module \"a\" { command = [\"echo\", var.x] }\n# " + string(text))
		r.succeed(run, "a")
		r.endRun(run, pipeline.RunSucceeded)
		_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
		return err
	}
	if err := retry(pipeline.MaxGivenSource - 200); err != nil {
		t.Error(err)
	}
	wantError(t, "a large source", retry(pipeline.MaxGivenSource), pipeline.Conflict, "its source is not kept")
}

// The default of a sensitive variable is in no text of the state, and the run can be
// retried.
func TestRuns_Submit_sealsSource(t *testing.T) {
	r := newRig(t)
	run := r.newRun("  variable \"x\" { default = \"1\" }\n  variable \"key\" {\n    default   = \"the-key-itself\"\n    sensitive = true\n  }\n" +
		"  module \"a\" {\n    command = [\"echo\", var.x]\n    env = { KEY = var.key }\n  }")
	var def *pipeline.Pipeline
	var err error
	r.view(func(v *fsm.View) { def, err = v.Definition(run) })
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(def)
	if err != nil || strings.Contains(string(text), "the-key-itself") {
		t.Errorf("the state has %s, %v", text, err)
	}

	r.succeed(run, "a")
	r.endRun(run, pipeline.RunSucceeded)
	made, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Variables: map[string]string{"x": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	r.view(func(v *fsm.View) { def, err = v.Definition(made.ID) })
	if err != nil || len(def.Given.Sealed) == 0 || def.Given.Source != "" {
		t.Errorf("the state of the retry has %v, %v", def.Given, err)
	}
}

// A definition that needs the room is kept without its source.
func TestRuns_Submit_largeDefinition(t *testing.T) {
	r := newRig(t)
	random := rand.NewChaCha8([32]byte{1})
	in := source("  module \"a\" { command = [\"true\"] }")
	in.Variables = map[string]string{}
	for i := range 3 {
		text := make([]byte, 50<<10)
		_, _ = random.Read(text) // it never fails
		name := fmt.Sprint("v", i)
		in.Source = strings.Replace(in.Source, "\n", fmt.Sprintf("\n  variable %q {}\n", name), 1)
		in.Variables[name] = base64.StdEncoding.EncodeToString(text)
	}
	made, err := r.runs.Submit(t.Context(), sam, "", in)
	if err != nil {
		t.Fatal(err)
	}
	var def *pipeline.Pipeline
	r.view(func(v *fsm.View) { def, err = v.Definition(made.ID) })
	if err != nil || def.Given.Source != "" || def.Given.Variables["v0"] == "" {
		t.Errorf("source of %d bytes, %v", len(def.Given.Source), err)
	}
}
