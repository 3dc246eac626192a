package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// took ends the first attempt of a module after so long.
func took(run, module string, s pipeline.AttemptState, d time.Duration) fsm.Outcome {
	o := outcome(run, module, 1, s)
	o.Outcome.StartedAt = at
	o.Outcome.FinishedAt = at.Add(d)
	if s == pipeline.AttemptFailed {
		o.Next = pipeline.ModuleFailed
	}
	return o
}

// runOnce submits a run of the test's pipeline and ends its modules.
func runOnce(r *rig, id string, outcomes ...fsm.Outcome) {
	r.tb.Helper()
	r.must(submit(r.tb, id, len(outcomes)))
	for _, o := range outcomes {
		r.must(batch(assign(id, o.Outcome.ID.Module, 1)), batch(o))
	}
}

func TestHistory(t *testing.T) {
	r := newRig(t)
	for i, d := range []time.Duration{9, 1, 2, 3} {
		runOnce(r, fmt.Sprintf("r%d", i), took(fmt.Sprintf("r%d", i), "m0", pipeline.AttemptSucceeded, d*time.Second))
	}

	runOnce(r, "bad", took("bad", "m0", pipeline.AttemptFailed, time.Minute))
	name := r.run("bad").Pipeline
	want := pipeline.ModuleHistory{Succeeded: 4, Failed: 1, At: at, Past: []pipeline.PastOutcome{
		{State: pipeline.ModuleFailed, Took: time.Minute}, {State: pipeline.ModuleSucceeded, Took: 3 * time.Second},
		{State: pipeline.ModuleSucceeded, Took: 2 * time.Second}, {State: pipeline.ModuleSucceeded, Took: time.Second},
		{State: pipeline.ModuleSucceeded, Took: 9 * time.Second}}}

	check := func(what string, s *fsm.Store) {
		t.Helper()
		view(t, s, func(v *fsm.View) {
			got, ok := v.History(name, "m0")
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", what, ok, diff)
			}
			if _, ok := v.History(name, "m1"); ok {
				t.Errorf("%s: a module that never ended has a history", what)
			}
			// A failure does not count as a duration.
			mods := []pipeline.Module{{Name: "m0"}, {Name: "m1"}}
			if diff := cmp.Diff([]time.Duration{2 * time.Second, 0}, v.Expected(name, mods)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		})
	}

	check("here", r.Store)
	r.must(forget("r0", "r1", "r2"))
	check("after the runs went", r.Store)
	other := newStore(t)
	if err := restore(other, capture(t, r.Store)); err != nil {
		t.Fatal(err)
	}

	check("from a snapshot", other)
}

func TestHistory_bounded(t *testing.T) {
	defer fsm.SetHistoryLimit(32)()

	r := newRig(t)
	for i := range 100 {
		id := fmt.Sprintf("r%03d", i)
		cmds := []fsm.Outcome{}
		for m := range 2 {
			o := took(id, fmt.Sprintf("m%d", m), pipeline.AttemptSucceeded, time.Second)
			cmds = append(cmds, o)
		}

		s := submit(t, id, 2)
		s.Submit.Run.Pipeline = fmt.Sprintf("p%03d", i)
		r.must(s)

		for _, o := range cmds {
			b := batch(o)
			b.At = at.Add(time.Duration(i) * time.Minute)
			r.must(batch(assign(id, o.Outcome.ID.Module, 1)), b)
		}
	}

	n := 0
	if err := r.Walk(func(bucket string, k, _ []byte) error {
		if bucket == "history" {
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	if n > 32 || n < 30 {
		t.Errorf("%d histories are kept, want at most 32", n)
	}

	view(t, r.Store, func(v *fsm.View) {
		if _, ok := v.History("p099", "m1"); !ok {
			t.Error("the newest is gone")
		}
		if _, ok := v.History("p000", "m0"); ok {
			t.Error("the oldest is kept")
		}
	})
}

// TestHistory_instances: an instance that never ran gets the estimate of the
// others.
func TestHistory_instances(t *testing.T) {
	r := newRig(t)
	for i, d := range []time.Duration{1, 3, 5} {
		id := fmt.Sprintf("r%d", i)
		r.must(submit(t, id, 3))
		m := fmt.Sprintf("m[%d]", i)
		r.must(batch(assign(id, m, 1)), batch(took(id, m, pipeline.AttemptSucceeded, d*time.Second)))
	}

	name := r.run("r0").Pipeline
	mods := []pipeline.Module{{Name: "m[0]", Of: "m"}, {Name: "m[9]", Of: "m"}, {Name: "m", Dynamic: true}, {Name: "x[0]", Of: "x"}, {Name: "m"}}
	view(t, r.Store, func(v *fsm.View) {
		want := []time.Duration{time.Second, 3 * time.Second, 3 * time.Second, 0, 0}
		if diff := cmp.Diff(want, v.Expected(name, mods)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
