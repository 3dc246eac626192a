package service_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// failedChain is a finished run of chain whose module b failed.
func failedChain(r *rig) pipeline.RunID {
	r.tb.Helper()
	run := r.newRun(chain)
	r.succeed(run, "a", "alone")
	r.fail(run, "b")
	r.end(run, pipeline.ModuleSkipped, "not started because b failed", "c")
	r.endRun(run, pipeline.RunFailed)
	return run
}

// waiting lists the modules and instances of a run that wait.
func waiting(r *rig, run pipeline.RunID) []string {
	r.tb.Helper()
	got, err := r.runs.Run(r.tb.Context(), run, 0, 0, 0)
	if err != nil {
		r.tb.Fatal(err)
	}
	var names []string
	for i := range got.Modules {
		if got.Modules[i].State == pipeline.ModuleWaiting {
			names = append(names, got.Modules[i].Name)
		}
	}
	return names
}

// What did not succeed runs again; with names, those and all that depend on
// them.
func TestRuns_Retry(t *testing.T) {
	for what, tc := range map[string]struct {
		from []string
		want []string
	}{
		"what did not succeed":          {nil, []string{"b", "c"}},
		"from the first":                {[]string{"a"}, []string{"a", "b", "c"}},
		"from the last":                 {[]string{"c"}, []string{"b", "c"}}, // b failed, and c needs it
		"from one that nothing follows": {[]string{"alone"}, []string{"alone"}},
		"from two":                      {[]string{"c", "alone", "c"}, []string{"b", "c", "alone"}},
	} {
		r := newRig(t)
		run := failedChain(r)
		got, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: tc.from})
		if err != nil || got.State != pipeline.RunRunning || got.FinishedAt != nil {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		if again := waiting(r, run); !slices.Equal(again, tc.want) {
			t.Errorf("%s: %v run again, want %v", what, again, tc.want)
		}
	}
}

