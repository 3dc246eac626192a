package service_test

import (
	"slices"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// hooked is a pipeline with hooks, a condition that is false, and two modules.
const hooked = `  hooks {
    before     = "true"
    on_success = "true"
    on_failure = "true"
    after      = "true"
  }
  module "a" { command = ["true"] }
  module "b" { command = ["true"] }
  module "never" {
    when    = false
    command = ["true"]
  }`

// hookedRun is a finished run of hooked.
func hookedRun(r *rig, success bool) pipeline.RunID {
	r.tb.Helper()
	run := r.newRun(hooked)
	r.succeed(run, "hooks[before]", "a")
	r.end(run, pipeline.ModuleSkipped, "its condition is false", "never")
	state, fires, rests := pipeline.RunSucceeded, "hooks[on_success]", "hooks[on_failure]"
	if success {
		r.succeed(run, "b")
	} else {
		r.fail(run, "b")
		state, fires, rests = pipeline.RunFailed, rests, fires
	}
	r.succeed(run, fires, "hooks[after]")
	r.end(run, pipeline.ModuleSkipped, "the run ended otherwise", rests)
	r.endRun(run, state)
	return run
}

// The hook before all modules runs again with those behind them; modules that
// succeeded do not, although they depend on it.
func TestRuns_Retry_hooks(t *testing.T) {
	for what, from := range map[string][]string{"what failed": nil, "by name": {"b"}} {
		r := newRig(t)
		run := hookedRun(r, false)
		if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: from}); err != nil {
			t.Fatal(err)
		}
		want := []string{"hooks[before]", "b", "hooks[on_success]", "hooks[on_failure]", "hooks[after]"}
		if again := waiting(r, run); !slices.Equal(again, want) {
			t.Errorf("%s: %v run again, want %v", what, again, want)
		}
	}
}

// The retry of a success runs nothing, whatever was skipped.
func TestRuns_Retry_success(t *testing.T) {
	r := newRig(t)
	run := hookedRun(r, true)
	_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{})
	wantError(t, "a success", err, pipeline.Conflict, "nothing to retry")
	if again := waiting(r, run); len(again) > 0 {
		t.Errorf("%v run again", again)
	}
}

// gated is a pipeline with an approval before modules, directly and not.
const gated = `  module "gate" {
    approval { message = "Go?" }
  }
  module "prepare" {
    depends_on = [module.gate]
    command    = ["true"]
  }
  module "deploy" {
    depends_on = [module.prepare]
    command    = ["true"]
  }
  module "other" { command = ["true"] }`

// Naming a module asks again for the approvals before it, and leaves what lies
// between alone. A retry of what failed resumes what was approved.
func TestRuns_Retry_approval(t *testing.T) {
	for _, tc := range []struct {
		from, want []string
	}{
		{[]string{"deploy"}, []string{"gate", "deploy"}},
		{[]string{"prepare"}, []string{"gate", "prepare", "deploy"}},
		{[]string{"other"}, []string{"other"}},
		{nil, []string{"deploy"}},
	} {
		r := newRig(t)
		run := r.newRun(gated)
		approve(r, run, "gate")
		r.succeed(run, "prepare", "other")
		r.fail(run, "deploy")
		r.endRun(run, pipeline.RunFailed)
		if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: tc.from}); err != nil {
			t.Fatal(err)
		}
		if again := waiting(r, run); !slices.Equal(again, tc.want) {
			t.Errorf("%v: %v run again, want %v", tc.from, again, tc.want)
		}
	}
}
