package fsm_test

import (
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// The counters of a run follow how its modules end, and go back when modules are to run
// again.
func TestRun_counters(t *testing.T) {
	type counters struct{ cached, skipped, flaky, approvals int }
	r := newRig(t)
	fails := endsFailed("r", "m1", 1)
	fails.Next = pipeline.ModuleWaiting

	for _, step := range []struct {
		what string
		do   []*fsm.Command
		want counters
	}{
		{"waits for a person", []*fsm.Command{submit(t, "r", 5), batch(await("r", "m0"))}, counters{approvals: 1}},
		{"waits for another one", []*fsm.Command{batch(await("r", "m4"))}, counters{approvals: 2}},
		{"approved", []*fsm.Command{decision(decide("r", "m0", pipeline.Approved))}, counters{approvals: 1}},
		{"ends with its wait", []*fsm.Command{batch(end("r", "m4", pipeline.ModuleCancelled))}, counters{}},
		{"failed once", []*fsm.Command{batch(assign("r", "m1", 1)), batch(fails)}, counters{}},
		{"then well", []*fsm.Command{batch(assign("r", "m1", 2)), batch(outcome("r", "m1", 2, pipeline.AttemptSucceeded))}, counters{flaky: 1}},
		{"skipped", []*fsm.Command{batch(end("r", "m2", pipeline.ModuleSkipped))}, counters{flaky: 1, skipped: 1}},
		{"what it left is gone", []*fsm.Command{batch(reopen("r", "m1", 2))}, counters{skipped: 1}},
		{"made again", []*fsm.Command{batch(assign("r", "m1", 3)), batch(outcome("r", "m1", 3, pipeline.AttemptSucceeded))}, counters{flaky: 1, skipped: 1}},
		{"retried", []*fsm.Command{batch(assign("r", "m3", 1)), batch(endsFailed("r", "m3", 1)), batch(runEnd("r", pipeline.RunFailed)),
			{Retry: &fsm.Retry{Run: "r", Modules: []string{"m0", "m1", "m2"}}}}, counters{}},
	} {
		r.must(step.do...)
		run := r.run("r")
		if got := (counters{run.Cached, run.Skipped, run.Flaky, run.Approvals}); got != step.want {
			t.Errorf("%s: got %+v, want %+v", step.what, got, step.want)
		}
	}
}

// A cached result counts when it is taken.
func TestRun_countsCached(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))
	r.must(submit(t, "s", 2), batch(cached("s", "m0", key(1), attempt("r", "m0", 1))))
	if run := r.run("s"); run.Cached != 1 || run.Done != 1 {
		t.Errorf("got %+v", run)
	}
}