// Modules may stand before those that they depend on.
func TestRuns_Retry_anyOrder(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  module "z" {
    depends_on = [module.y]
    command    = ["true"]
  }
  module "y" {
    depends_on = [module.x]
    command    = ["true"]
  }
  module "x" { command = ["true"] }`)
	r.succeed(run, "x", "y", "z")
	r.endRun(run, pipeline.RunSucceeded)
	if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, run); !slices.Equal(again, []string{"z", "y", "x"}) {
		t.Errorf("%v run again, want all", again)
	}
}

// Attempts of earlier tries stay in the history of a module.
func TestRuns_Retry_history(t *testing.T) {
	r := newRig(t)
	run := failedChain(r)
	if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{}); err != nil {
		t.Fatal(err)
	}
	if rec := r.record(run, "b"); len(rec.Attempts) != 1 || rec.Tried != 1 || rec.Failures != 0 {
		t.Errorf("record %+v", rec)
	}
}

// One request retries once, even after the run has finished again.
func TestRuns_Retry_sameRequest(t *testing.T) {
	r := newRig(t)
	run := failedChain(r)
	in := wire.RetryRequest{Request: "one"}
	tries := func() (tries int) {
		r.view(func(v *fsm.View) { got, _ := v.Run(run); tries = got.Tries })
		return tries
	}

	if _, err := r.runs.Retry(t.Context(), sam, run, in); err != nil {
		t.Fatal(err)
	}
	if got, err := r.runs.Retry(t.Context(), sam, run, in); err != nil || got.ID != run || tries() != 1 {
		t.Errorf("while it runs: %+v, %v, %d tries", got, err, tries())
	}
	r.succeed(run, "b", "c")
	r.endRun(run, pipeline.RunSucceeded)
	if got, err := r.runs.Retry(t.Context(), sam, run, in); err != nil || got.State != pipeline.RunSucceeded || tries() != 1 {
		t.Errorf("after it finished: %+v, %v, %d tries", got, err, tries())
	}

	_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Request: "two"})
	wantError(t, "nothing to retry", err, pipeline.Conflict, "every module succeeded")
	if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{Request: "three", From: []string{"c"}}); err != nil || tries() != 2 {
		t.Errorf("another request: %v, %d tries", err, tries())
	}
}

func TestRuns_Retry_refused(t *testing.T) {
	r := newRig(t)
	run := failedChain(r)
	_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: []string{"a", "alnoe"}})
	wantError(t, "a name that is nearly right", err, pipeline.NotFound, `no module "alnoe"`, `did you mean "alone"?`)
	_, err = r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: []string{"zzzzzz"}})
	wantError(t, "a name like no other", err, pipeline.NotFound, `no module "zzzzzz"`)
	if again := waiting(r, run); len(again) > 0 {
		t.Errorf("%v run again after refusals", again)
	}

	_, err = r.runs.Retry(t.Context(), sam, "none", wire.RetryRequest{})
	wantError(t, "no such run", err, pipeline.NotFound, "no run none")
	open := r.newRun(single)
	_, err = r.runs.Retry(t.Context(), sam, open, wire.RetryRequest{})
	wantError(t, "a run that has not finished", err, pipeline.Conflict, "has not finished: it is waiting")

	r.apply(&fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{run}}})
	_, err = r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{})
	wantError(t, "its files are deleted", err, pipeline.Conflict, "no longer kept")
}

// What is chosen must fit the run as it is, so a node that cannot catch up
// refuses.
func TestRuns_Retry_noLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		run := failedChain(r)
		r.loseLeader()
		_, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{})
		wantError(t, "no leader", err, pipeline.Unavailable, "no leader")
	})
}

// expanded is a finished run whose module each became the instances x and y, of
// which y failed. last depends on all instances.
func expanded(r *rig) pipeline.RunID {
	r.tb.Helper()
	run := r.newRun(`  on_failure = "continue"
  module "list" { command = ["true"] }
  module "each" {
    for_each = module.list.result.names
    command  = ["echo", each.value]
  }
  module "last" {
    depends_on = [module.each]
    command    = ["true"]
  }`)
	r.succeed(run, "list")
	r.apply(&fsm.Command{Batch: &fsm.Batch{Expands: []fsm.Expand{{Run: run, Module: "each",
		Instances: []pipeline.Instance{{Key: "x", Each: map[string]string{}}, {Key: "y", Each: map[string]string{}}}}}}})
	r.succeed(run, "each[x]")
	r.fail(run, "each[y]")
	r.end(run, pipeline.ModuleSkipped, "not started because each[y] failed", "last")
	r.endRun(run, pipeline.RunFailed)
	return run
}

// Instances run again one by one; the module whose instances they are runs again
// as a whole if it is named, or if what it depends on runs again.
func TestRuns_Retry_instances(t *testing.T) {
	for what, tc := range map[string]struct {
		from []string
		want []string
	}{
		"what did not succeed":     {nil, []string{"each[y]", "last"}},
		"an instance":              {[]string{"each[x]"}, []string{"each[x]", "last"}},
		"the module":               {[]string{"each"}, []string{"each", "last"}},
		"what the module needs":    {[]string{"list"}, []string{"list", "each", "last"}},
		"the module and instances": {[]string{"each[x]", "each"}, []string{"each", "last"}},
	} {
		r := newRig(t)
		run := expanded(r)
		if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: tc.from}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if again := waiting(r, run); !slices.Equal(again, tc.want) {
			t.Errorf("%s: %v run again, want %v", what, again, tc.want)
		}
	}

	r := newRig(t)
	_, err := r.runs.Retry(t.Context(), sam, expanded(r), wire.RetryRequest{From: []string{"each[z]"}})
	wantError(t, "no such instance", err, pipeline.NotFound, `did you mean "each[`)
}

// All instances of a matrix are meant by the name of their block.
func TestRuns_Retry_matrix(t *testing.T) {
	r := newRig(t)
	run := r.newRun(`  module "test" {
    matrix  = { os = ["linux", "plan9"] }
    command = ["true"]
  }`)
	r.succeed(run, "test[linux]", "test[plan9]")
	r.endRun(run, pipeline.RunSucceeded)
	if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{From: []string{"test"}}); err != nil {
		t.Fatal(err)
	}
	if again := waiting(r, run); !slices.Equal(again, []string{"test[linux]", "test[plan9]"}) {
		t.Errorf("%v run again", again)
	}
}
