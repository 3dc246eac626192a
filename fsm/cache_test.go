package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func key(n int) pipeline.Digest { return pipeline.Digest(fmt.Sprintf("%064x", n)) }

func noted(a fsm.Assign, k pipeline.Digest, parts ...pipeline.CachePart) fsm.Assign {
	a.Cache = &pipeline.CacheLookup{Key: k, Work: k, Parts: parts}
	return a
}

// recorded applies a run whose module m0 leaves a result under a key.
func recorded(r *rig, run string, k pipeline.Digest) {
	r.tb.Helper()
	r.must(submit(r.tb, run, 2), batch(noted(assign(run, "m0", 1), k, pipeline.CachePart{Name: "script", Sum: "1"})),
		batch(outcome(run, "m0", 1, pipeline.AttemptSucceeded)))
}

func cached(run, module string, k pipeline.Digest, from pipeline.AttemptID, needs ...string) fsm.End {
	e := end(run, module, pipeline.ModuleCached)
	e.Cache = &fsm.CacheHit{Key: k, From: from, Needs: needs}
	return e
}

func entryOf(r *rig, k pipeline.Digest) (e *pipeline.CacheEntry, use pipeline.CacheUse, ok bool) {
	r.tb.Helper()
	view(r.tb, r.Store, func(v *fsm.View) { e, ok = v.CacheEntry(k); use = v.CacheUse(k) })
	return e, use, ok
}

func stats(r *rig) (s pipeline.CacheStats) {
	r.tb.Helper()
	view(r.tb, r.Store, func(v *fsm.View) { s = v.CacheStats() })
	return s
}

// A result is recorded with the outcome that it is of, and taken whole.
func TestCache_recordAndTake(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))

	e, use, ok := entryOf(r, key(1))
	if !ok || e.From != attempt("r", "m0", 1) || e.Duration != time.Second || e.Worker != "one" || len(e.Parts) != 1 || use.Hits != 0 {
		t.Fatalf("recorded: %+v, %+v, %v", e, use, ok)
	}

	if c := r.module("r", "m0").Attempts[0].Cache; c == nil || c.Key != key(1) || c.Parts != nil {
		t.Errorf("the attempt keeps %+v", c)
	}

	r.must(submit(t, "s", 2), batch(cached("s", "m0", key(1), e.From)))

	got, was := r.module("s", "m0"), r.module("r", "m0")
	if got.State != pipeline.ModuleCached || string(got.Result) != string(was.Result) || got.Outputs != was.Outputs || got.Recorded != time.Second {
		t.Errorf("taken: %+v", got)
	}

	if a := got.Last(); a == nil || a.From == nil || *a.From != e.From || a.Log != was.Attempts[0].Log || !a.State.Final() {
		t.Errorf("its attempt: %+v", a)
	}

	if _, use, _ := entryOf(r, key(1)); use.Hits != 1 {
		t.Errorf("use: %+v", use)
	}

	if s := stats(r); s.Entries != 1 || s.Hits != 1 || s.Misses != 1 || s.Saved != time.Second || s.StateBytes <= 0 {
		t.Errorf("counters: %+v", s)
	}

	if run := r.run("s"); run.Done != 1 {
		t.Errorf("%d modules are done", run.Done)
	}
}

// Of an untrusted run no result is recorded, even if its lookup has a key; what is
// recorded stays.
func TestCache_untrusted(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))
	was, _, _ := entryOf(r, key(1))

	for i, k := range []pipeline.Digest{key(1), key(2)} {
		id := fmt.Sprint("u", i)
		untrusted := submit(t, id, 1)
		untrusted.Submit.Run.Untrusted = true
		r.must(untrusted, batch(noted(assign(id, "m0", 1), k)), batch(outcome(id, "m0", 1, pipeline.AttemptSucceeded)))
		if got := r.module(id, "m0"); got.State != pipeline.ModuleSucceeded {
			t.Errorf("%s: %+v", id, got)
		}
	}

	if e, _, ok := entryOf(r, key(1)); !ok || e.From != was.From {
		t.Errorf("the result of key 1: %+v, %v", e, ok)
	}
	if _, _, ok := entryOf(r, key(2)); ok || stats(r).Entries != 1 {
		t.Errorf("recorded: %v, %+v", ok, stats(r))
	}
}

