package fsm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func retry(run string, tries int, modules ...string) *fsm.Command {
	return &fsm.Command{Retry: &fsm.Retry{Run: pipeline.RunID(run), Tries: tries, Modules: modules}}
}

func expand(run, module string, keys ...string) fsm.Expand {
	e := fsm.Expand{Run: pipeline.RunID(run), Module: module}
	for _, k := range keys {
		e.Instances = append(e.Instances, pipeline.Instance{Key: k})
	}
	return e
}

// holders returns who holds which key.
func (r *rig) holders() map[string]string {
	out := map[string]string{}
	view(r.tb, r.Store, func(v *fsm.View) {
		for _, l := range v.Locks() {
			for _, h := range l.Holders {
				out[l.Key] += h.Attempt.Module
			}
		}
	})
	return out
}

func TestApply_locks(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 3), submit(t, "q", 1), batch(locked(assign("r", "m0", 1), "a", "b")))

	for _, tc := range []struct {
		name string
		op   fsm.Assign
		want string
	}{
		{"one of its keys is held", locked(assign("q", "m0", 1), "b", "c"), `"b" is held by r/m0/1`},
		{"by the same run too", locked(assign("r", "m1", 1), "a"), `"a" is held by r/m0/1`},
		{"no key", locked(assign("r", "m1", 1), ""), "the lock's key is empty"},
		{"a long key", locked(assign("r", "m1", 1), strings.Repeat("k", 2000)), "the lock's key has 2000 bytes; at most 1024 fit"},
		{"many keys", locked(assign("r", "m1", 1), make([]string, 65)...), "65 locks are more than 64"},
	} {
		before := content(walk(t, r.Store))
		if got := refused(r.do(batch(tc.op))); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		wantEqual(t, tc.name, before, content(walk(t, r.Store)))
	}

	r.must(batch(start("r", "m0", 1)))
	if diff := cmp.Diff(map[string]string{"a": "m0", "b": "m0"}, r.holders()); diff != "" {
		t.Errorf("while it runs (-want +got):\n%s", diff)
	}

	// The outcome and the next holder may share an entry.
	r.must(batch(outcome("r", "m0", 1, ok), locked(assign("q", "m0", 1), "b", "c")))
	if diff := cmp.Diff(map[string]string{"b": "m0", "c": "m0"}, r.holders()); diff != "" {
		t.Errorf("passed on (-want +got):\n%s", diff)
	}

	// A loss unlocks, and a late outcome of the lost attempt does not unlock
	// its successor's key.
	r.must(batch(outcome("q", "m0", 1, lost), locked(assign("r", "m1", 1), "b")))
	r.do(batch(outcome("q", "m0", 1, ok)))

	if diff := cmp.Diff(map[string]string{"b": "m1"}, r.holders()); diff != "" {
		t.Errorf("after a late outcome (-want +got):\n%s", diff)
	}
}

