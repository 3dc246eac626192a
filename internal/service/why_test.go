package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// why gives the facts about one module.
func why(r *rig, run pipeline.RunID, module string) []string {
	r.tb.Helper()
	got, err := r.runs.Why(r.tb.Context(), run, module)
	if err != nil || len(got.Module) != 1 || got.Run.ID != run {
		r.tb.Fatalf("why %s: %+v, %v", module, got, err)
	}
	return got.Module[0].Because
}

func wantFacts(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A module that waits says for what; one that was skipped says why.
func TestRuns_Why_waiting(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	wantFacts(t, "not placed", why(r, run, "alone"), "waiting: it has not been placed yet")
	wantFacts(t, "behind another", why(r, run, "b"), "it depends on a (waiting)", "waiting: it has not been placed yet")

	r.planner.waiting = map[string]string{"alone": "no worker has tag gpu"}
	wantFacts(t, "the leader's reason", why(r, run, "alone"), "waiting: no worker has tag gpu")

	r.fail(run, "a")
	r.end(run, pipeline.ModuleSkipped, "not started because a failed", "b")
	wantFacts(t, "skipped", why(r, run, "b"), "it depends on a (failed)", "skipped: not started because a failed")

	// All modules without a name.
	all, err := r.runs.Why(t.Context(), run, "")
	if err != nil || len(all.Module) != 4 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestRuns_Why_unknown(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	_, err := r.runs.Why(t.Context(), run, "d")
	wantError(t, "no such module", err, pipeline.NotFound, `has no module "d": it has a, b, c, alone`)
	_, err = r.runs.Why(t.Context(), "none", "a")
	wantError(t, "no such run", err, pipeline.NotFound, "no run none")
}

// Each way in which an attempt ends has its sentence.
func TestRuns_Why_attempts(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	for _, end := range []struct {
		state   pipeline.AttemptState
		reason  string
		started bool
	}{{pipeline.AttemptLost, "w1 left", true}, {pipeline.AttemptTimedOut, "", true}, {pipeline.AttemptCancelled, "", false},
		{pipeline.AttemptCancelled, "drained", true}, {pipeline.AttemptFailed, "exit code 1", true}} {
		id := r.assign(run, "a", "w1", nil)
		if end.started {
			r.start(id)
		}
		r.finish(id, pipeline.Outcome{State: end.state, Reason: end.reason}, pipeline.ModuleWaiting)
	}
	r.start(r.assign(run, "a", "w2", func(a *fsm.Assign) { a.LocalBytes = 3 << 20 }))

	wantFacts(t, "attempts", why(r, run, "a"),
		"attempt 1 ran on w1 and was lost: w1 left",
		"attempt 2 ran on w1 and was timed out",
		"attempt 3 was queued on w1 and given back unstarted",
		"attempt 4 ran on w1 and was cancelled: drained",
		"attempt 5 failed on w1: exit code 1",
		"attempt 6 is running on w2 (which had 3 MiB more of its inputs than a worker with less to do)")
}

// A module with many dependencies names the first of them.
func TestRuns_Why_manyDependencies(t *testing.T) {
	r := newRig(t)
	var blocks strings.Builder
	var names []string
	for i := range 10 {
		fmt.Fprintf(&blocks, "  module \"m%d\" { command = [\"true\"] }\n", i)
		names = append(names, fmt.Sprintf("module.m%d", i))
	}
	fmt.Fprintf(&blocks, "  module \"last\" {\n    depends_on = [%s]\n    command = [\"true\"]\n  }", strings.Join(names, ", "))
	got := why(r, r.newRun(blocks.String()), "last")[0]
	if !strings.Contains(got, "m7 (waiting), and 2 more") || strings.Contains(got, "m8") {
		t.Errorf("fact %q", got)
	}
}

// What decided between the workers that could run a module.
func TestRuns_Why_placement(t *testing.T) {
	const plain, tagged = `  module "m" { command = ["true"] }`, "  module \"m\" {\n    command  = [\"true\"]\n    requires = { tags = [\"js\"] }\n  }"
	many := make([]string, 9)
	for i := range many {
		many[i] = fmt.Sprintf("w%d", i+1)
	}
	for what, tc := range map[string]struct {
		blocks  string
		able    []string
		workers int
		local   int64
		want    string
	}{
		"any worker":           {plain, []string{"w1", "w2"}, 2, 0, "any of 2 workers can run it; the least busy was chosen"},
		"the one with inputs":  {plain, []string{"w1", "w2"}, 2, 1 << 20, "any of 2 workers can run it; the one that has its inputs was chosen"},
		"the only worker":      {plain, []string{"w1"}, 1, 0, ""},
		"the only able worker": {tagged, []string{"w1"}, 3, 0, "w1 is the only one of 3 workers that has tag js"},
		"some workers":         {tagged, []string{"w1", "w2"}, 3, 0, "w1, w2 of 3 workers have tag js; the least busy was chosen"},
		"many workers":         {tagged, many, 12, 0, "9 of 12 workers have tag js; the least busy was chosen"},
		"a worker that left":   {tagged, []string{"w2"}, 3, 0, ""},
	} {
		r := newRig(t)
		r.planner.able, r.planner.of = tc.able, tc.workers
		run := r.newRun(tc.blocks)
		r.start(r.assign(run, "m", "w1", func(a *fsm.Assign) { a.LocalBytes = tc.local }))
		got := why(r, run, "m")
		if tc.want == "" && len(got) != 1 || tc.want != "" && got[len(got)-1] != tc.want {
			t.Errorf("%s: facts %q, want last %q", what, got, tc.want)
		}

		r.planner.fail = pipeline.ErrNotLeader
		if got := why(r, run, "m"); len(got) != 1 {
			t.Errorf("%s: facts %q of a node that cannot know", what, got)
		}
	}
}

// cached makes a run whose module m succeeds and leaves a cached result, and a
// second one that hits it.
func cached(r *rig, key pipeline.Digest) (first, second pipeline.RunID) {
	r.tb.Helper()
	first, second = r.newRun(single), r.newRun(single)
	id := r.assign(first, "m", "w1", func(a *fsm.Assign) { a.Cache = &pipeline.CacheLookup{Key: key, Missed: []string{"command changed"}} })
	r.start(id)
	r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded, Result: []byte(`{"n":1}`), LogSize: 10, OutputBytes: 100}, pipeline.ModuleSucceeded)
	r.apply(&fsm.Command{Batch: &fsm.Batch{Ends: []fsm.End{{Run: second, Module: "m", State: pipeline.ModuleCached,
		Cache: &fsm.CacheHit{Key: key, From: id}}}}})
	return first, second
}