// What is gone, another's by now, or rests on what has not succeeded is not
// taken; nothing is recorded of failures.
func TestCache_refusals(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))
	r.must(submit(t, "s", 3), batch(noted(assign("s", "m0", 1), key(2))))

	from := attempt("r", "m0", 1)
	for _, c := range []struct {
		end  fsm.End
		want string
	}{
		{cached("s", "m1", key(3), from), "the cached result is gone"},
		{cached("s", "m1", key(1), attempt("r", "m0", 2)), "the cached result is another one by now"},
		{cached("s", "m1", key(1), from, "m0"), "waits for m0"},
		{cached("s", "m0", key(1), from), "an attempt is live"},
	} {
		if got := refused(r.do(batch(c.end))); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}

	failed := outcome("s", "m0", 1, pipeline.AttemptFailed)
	failed.Next = pipeline.ModuleFailed
	r.must(batch(failed))

	if _, _, ok := entryOf(r, key(2)); ok {
		t.Error("a failure is recorded")
	}
}

// A cached module whose outputs are gone waits again.
func TestCache_reopen(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))
	r.must(submit(t, "s", 2), batch(cached("s", "m0", key(1), attempt("r", "m0", 1)), assign("s", "m1", 1)))
	r.must(batch(fsm.Reopen{Run: "s", Module: "m0", Reason: "gone", Attempt: 1}))
	if m := r.module("s", "m0"); m.State != pipeline.ModuleWaiting || m.Recorded != 0 {
		t.Errorf("got %+v", m)
	}
	r.must(batch(assign("s", "m0", 2)))
}

// The newest results of a module are found by its name, and go from there when
// they are removed.
func TestCache_names(t *testing.T) {
	r := newRig(t)
	for i := range 18 {
		recorded(r, fmt.Sprintf("r%d", i), key(i))
	}

	recorded(r, "again", key(4))
	names := func() (list []string) {
		view(t, r.Store, func(v *fsm.View) {
			for _, e := range v.CacheOf("p", "m0") {
				list = append(list, string(e.Key[62:]))
			}
		})
		return list
	}

	if got := strings.Join(names(), " "); got != "04 11 10 0f 0e 0d 0c 0b 0a 09 08 07 06 05 03 02" {
		t.Errorf("got %s", got)
	}

	all := []pipeline.Digest{key(99), "x"}
	for i := range 18 {
		all = append(all, key(i))
	}

	r.must(&fsm.Command{CacheDelete: &fsm.CacheDelete{Keys: all}})
	if got := names(); len(got) > 0 {
		t.Errorf("left: %v", got)
	}

	if s := stats(r); s.Entries != 0 || s.StateBytes != 0 {
		t.Errorf("counters: %+v", s)
	}
}

// Copies that are made later are found through the cached result.
func TestCache_copies(t *testing.T) {
	r := newRig(t)
	recorded(r, "r", key(1))
	holders := []pipeline.NodeID{"n3", "n4", "n5"}
	r.must(batch(fsm.Copies{ID: attempt("r", "m0", 1), Holders: holders}))
	e, _, _ := entryOf(r, key(1))
	if len(e.Holders) != 3 {
		t.Errorf("holders: %v", e.Holders)
	}
	r.must(&fsm.Command{CacheDelete: &fsm.CacheDelete{Keys: []pipeline.Digest{key(1)}}})
	if s := stats(r); s.StateBytes != 0 {
		t.Errorf("%d bytes are left", s.StateBytes)
	}
}

// Too many results: those that were used longest ago go first.
func TestCache_bounded(t *testing.T) {
	defer fsm.SetCacheLimits(32, 1<<20)()
	r := newRig(t)
	recorded(r, "first", key(1000))

	for i := range 31 {
		recorded(r, fmt.Sprintf("r%d", i), key(i))
	}

	later := batch(cached("user", "m0", key(1000), attempt("first", "m0", 1)))
	later.At = at.Add(time.Hour)
	r.must(submit(t, "user", 1), later)
	recorded(r, "last", key(2000))

	if s := stats(r); s.Entries != 30 || s.Evicted != 3 {
		t.Errorf("counters: %+v", s)
	}

	for k, want := range map[pipeline.Digest]bool{key(1000): true, key(2000): true, key(0): false, key(1): false, key(2): false, key(3): true} {
		if _, _, ok := entryOf(r, k); ok != want {
			t.Errorf("%s is there: %v", k, ok)
		}
	}
}