// A key has as many holders as each of them allows, at most.
func TestApply_lockHolders(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 9))
	shared := func(module string, n int) fsm.Assign {
		a := locked(assign("r", module, 1), "gpu")
		a.LockHolders = map[string]int{"gpu": n, "other": 7}
		return a
	}
	want := func(a fsm.Assign, why string) {
		t.Helper()
		if got := refused(r.do(batch(a))); got != why {
			t.Errorf("%s: %q, want %q", a.ID, got, why)
		}
	}

	want(shared("m0", 1001), `1001 holders of "gpu" are more than 1000`)
	want(shared("m0", 3), "")
	want(locked(assign("r", "m1", 1), "gpu"), `"gpu" is held by r/m0/1`)
	want(shared("m1", 2), "")
	want(shared("m2", 3), `"gpu" is held by r/m0/1, r/m1/1`) // m1 allows two
	r.must(batch(outcome("r", "m1", 1, ok), shared("m2", 3)))
	want(shared("m3", 3), "")
	want(shared("m4", 3), `"gpu" is held by r/m0/1, r/m2/1, r/m3/1`)
	want(shared("m4", 4), `"gpu" is held by r/m0/1, r/m2/1, r/m3/1`)
	r.must(batch(outcome("r", "m0", 1, lost)))
	r.do(batch(outcome("r", "m0", 1, ok))) // late: it changes nothing
	if diff := cmp.Diff(map[string]string{"gpu": "m2m3"}, r.holders()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	twice := shared("m4", 3)
	twice.Locks = []string{"gpu", "gpu"}
	want(twice, "")
	if diff := cmp.Diff(map[string]string{"gpu": "m2m3m4"}, r.holders()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.must(batch(outcome("r", "m2", 1, ok), outcome("r", "m3", 1, ok), outcome("r", "m4", 1, ok)))
	if diff := cmp.Diff(map[string]string{}, r.holders()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An approval waits for what is decided, or skipped, in the same entry.
func TestApply_awaitInOneEntry(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 4), batch(await("r", "m0")))
	after := func(module, need string) fsm.Await { a := await("r", module, need); a.NotFailed = true; return a }
	r.must(batch(after("m2", "m0"), after("m3", "m1"), decide("r", "m0", pipeline.Skipped), end("r", "m1", pipeline.ModuleSkipped)))
}

// What ended without a failure that counts keeps no module with NotFailed waiting.
func TestApply_notFailed(t *testing.T) {
	ignored := func(o fsm.Outcome) fsm.Outcome { o.Next, o.Ignored = pipeline.ModuleFailed, true; return o }
	counted := func(o fsm.Outcome) fsm.Outcome { o.Next = pipeline.ModuleFailed; return o }
	stopped := func(o fsm.Outcome) fsm.Outcome { o.Next = pipeline.ModuleSkipped; return o }
	blocked := func(e fsm.End) fsm.End { e.Blocked = true; return e }

	for _, tc := range []struct {
		name    string
		begun   bool
		end     any
		refused bool
	}{
		{"waits", false, nil, true},
		{"skipped", false, end("r", "m0", pipeline.ModuleSkipped), false},
		{"skipped after a failure", false, blocked(end("r", "m0", pipeline.ModuleSkipped)), true},
		{"cancelled", false, end("r", "m0", pipeline.ModuleCancelled), true},
		{"succeeded", true, outcome("r", "m0", 1, ok), false},
		{"failed", true, counted(outcome("r", "m0", 1, failed)), true},
		{"failed, and ignored", true, ignored(outcome("r", "m0", 1, failed)), false},
		{"lost, and the run stops", true, stopped(outcome("r", "m0", 1, lost)), true},
	} {
		r := newRig(t)
		r.must(submit(t, "r", 3))
		if tc.begun {
			r.must(batch(assign("r", "m0", 1)))
		}
		if tc.end != nil {
			r.must(batch(tc.end))
		}

		next := assign("r", "m1", 1, "m0")
		next.NotFailed = true
		want := ""
		if tc.refused {
			want = "waits for m0"
		}
		if got := refused(r.do(batch(next))); got != want {
			t.Errorf("%s: %q, want %q", tc.name, got, want)
		}

		ask := await("r", "m2", "m0")
		ask.NotFailed = true
		if got := refused(r.do(batch(ask))); got != want {
			t.Errorf("%s, an approval: %q, want %q", tc.name, got, want)
		}
	}
}

func TestApply_expand(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before []*fsm.Command
		op     fsm.Expand
		want   string
	}{
		{"two", nil, expand("r", "m0", "x", "y"), ""},
		{"none", nil, expand("r", "m0"), ""},
		{"of no run", nil, expand("q", "m0", "x"), "no such run"},
		{"no name", nil, expand("r", "", "x"), "the module's name is empty"},
		{"no key", nil, expand("r", "m0", ""), "the instance's key is empty"},
		{"one key twice", nil, expand("r", "m0", "x", "x"), `two instances have the key "x"`},
		{"too many", nil, expand("r", "m0", make([]string, 1<<13+1)...), "8193 instances are more than 8192"},
		{"what runs", []*fsm.Command{batch(assign("r", "m0", 1))}, expand("r", "m0", "x"), "module is running"},
		{"what was tried", []*fsm.Command{batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, failed))}, expand("r", "m0", "x"), "module has attempts"},
		{"again", []*fsm.Command{batch(expand("r", "m0", "x"))}, expand("r", "m0", "x"), "duplicate: module is succeeded"},
		{"needs what waits", nil, fsm.Expand{Run: "r", Module: "m0", Needs: []string{"m1"}}, "waits for m1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.must(submit(t, "r", 2))
			r.must(tc.before...)
			before := content(walk(t, r.Store))
			if got := refused(r.do(batch(tc.op))); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}

			if tc.want != "" {
				wantEqual(t, "it changed something", before, content(walk(t, r.Store)))
				return
			}

			m, run := r.module("r", "m0"), r.run("r")
			if m.State != pipeline.ModuleSucceeded || !m.Expanded || len(m.Instances) != len(tc.op.Instances) {
				t.Errorf("the module is %+v", m)
			}

			if run.Modules != 2+len(tc.op.Instances) || run.Replaced != min(1, len(tc.op.Instances)) || run.Done != 1 || run.State != pipeline.RunRunning {
				t.Errorf("the run is %+v", run)
			}
		})
	}
}