// A module says which cached result it used, or why none, and whether its own
// is cached.
func TestRuns_Why_cache(t *testing.T) {
	r := newRig(t)
	key := blob.DigestOf([]byte("key"))
	first, second := cached(r, key)
	wantFacts(t, "miss", why(r, first, "m"), "attempt 1 succeeded on w1", "cache miss: command changed", "its result is cached")
	took := r.record(second, "m").Recorded.Round(time.Millisecond)
	wantFacts(t, "hit", why(r, second, "m"), "cached", fmt.Sprintf("cache hit: attempt 1 of m in run %s did the same work, in %s", first, took))

	got, err := r.runs.Run(t.Context(), second, 0, 0, 0)
	if err != nil || len(got.Modules[0].Attempts) != 0 {
		t.Fatalf("%+v, %v; want no attempt that ran", got, err)
	}
	if from := got.Modules[0].CachedFrom; from == nil || from.Run != first || from.Attempt != 1 || from.Worker != "w1" {
		t.Errorf("cached from %+v", from)
	}

	r.apply(&fsm.Command{CacheDelete: &fsm.CacheDelete{Keys: []pipeline.Digest{key}}})
	wantFacts(t, "deleted", why(r, first, "m"), "attempt 1 succeeded on w1", "cache miss: command changed")
}

// A retried module keeps the attempts of earlier tries.
func TestRuns_Why_retried(t *testing.T) {
	r := newRig(t)
	run := failedChain(r)
	if _, err := r.runs.Retry(t.Context(), sam, run, wire.RetryRequest{}); err != nil {
		t.Fatal(err)
	}
	wantFacts(t, "retried", why(r, run, "b"), "it depends on a (succeeded)", "attempt 1 failed on w1: exit code 1",
		"waiting: it has not been placed yet")
}

// Instances are found by the name of their module, and what was expanded counts
// as succeeded.
func TestRuns_Why_instances(t *testing.T) {
	r := newRig(t)
	run := expanded(r)
	got, err := r.runs.Why(t.Context(), run, "each")
	if err != nil || len(got.Module) != 2 || got.Module[0].Name != "each[x]" || got.Module[1].Name != "each[y]" {
		t.Fatalf("%+v, %v", got, err)
	}
	if fact := why(r, run, "last")[0]; fact != "it depends on each (succeeded)" {
		t.Errorf("fact %q", fact)
	}
}
