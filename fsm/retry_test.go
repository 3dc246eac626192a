package fsm_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// endsFailed is an outcome that makes its module fail.
func endsFailed(run, module string, n int) fsm.Outcome {
	o := outcome(run, module, n, pipeline.AttemptFailed)
	o.Next = pipeline.ModuleFailed
	return o
}

// A failure that is not retried is marked, so that it stops nothing; one that is
// retried, and what did not fail, is not.
func TestApply_retryMarksEarlier(t *testing.T) {
	r := newRig(t)
	r.must(submit(r.tb, "r", 3),
		batch(assign("r", "m0", 1), assign("r", "m1", 1), assign("r", "m2", 1)),
		batch(outcome("r", "m0", 1, pipeline.AttemptSucceeded), endsFailed("r", "m1", 1), endsFailed("r", "m2", 1)),
		batch(fsm.RunEnd{Run: "r", State: pipeline.RunFailed}),
		&fsm.Command{Retry: &fsm.Retry{Run: "r", Modules: []string{"m0", "m2"}}})
	for name, want := range map[string]bool{"m0": false, "m1": true, "m2": false} {
		if m := r.module("r", name); m.Earlier != want {
			t.Errorf("%s: earlier %v", name, m.Earlier)
		}
	}

	// It is retried itself, and fails again.
	r.must(batch(assign("r", "m0", 2), assign("r", "m2", 2)),
		batch(outcome("r", "m0", 2, pipeline.AttemptSucceeded), outcome("r", "m2", 2, pipeline.AttemptSucceeded)),
		batch(fsm.RunEnd{Run: "r", State: pipeline.RunFailed}),
		&fsm.Command{Retry: &fsm.Retry{Run: "r", Tries: 1, Modules: []string{"m1"}}},
		batch(assign("r", "m1", 2)), batch(endsFailed("r", "m1", 2)))
	if m := r.module("r", "m1"); m.Earlier || m.State != pipeline.ModuleFailed {
		t.Errorf("failed again: %+v", m)
	}
}

// The time between an end of a run and its retry does not count as time of the run.
func TestApply_retryIdle(t *testing.T) {
	r := newRig(t)
	r.must(submit(r.tb, "r", 1))
	now := at
	for tries := range 3 {
		n := tries + 1
		r.must(batch(assign("r", "m0", n)), batch(endsFailed("r", "m0", n)))
		now = now.Add(time.Minute)
		end := batch(fsm.RunEnd{Run: "r", State: pipeline.RunFailed})
		end.At = now
		now = now.Add(time.Hour)
		r.must(end, &fsm.Command{At: now, Retry: &fsm.Retry{Run: "r", Tries: tries, Modules: []string{"m0"}}})
		if idle := r.run("r").Idle; idle != time.Duration(n)*time.Hour {
			t.Errorf("after retry %d: idle %s", n, idle)
		}
	}
}
