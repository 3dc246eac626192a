package fsm_test

import (
	"slices"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// The tests of an attempt are recorded with it, go along with a cached result, keep their
// blob, and lose it when the logs are deleted.
func TestApply_tests(t *testing.T) {
	r := newRig(t)
	o := outcome("r", "m0", 1, pipeline.AttemptSucceeded)
	o.Outcome.Tests = &pipeline.TestSummary{TestCounts: pipeline.TestCounts{Total: 2, Passed: 2}, Cases: key(7), Size: 9}
	r.must(submit(t, "r", 2), batch(noted(assign("r", "m0", 1), key(1))), batch(o))
	r.must(submit(t, "s", 1), batch(cached("s", "m0", key(1), attempt("r", "m0", 1)), runEnd("s", pipeline.RunSucceeded)))

	for _, run := range []string{"r", "s"} {
		m := r.module(run, "m0")
		if last := m.LastTests(); last == nil || last.Tests.Cases != key(7) || m.TestCounts().Passed != 2 {
			t.Errorf("%s: got %+v", run, m)
		}
	}

	references := func() (runs []string) {
		view(t, r.Store, func(v *fsm.View) {
			_ = v.References(func(ref fsm.Reference) error {
				if ref.Digest == key(7) {
					runs = append(runs, string(ref.Attempt.Run))
				}
				return nil
			})
		})
		slices.Sort(runs)
		return runs
	}
	if got := references(); !slices.Equal(got, []string{"r", "r", "s"}) { // r's as a cached result too
		t.Errorf("referenced by %q", got)
	}

	r.must(&fsm.Command{Expire: &fsm.Expire{Logs: []pipeline.RunID{"s"}}})
	if m := r.module("s", "m0"); m.LastTests().Tests.Cases != "" || m.TestCounts().Total != 2 {
		t.Errorf("without logs: %+v", m.LastTests().Tests)
	}
	if got := references(); !slices.Equal(got, []string{"r", "r"}) {
		t.Errorf("then referenced by %q", got)
	}
}
