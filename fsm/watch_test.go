package fsm_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// TestStore_Changed: every entry that changes what is kept of a run closes its
// channel, and no other does.
func TestStore_Changed(t *testing.T) {
	r := newRig(t)
	for _, step := range []struct {
		name string
		c    *fsm.Command
		want bool
	}{
		{"submit", submit(t, "r", 2), true},
		{"submit again", submit(t, "r", 2), false},
		{"another run", submit(t, "q", 1), false},
		{"assign", batch(assign("r", "m0", 1)), true},
		{"start", batch(start("r", "m0", 1)), true},
		{"start again", batch(start("r", "m0", 1)), false},
		{"loss", batch(outcome("r", "m0", 1, lost)), true},
		{"late outcome", batch(outcome("r", "m0", 1, ok)), true}, // the history changes
		{"late outcome again", batch(outcome("r", "m0", 1, ok)), false},
		{"assign again", batch(assign("r", "m0", 2)), true},
		{"outcome", batch(outcome("r", "m0", 2, ok)), true},
		{"reopen", batch(reopen("r", "m0", 2)), true},
		{"reopen again", batch(reopen("r", "m0", 2)), false},
		{"assign the reopened", batch(assign("r", "m0", 3)), true},
		{"outcome of the reopened", batch(outcome("r", "m0", 3, ok)), true},
		{"copies", batch(fsm.Copies{ID: attempt("r", "m0", 2), Holders: []pipeline.NodeID{"n"}}), true},
		{"cancel", cancel("r"), true},
		{"cancel again", cancel("r"), false},
		{"end", batch(end("r", "m1", pipeline.ModuleSkipped)), true},
		{"end of the run", batch(runEnd("r", pipeline.RunCancelled)), true},
		{"a worker", &fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "w"}}}, false},
		{"forget", forget("r"), true},
		{"forget again", forget("r"), false},
	} {
		ch := r.Changed("r")
		if isClosed(ch) {
			t.Fatalf("%s: the channel was closed before", step.name)
		}
		r.do(step.c)
		if got := isClosed(ch); got != step.want {
			t.Errorf("%s: closed %v, want %v", step.name, got, step.want)
		}
	}
}

func TestStore_Changed_wakesAll(t *testing.T) {
	r := newRig(t)
	other := newRig(t)
	other.must(submit(t, "x", 1))
	ch := r.Changed("nobody")
	if err := restore(r.Store, capture(t, other.Store)); err != nil {
		t.Fatal(err)
	}

	if !isClosed(ch) {
		t.Error("a restore left a reader waiting")
	}

	ch = r.Changed("nobody")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	if !isClosed(ch) || !isClosed(r.Changed("nobody")) {
		t.Error("a closed store left a reader waiting")
	}
}

// TestStore_Changed_bounded: waiting for more and more runs that never change
// wakes the first ones instead of filling the memory.
func TestStore_Changed_bounded(t *testing.T) {
	s := newStore(t)
	first := s.Changed("first")
	for i := range 1 << 16 {
		s.Changed(pipeline.RunID(fmt.Sprint(i)))
	}
	if !isClosed(first) {
		t.Error("65,537 channels wait at once")
	}
}

func TestSubscription(t *testing.T) {
	r := newRig(t)
	sub := r.Subscribe()
	defer sub.Close()

	worker := &fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "w"}}}
	for _, step := range []struct {
		name string
		cmds []*fsm.Command
		want fsm.Changes
		poke bool
	}{
		{"nothing", nil, fsm.Changes{}, false},
		{"two submissions", []*fsm.Command{submit(t, "a", 1), submit(t, "b", 1)}, fsm.Changes{Runs: []pipeline.RunID{"a", "b"}}, true},
		{"what the orchestrator did itself", []*fsm.Command{batch(assign("a", "m0", 1)), batch(start("a", "m0", 1))}, fsm.Changes{}, false},
		{"a refused worker", []*fsm.Command{{Worker: &fsm.Worker{}}}, fsm.Changes{}, false},
		{"two runs and a worker between", []*fsm.Command{cancel("b"), worker, cancel("a")},
			fsm.Changes{Runs: []pipeline.RunID{"a", "b"}, Workers: true}, true},
		{"a worker removed", []*fsm.Command{{Worker: &fsm.Worker{Delete: true, Record: fsm.WorkerRecord{ID: "w"}}}}, fsm.Changes{Workers: true}, true},
		{"forgotten", []*fsm.Command{batch(outcome("a", "m0", 1, ok), runEnd("a", pipeline.RunCancelled)), forget("a")},
			fsm.Changes{Runs: []pipeline.RunID{"a"}}, true},
	} {
		for _, c := range step.cmds {
			r.do(c)
		}
		if got := isClosed(sub.C); got != step.poke {
			t.Errorf("%s: poked %v, want %v", step.name, got, step.poke)
		}
		got := sub.Take()
		slices.Sort(got.Runs)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}

	if err := restore(r.Store, capture(t, r.Store)); err != nil {
		t.Fatal(err)
	}

	if got := sub.Take(); !isClosed(sub.C) || !got.All {
		t.Errorf("after a restore: %+v, want all", got)
	}
}

func TestSubscription_Close(t *testing.T) {
	r := newRig(t)

	sub, other := r.Subscribe(), r.Subscribe()
	for range 2 {
		sub.Close()
	}

	r.must(submit(t, "a", 1))
	if got := sub.Take(); isClosed(sub.C) || len(got.Runs) != 0 {
		t.Errorf("a closed subscription was told %v", got)
	}

	if got := other.Take(); !isClosed(other.C) || len(got.Runs) != 1 {
		t.Errorf("the other subscription was told %v, want run a", got)
	}

	other.Close()
}

// TestSubscription_losesNothing receives changes while entries are applied:
// every run is reported at least once.
func TestSubscription_losesNothing(t *testing.T) {
	r := newRig(t)
	sub := r.Subscribe()
	defer sub.Close()

	const n = 300
	var logs []*raft.Log
	for i := range n {
		logs = append(logs, entry(t, uint64(i+1), submit(t, fmt.Sprintf("r%d", i), 1)))
	}

	var wg sync.WaitGroup
	wg.Go(func() { play(r.Store, logs) })
	defer wg.Wait()

	limit := time.After(30 * time.Second)
	seen := map[pipeline.RunID]bool{}
	for len(seen) < n {
		select {
		case <-sub.C:
		case <-limit:
			t.Fatalf("was told of %d runs of %d", len(seen), n)
		}

		for _, id := range sub.Take().Runs {
			seen[id] = true
			view(t, r.Store, func(v *fsm.View) {
				if _, ok := v.Run(id); !ok {
					t.Errorf("run %s was told of before it can be read", id)
				}
			})
		}
	}
}