func TestApply_retry(t *testing.T) {
	// m0 became x and y, of which y failed; m1 was skipped.
	over := func(r *rig) {
		r.must(submit(t, "r", 2), batch(expand("r", "m0", "x", "y"), assign("r", "m0[x]", 1), assign("r", "m0[y]", 1)))
		o := outcome("r", "m0[y]", 1, failed)
		o.Next = pipeline.ModuleFailed
		r.must(batch(outcome("r", "m0[x]", 1, ok), o, end("r", "m1", pipeline.ModuleSkipped), runEnd("r", pipeline.RunFailed)))
	}

	for _, tc := range []struct {
		name                  string
		op                    *fsm.Command
		want                  string
		modules, done, failed int
	}{
		{"what failed and was skipped", retry("r", 0, "m0[y]", "m1"), "", 4, 2, 0},
		{"names that come twice", retry("r", 0, "m1", "m0[y]", "m1"), "", 4, 2, 0},
		{"the whole of a block", retry("r", 0, "m0", "m1"), "", 2, 0, 0},
		{"a block and its instance", retry("r", 0, "m0", "m0[y]"), "", 2, 1, 0},
		{"nothing", retry("r", 0), "conflict: run r has nothing to retry: every module succeeded", 0, 0, 0},
		{"no run", retry("q", 0, "m1"), "not_found: no run q", 0, 0, 0},
		{"no name", retry("r", 0, ""), "invalid: the module's name is empty", 0, 0, 0},
		{"what has not ended", retry("r", 0, "m7"), "conflict: module m7 has not ended", 0, 0, 0},
		{"of another try", retry("r", 1, "m1"), "conflict: run r was retried meanwhile", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			over(r)
			before := content(walk(t, r.Store))
			if got := refused(r.do(tc.op)); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}

			if tc.want != "" {
				wantEqual(t, "it changed something", before, content(walk(t, r.Store)))
				return
			}

			run := r.run("r")
			if run.State != pipeline.RunRunning || run.Modules != tc.modules || run.Done != tc.done || run.Failed != tc.failed || run.Replaced != max(0, tc.modules-3) || run.Tries != 1 || !run.FinishedAt.IsZero() {
				t.Errorf("the run is %+v", run)
			}

			after := content(walk(t, r.Store))
			r.must(tc.op) // a repeat of it
			wantEqual(t, "the repeat", after, content(walk(t, r.Store)))
		})
	}

	r := newRig(t)
	r.must(submit(t, "r", 1))

	if got := refused(r.do(retry("r", 0, "m0"))); got != "conflict: run r has not finished: it is waiting" {
		t.Errorf("of a run that has not finished: %q", got)
	}
}

// TestApply_retry_budgets: a module that is tried again has its history, the
// next number and fresh budgets.
func TestApply_retry_budgets(t *testing.T) {
	r := newRig(t)
	o := outcome("r", "m0", 2, failed)
	o.Next = pipeline.ModuleFailed
	r.must(submit(t, "r", 1), batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, lost)), batch(assign("r", "m0", 2)),
		batch(o, runEnd("r", pipeline.RunFailed)), retry("r", 0, "m0"))

	m := r.module("r", "m0")
	if m.State != pipeline.ModuleWaiting || m.Failures != 0 || m.Losses != 0 || len(m.Attempts) != 2 || m.Tried != 2 || m.Reason != "" {
		t.Errorf("the module is %+v", m)
	}

	if got := refused(r.do(batch(assign("r", "m0", 1)))); got == "" {
		t.Error("a number was given twice")
	}

	r.must(batch(assign("r", "m0", 3)), batch(outcome("r", "m0", 3, ok), runEnd("r", pipeline.RunSucceeded)))
}

func TestApply_cancel_forced(t *testing.T) {
	ask := func(request string, timedOut bool, tries int) *fsm.Command {
		return &fsm.Command{Cancel: &fsm.Cancel{Run: "r", Reason: "enough", Request: request, TimedOut: timedOut, Tries: tries}}
	}

	for _, tc := range []struct {
		name             string
		cmds             []*fsm.Command
		state            pipeline.RunState
		forced, timedOut bool
	}{
		{"once", []*fsm.Command{ask("q1", false, 0)}, pipeline.RunCancelling, false, false},
		{"the same request twice", []*fsm.Command{ask("q1", false, 0), ask("q1", false, 0)}, pipeline.RunCancelling, false, false},
		{"two requests", []*fsm.Command{ask("q1", false, 0), ask("q2", false, 0)}, pipeline.RunCancelling, true, false},
		{"its time is over", []*fsm.Command{ask("", true, 0)}, pipeline.RunCancelling, false, true},
		{"its time was over in an earlier try", []*fsm.Command{ask("", true, 7)}, pipeline.RunRunning, false, false},
		{"cancelled, then its time is over", []*fsm.Command{ask("q1", false, 0), ask("", true, 0)}, pipeline.RunCancelling, false, false},
		{"its time is over, then cancelled", []*fsm.Command{ask("", true, 0), ask("q1", false, 0)}, pipeline.RunCancelling, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.must(submit(t, "r", 1), batch(assign("r", "m0", 1)))
			r.must(tc.cmds...)
			if got := r.run("r"); got.State != tc.state || got.Forced != tc.forced || got.TimedOut != tc.timedOut {
				t.Errorf("state %s, forced %v, timed out %v; want %s, %v, %v", got.State, got.Forced, got.TimedOut, tc.state, tc.forced, tc.timedOut)
			}
		})
	}
}
