package fsm_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// numbered submits n runs whose ids sort otherwise than their numbers.
func numbered(tb testing.TB, n int) *rig {
	tb.Helper()
	r := newRig(tb)
	var list []*submitAt
	for i := range n {
		list = append(list, &submitAt{id: fmt.Sprintf("r%d", n-i), at: at})
	}
	r.submitAll(tb, list)
	return r
}

func TestView_Runs(t *testing.T) {
	r := numbered(t, 12)
	r.must(batch(end("r6", "m0", pipeline.ModuleSkipped), runEnd("r6", pipeline.RunFailed)), forget("r6")) // number 7

	for _, tc := range []struct {
		before uint64
		limit  int
		want   string
	}{
		{0, 3, "[12 11 10]"}, {10, 3, "[9 8 6]"}, {8, 3, "[6 5 4]"}, {7, 2, "[6 5]"}, {2, 3, "[1]"}, {1, 3, "[]"},
		{13, 1, "[12]"}, {1 << 63, 1, "[12]"}, {0, 99, "[12 11 10 9 8 6 5 4 3 2 1]"},
	} {
		got := []uint64{}
		view(t, r.Store, func(v *fsm.View) {
			v.Runs(tc.before, func(run pipeline.Run) bool {
				got = append(got, run.Number)
				return len(got) < tc.limit
			})
		})
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%d before %d: %v, want %s", tc.limit, tc.before, got, tc.want)
		}
	}
}

func TestView_Active(t *testing.T) {
	r := numbered(t, 11)
	r.must(batch(end("r10", "m0", pipeline.ModuleSkipped), runEnd("r10", pipeline.RunFailed)), cancel("r9"))
	view(t, r.Store, func(v *fsm.View) {
		var got []uint64
		for _, run := range v.Active() {
			got = append(got, run.Number)
		}
		if want := "[1 3 4 5 6 7 8 9 10 11]"; fmt.Sprint(got) != want {
			t.Errorf("active: %v, want %s, oldest first", got, want)
		}
	})
}

func TestView_Modules(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 3), submit(t, "r1", 3), batch(assign("r", "m2", 1), assign("r", "m0", 1), assign("r1", "m1", 1)))
	view(t, r.Store, func(v *fsm.View) {
		got := v.Modules("r")
		if len(got) != 2 || got["m0"] == nil || got["m2"] == nil || got["m2"].State != pipeline.ModuleRunning {
			t.Errorf("modules of r: %v, want m0 and m2", got)
		}

		want := pipeline.ModuleRecord{Name: "m1", State: pipeline.ModuleWaiting}
		if diff := cmp.Diff(want, v.Module("r", "m1")); diff != "" {
			t.Errorf("a module that nothing happened to (-want +got):\n%s", diff)
		}

		if len(v.Modules("q")) != 0 {
			t.Error("a run that is not there has modules")
		}

		if run, ok := v.RunByKey("key of r1"); !ok || run.ID != "r1" {
			t.Errorf("by key: %v, %v", run.ID, ok)
		}

		if v.Index() != 3 || v.Term() != 1 {
			t.Errorf("index %d, term %d; want 3, 1", v.Index(), v.Term())
		}
	})
}

// TestView_Definition: what is cached is not given for a run that came again
// with another definition.
func TestView_Definition(t *testing.T) {
	r := newRig(t)
	size := func() (n int) {
		view(t, r.Store, func(v *fsm.View) {
			d, err := v.Definition("r")
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := v.Definition("r"); again != d {
				t.Error("the definition was decoded twice")
			}
			n = len(d.Modules)
		})
		return n
	}

	r.must(withKey(submit(t, "r", 0), ""))
	if n := size(); n != 0 {
		t.Errorf("%d modules, want 0", n)
	}

	r.must(batch(runEnd("r", pipeline.RunSucceeded)), forget("r"), withKey(submit(t, "r", 3), ""))
	if n := size(); n != 3 {
		t.Errorf("%d modules, want 3", n)
	}

	c := submit(t, "bad", 1)
	c.Submit.Definition = []byte("no definition")
	r.must(c)
	view(t, r.Store, func(v *fsm.View) {
		if _, err := v.Definition("bad"); err == nil {
			t.Error("a damaged definition was decoded")
		}
	})
}

func TestView_Definition_manyRuns(t *testing.T) {
	r := numbered(t, 300) // more than are cached
	for range 2 {
		view(t, r.Store, func(v *fsm.View) {
			for i := range 300 {
				if d, err := v.Definition(pipeline.RunID(fmt.Sprintf("r%d", i+1))); err != nil || len(d.Modules) != 1 {
					t.Fatalf("run %d: %v, %v", i+1, d, err)
				}
			}
		})
	}
}

func TestView_Empty(t *testing.T) {
	r := newRig(t)
	empty := func() (e bool) { view(t, r.Store, func(v *fsm.View) { e = v.Empty() }); return e }
	if !empty() {
		t.Error("a new store is not empty")
	}

	r.must(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "w"}}})
	if !empty() {
		t.Error("a note about a node is nothing that a user would miss")
	}

	r.must(submit(t, "r", 1))
	if empty() {
		t.Error("empty, with a run")
	}
}

func TestStore_View_passesErrors(t *testing.T) {
	want := errors.New("mine")
	if err := newStore(t).View(func(*fsm.View) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestStore_Close(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 1))

	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}

	if err := r.View(func(*fsm.View) error { return nil }); err == nil {
		t.Error("a closed store was read")
	}

	if _, err := r.Snapshot(); err == nil {
		t.Error("a closed store gave a snapshot")
	}

	if i := r.Index(); i != 0 {
		t.Errorf("index %d of a closed store, want 0", i)
	}
}
