package fsm_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// checkSince compares the reported changes of a run with its records.
func checkSince(tb tester, v *fsm.View, run pipeline.RunID, index uint64) {
	tb.Helper()
	want := v.Modules(run)
	for name, rec := range want {
		if rec.Index <= index {
			delete(want, name)
		}
	}
	if diff := cmp.Diff(want, v.ModulesSince(run, index)); diff != "" {
		tb.Fatalf("changes of run %s since %d (-want +got):\n%s", run, index, diff)
	}
}

// sinceEverywhere checks every run from every index on.
func sinceEverywhere(tb tester, s *fsm.Store) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		v.Runs(0, func(run pipeline.Run) bool {
			for i := uint64(0); i <= v.Index()+1; i++ {
				checkSince(tb, v, run.ID, i)
			}
			return true
		})
	})
}

// TestView_ModulesSince_bounds goes beyond what is remembered of one run, and
// beyond the number of runs of which anything is.
func TestView_ModulesSince_bounds(t *testing.T) {
	r := newRig(t)
	const wide = 400
	r.must(submit(t, "wide", wide), submit(t, "first", 2), batch(assign("first", "m0", 1)))

	var all []any
	for i := range wide {
		all = append(all, assign("wide", fmt.Sprintf("m%d", i), 1))
	}

	r.must(batch(all...))

	for range 24 { // 9,600 changes, each entry more of them than before the last cut
		var copies []any
		for i := range wide - 10 { // the last ones changed once, long ago
			copies = append(copies, fsm.Copies{ID: attempt("wide", fmt.Sprintf("m%d", i), 1), Holders: []pipeline.NodeID{"n"}})
		}
		r.must(batch(copies...))
		r.must(batch(copies[:10]...))
	}

	sinceEverywhere(t, r.Store)

	for i := range 300 {
		id := fmt.Sprintf("r%d", i)
		r.must(withKey(submit(t, id, 1), ""), batch(assign(id, "m0", 1)))
	}

	view(t, r.Store, func(v *fsm.View) {
		for _, id := range []pipeline.RunID{"wide", "first", "r0", "r43", "r44", "r45", "r299"} {
			for i := uint64(0); i <= v.Index(); i += 7 {
				checkSince(t, v, id, i)
			}
		}
	})

	r.must(batch(start("first", "m0", 1)), batch(start("wide", "m7", 1)))
	view(t, r.Store, func(v *fsm.View) {
		for i := uint64(0); i <= v.Index(); i += 7 {
			checkSince(t, v, "first", i)
			checkSince(t, v, "wide", i)
		}
	})
}

// TestView_ModulesSince_restored: what was remembered of the replaced state
// says nothing about the one that came.
func TestView_ModulesSince_restored(t *testing.T) {
	r, ahead := newRig(t), newRig(t)
	for _, s := range []*rig{r, ahead} {
		s.must(submit(t, "r", 3), batch(assign("r", "m0", 1)))
	}
	ahead.must(batch(start("r", "m0", 1)), batch(assign("r", "m1", 1)), batch(assign("r", "m2", 1)))
	if err := restore(r.Store, capture(t, ahead.Store)); err != nil {
		t.Fatal(err)
	}
	sinceEverywhere(t, r.Store)
	r.index = ahead.index
	r.must(batch(start("r", "m2", 1)))
	sinceEverywhere(t, r.Store)
}
