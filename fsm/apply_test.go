package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Short names of the states, for the tables.
const (
	ok        = pipeline.AttemptSucceeded
	failed    = pipeline.AttemptFailed
	timedOut  = pipeline.AttemptTimedOut
	lost      = pipeline.AttemptLost
	cancelled = pipeline.AttemptCancelled
)

func next(o fsm.Outcome, s pipeline.ModuleState) fsm.Outcome { o.Next = s; return o }
func by(o fsm.Outcome, w pipeline.NodeID) fsm.Outcome        { o.Outcome.Worker = w; return o }
func fenced(o fsm.Outcome, n uint64) fsm.Outcome             { o.Outcome.Fence = n; return o }
func nobodys(a fsm.Assign) fsm.Assign                        { a.Worker = ""; return a }

// TestApply_batch: each element of a batch in each state it may meet. The
// first entry submits run r with the modules m0, m1 and m2.
func TestApply_batch(t *testing.T) {
	long := strings.Repeat("x", 2000)
	assigned := batch(assign("r", "m0", 1)) // is entry 2, and so is its fence
	running := []*fsm.Command{assigned, batch(start("r", "m0", 1))}
	isLost := []*fsm.Command{assigned, batch(outcome("r", "m0", 1, lost))}
	isDone := []*fsm.Command{assigned, batch(outcome("r", "m0", 1, ok))}
	allDone := batch(end("r", "m0", pipeline.ModuleSkipped), end("r", "m1", pipeline.ModuleSkipped), end("r", "m2", pipeline.ModuleSkipped))
	isOver := []*fsm.Command{allDone, batch(runEnd("r", pipeline.RunFailed))}
	for _, tc := range []struct {
		name   string
		before []*fsm.Command
		last   any
		want   string // of the last command; "" if it is accepted
	}{
		{"start", []*fsm.Command{assigned}, start("r", "m0", 1), ""},
		{"start again", running, start("r", "m0", 1), "duplicate: attempt is running"},
		{"start of what ended", isDone, start("r", "m0", 1), "attempt is succeeded"},
		{"start of what was lost", isLost, start("r", "m0", 1), "attempt is lost"},
		{"start of what was never assigned", nil, start("r", "m0", 1), "attempt 1 was never assigned"},
		{"start of attempt 0", running, start("r", "m0", 0), "attempt 0 was never assigned"},
		{"start of a negative attempt", running, start("r", "m0", -1), "attempt -1 was never assigned"},
		{"start in no run", nil, start("q", "m0", 1), "no such run"},

		{"outcome", running, outcome("r", "m0", 1, ok), ""},
		{"outcome before the start came", []*fsm.Command{assigned}, outcome("r", "m0", 1, failed), ""},
		{"outcome with its fence", running, fenced(outcome("r", "m0", 1, ok), 2), ""},
		{"outcome with another fence", running, fenced(outcome("r", "m0", 1, ok), 3), "attempt was assigned at 2, not at 3"},
		{"outcome of a nameless worker", running, by(outcome("r", "m0", 1, ok), ""), ""},
		{"outcome of another worker", running, by(outcome("r", "m0", 1, ok), "w2"), "attempt is another worker's"},
		{"outcome in no run", nil, outcome("q", "m0", 1, ok), "no such run"},
		{"outcome in a run without a name", nil, outcome("", "", 1, ok), "no such run"},
		{"outcome of a later attempt", running, outcome("r", "m0", 2, ok), "attempt 2 was never assigned"},
		{"outcome without a state", running, outcome("r", "m0", 1, ""), `no attempt ends ""`},
		{"outcome that is none", running, outcome("r", "m0", 1, pipeline.AttemptRunning), `no attempt ends "running"`},
		{"outcome that only we may give", running, outcome("r", "m0", 1, pipeline.AttemptSuperseded), `no attempt ends "superseded"`},
		{"outcome in words of its own", running, outcome("r", "m0", 1, "exploded"), `no attempt ends "exploded"`},
		{"outcome after which the module runs", running, next(outcome("r", "m0", 1, ok), pipeline.ModuleRunning), `an outcome makes no module "running"`},
		{"outcome after which the module is nothing", running, next(outcome("r", "m0", 1, ok), ""), `an outcome makes no module ""`},
		{"outcome again", isDone, outcome("r", "m0", 1, ok), "duplicate: attempt is succeeded"},
		{"another outcome", isDone, outcome("r", "m0", 1, failed), "attempt is succeeded"},
		{"loss of what succeeded", isDone, outcome("r", "m0", 1, lost), "attempt is succeeded"},
		{"loss again", isLost, outcome("r", "m0", 1, lost), "duplicate: attempt is lost"},
		{"outcome of what was lost", isLost, outcome("r", "m0", 1, ok), "superseded: the attempt was given up before its outcome came"},
		{"outcome of what was lost, by another", isLost, by(outcome("r", "m0", 1, ok), "w2"), "attempt is another worker's"},
		{"outcome of what was lost, no end", isLost, outcome("r", "m0", 1, "assigned"), `no attempt ends "assigned"`},
		{"outcome of what was lost, again", append(isLost, batch(outcome("r", "m0", 1, ok))), outcome("r", "m0", 1, ok), "duplicate: attempt is superseded"},

		{"end", nil, end("r", "m1", pipeline.ModuleSkipped), ""},
		{"end from a cache", nil, end("r", "m1", pipeline.ModuleCached), "no cached result is named"},
		{"end between attempts", isLost, end("r", "m0", pipeline.ModuleCancelled), ""},
		{"end while an attempt runs", running, end("r", "m0", pipeline.ModuleCancelled), "an attempt is live"},
		{"end well", nil, end("r", "m1", pipeline.ModuleSucceeded), `no module ends "succeeded" without an outcome`},
		{"end that is none", nil, end("r", "m1", pipeline.ModuleWaiting), `no module ends "waiting" without an outcome`},
		{"end again", isOver, end("r", "m1", pipeline.ModuleSkipped), "duplicate: module is skipped"},
		{"end otherwise", []*fsm.Command{allDone}, end("r", "m1", pipeline.ModuleFailed), "module is skipped"},
		{"end of a module without a name", nil, end("r", "", pipeline.ModuleSkipped), "the module's name is empty"},
		{"end of a module with a long name", nil, end("r", long, pipeline.ModuleSkipped), "the module's name has 2000 bytes; at most 1024 fit"},
		{"end in no run", nil, end("q", "m1", pipeline.ModuleSkipped), "no such run"},

		{"assign", nil, assign("r", "m0", 1), ""},
		{"assign again", isLost, assign("r", "m0", 2), ""},
		{"assign what is assigned", []*fsm.Command{assigned}, assign("r", "m0", 2), "module is running"},
		{"assign what is done", isDone, assign("r", "m0", 2), "module is succeeded"},
		{"assign an old number", isLost, assign("r", "m0", 1), "next attempt is 2"},
		{"assign a number to come", nil, assign("r", "m0", 2), "next attempt is 1"},
		{"assign number 0", nil, assign("r", "m0", 0), "next attempt is 1"},
		{"assign to nobody", nil, nobodys(assign("r", "m0", 1)), "no worker is named"},
		{"assign a module without a name", nil, assign("r", "", 1), "the module's name is empty"},
		{"assign a module with a long name", nil, assign("r", long, 1), "the module's name has 2000 bytes; at most 1024 fit"},
		{"assign in no run", nil, assign("q", "m0", 1), "no such run"},
		{"assign while the run is cancelled", []*fsm.Command{cancel("r")}, assign("r", "m0", 1), "run is cancelling"},
		{"assign after the run", isOver, assign("r", "m0", 1), "run is failed"},
		{"assign, its need is done", isDone, assign("r", "m1", 1, "m0"), ""},
		{"assign, its need is skipped", []*fsm.Command{allDone}, assign("r", "m3", 1, "m0"), "waits for m0"},
		{"assign, its need runs", running, assign("r", "m1", 1, "m0"), "waits for m0"},
		{"assign, its need waits", nil, assign("r", "m1", 1, "m0"), "waits for m0"},
		{"assign, its need failed", []*fsm.Command{assigned, batch(next(outcome("r", "m0", 1, failed), pipeline.ModuleFailed))},
			assign("r", "m1", 1, "m0"), "waits for m0"},

		{"end of the run", []*fsm.Command{allDone}, runEnd("r", pipeline.RunFailed), ""},
		{"end of the run, again", isOver, runEnd("r", pipeline.RunFailed), "duplicate: run is failed"},
		{"end of the run, otherwise", isOver, runEnd("r", pipeline.RunSucceeded), "run is failed"},
		{"end of the run before the modules", isDone, runEnd("r", pipeline.RunFailed), "2 modules are not done"},
		{"end of the run that is none", []*fsm.Command{allDone}, runEnd("r", pipeline.RunCancelling), `no run ends "cancelling"`},
		{"end of no run", nil, runEnd("q", pipeline.RunFailed), "no such run"},

		{"reopen", isDone, reopen("r", "m0", 1), ""},
		{"reopen whichever was last", isDone, reopen("r", "m0", 0), ""},
		{"reopen again", append(isDone, batch(reopen("r", "m0", 1))), reopen("r", "m0", 1), "duplicate: module is waiting"},
		{"reopen after another has succeeded", append(isDone, batch(reopen("r", "m0", 1)), batch(assign("r", "m0", 2)), batch(outcome("r", "m0", 2, ok))),
			reopen("r", "m0", 1), "attempt 2 has taken its place"},
		{"reopen what runs", running, reopen("r", "m0", 1), "module is running"},
		{"reopen what did not succeed", []*fsm.Command{assigned, allDone}, reopen("r", "m1", 0), "module is skipped"},
		{"reopen in a run that is cancelled", append(isDone, cancel("r")), reopen("r", "m0", 1), "run is cancelling"},
		{"reopen after the run", isOver, reopen("r", "m0", 1), "run is failed"},
		{"reopen a module without a name", isDone, reopen("r", "", 1), "the module's name is empty"},
		{"reopen in no run", nil, reopen("q", "m0", 1), "no such run"},

		{"copies", isDone, fsm.Copies{ID: attempt("r", "m0", 1), Holders: []pipeline.NodeID{"a", "b", "c"}}, ""},
		{"copies of no attempt", isDone, fsm.Copies{ID: attempt("r", "m0", 2)}, "attempt 2 was never assigned"},
		{"copies in no run", nil, fsm.Copies{ID: attempt("q", "m0", 1)}, "no such run"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.must(submit(t, "r", 3))

			for _, c := range tc.before {
				r.do(c)
			}

			before := walk(t, r.Store)
			got := refused(r.do(batch(tc.last)))
			if got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}

			if changed := cmp.Diff(content(before), content(walk(t, r.Store))); tc.want != "" && !strings.HasPrefix(tc.want, "superseded") && changed != "" {
				t.Errorf("it was refused, and changed (-before +after):\n%s", changed)
			}
		})
	}
}

// TestApply_refusalsByPlace: refusals name their part and index, and the other
// parts take effect.
func TestApply_refusalsByPlace(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 3), batch(assign("r", "m0", 1), assign("r", "m1", 1)))
	c := batch(start("r", "m9", 1), start("r", "m0", 1), outcome("r", "m1", 2, ok), outcome("r", "m1", 1, ok),
		end("r", "m1", pipeline.ModuleSkipped), assign("r", "m2", 1, "m0"), assign("r", "m2", 1, "m1"), runEnd("r", pipeline.RunFailed),
		fsm.Copies{ID: attempt("r", "m1", 1)}, fsm.Copies{ID: attempt("r", "m7", 1)})

	want := fsm.BatchResult{Refused: []fsm.Refusal{
		{Part: fsm.PartStart, At: 0, Reason: "attempt 1 was never assigned"},
		{Part: fsm.PartOutcome, At: 0, Reason: "attempt 2 was never assigned"},
		{Part: fsm.PartEnd, At: 0, Reason: "module is succeeded"},
		{Part: fsm.PartAssign, At: 0, Reason: "waits for m0"},
		{Part: fsm.PartRun, At: 0, Reason: "2 modules are not done"},
		{Part: fsm.PartCopies, At: 1, Reason: "attempt 1 was never assigned"},
	}}

	if diff := cmp.Diff(want, r.do(c)); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}

	if m := r.module("r", "m2"); m.State != pipeline.ModuleRunning || len(m.Attempts) != 1 {
		t.Errorf("m2 is %s with %d attempts, want it running", m.State, len(m.Attempts))
	}
}

// TestApply_history follows one module through a failure, a loss, a late
// outcome and success, and its run to its end.
func TestApply_history(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 2)) // entry 1
	assigned := at.Add(time.Minute)
	c := batch(fsm.Assign{ID: attempt("r", "m0", 1), Worker: "w1", WorkerName: "one", Incarnation: "i1", Evaluated: &pipeline.Evaluated{Script: "x"}})
	c.At = assigned
	r.must(c) // 2
	wantRun := pipeline.Run{ID: "r", Number: 1, Pipeline: "p", State: pipeline.RunRunning, Submitter: "ann", SubmittedAt: at, StartedAt: assigned,
		Modules: 2, Live: 1, Key: "key of r", Index: 2}
	if diff := cmp.Diff(wantRun, r.run("r")); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}

	want := pipeline.ModuleRecord{Name: "m0", State: pipeline.ModuleRunning, Index: 2, Attempts: []pipeline.Attempt{{Number: 1, Worker: "w1", WorkerName: "one",
		State: pipeline.AttemptAssigned, AssignedAt: assigned, Fence: 2, Incarnation: "i1", Evaluated: &pipeline.Evaluated{Script: "x"}}}}
	wantModule := func(step string) {
		t.Helper()
		if diff := cmp.Diff(want, r.module("r", "m0")); diff != "" {
			t.Errorf("module %s (-want +got):\n%s", step, diff)
		}
	}

	wantModule("assigned")

	r.must(batch(start("r", "m0", 1))) // 3
	a1 := &want.Attempts[0]
	a1.State, a1.StartedAt = pipeline.AttemptRunning, at.Add(time.Second)
	want.StartedAt, want.Index = a1.StartedAt, 3
	wantModule("started")

	o := outcome("r", "m0", 1, timedOut)
	o.Outcome.Reason, o.Outcome.ExitCode, o.Outcome.Log, o.Outcome.LogSize = "too slow", code(137), pipeline.EmptyDigest, 9
	o.Outcome.Holders = []pipeline.NodeID{"n1", "n2"}
	r.must(batch(o)) // 4
	a1.State, a1.Reason, a1.ExitCode, a1.Log, a1.LogSize = timedOut, "too slow", code(137), pipeline.EmptyDigest, 9
	a1.FinishedAt, a1.Holders, a1.Replicas, a1.Evaluated = at.Add(2*time.Second), o.Outcome.Holders, 2, nil
	want.State, want.Reason, want.Failures, want.NotBefore, want.Index = pipeline.ModuleWaiting, "again", 1, at.Add(time.Minute), 4
	wantModule("timed out")

	r.must(batch(assign("r", "m0", 2)), batch(outcome("r", "m0", 2, lost)), batch(assign("r", "m0", 3))) // 5 to 7
	late := outcome("r", "m0", 2, ok)
	late.Outcome.Reason = "all went well"
	late.Outcome.StartedAt, late.Outcome.FinishedAt = at.Add(time.Hour), at.Add(2*time.Hour)
	given := r.module("r", "m0").Attempts[1]

	if why := refused(r.do(batch(late))); !strings.HasPrefix(why, "superseded") { // 8
		t.Errorf("a late outcome: %q", why)
	}

	m := r.module("r", "m0")
	if m.State != pipeline.ModuleRunning || m.Losses != 1 || m.Failures != 1 || m.Result != nil || m.Attempts[1].State != pipeline.AttemptSuperseded ||
		m.Attempts[1].Replicas != 2 || m.Attempts[2].State != pipeline.AttemptAssigned || !m.NotBefore.IsZero() {
		t.Errorf("after a late outcome: %+v", m)
	}
	if a := m.Attempts[1]; !a.State.Lost() || a.Reason != given.Reason || !a.StartedAt.Equal(given.StartedAt) || !a.FinishedAt.Equal(given.FinishedAt) {
		t.Errorf("a late outcome changed when or why the attempt was given up: %+v, was %+v", a, given)
	}

	last := outcome("r", "m0", 3, ok)
	last.NotBefore = at.Add(time.Hour) // means nothing for what is final
	last.Outcome.Outputs = pipeline.EmptyDigest
	r.must(batch(last, end("r", "m1", pipeline.ModuleCancelled), runEnd("r", pipeline.RunWarnings))) // 9
	m = r.module("r", "m0")
	m.Attempts = nil
	wantLast := pipeline.ModuleRecord{Name: "m0", State: pipeline.ModuleSucceeded, Failures: 1, Losses: 1, Result: []byte(`{"n":1}`),
		Outputs: pipeline.EmptyDigest, OutputPaths: []string{"out/a"}, OutputCount: 1, OutputBytes: 5, StartedAt: at.Add(time.Second),
		FinishedAt: at.Add(2 * time.Second), Index: 9}

	if diff := cmp.Diff(wantLast, m); diff != "" {
		t.Errorf("module at the end (-want +got):\n%s", diff)
	}

	wantRun.State, wantRun.FinishedAt, wantRun.Done, wantRun.Failed, wantRun.Live, wantRun.Index, wantRun.Events = pipeline.RunWarnings, at, 2, 1, 0, 9, 4
	wantRun.Flaky = 1
	if diff := cmp.Diff(wantRun, r.run("r")); diff != "" {
		t.Errorf("run at the end (-want +got):\n%s", diff)
	}
}

// TestApply_refusedOutcome: an assignment that needs the outcome beside it goes
// with it.
func TestApply_refusedOutcome(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 2), batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, lost)))
	res := r.do(batch(outcome("r", "m0", 1, ok), assign("r", "m1", 1, "m0"))).(fsm.BatchResult)
	if len(res.Refused) != 2 || res.Refused[1].Reason != "waits for m0" {
		t.Errorf("refused: %+v; want the outcome and the assignment", res.Refused)
	}
	r.must(batch(assign("r", "m0", 2)), batch(outcome("r", "m0", 2, ok), assign("r", "m1", 1, "m0")))
}

// TestApply_reopen: a module whose outputs are gone runs again, and what needs
// it does not start before.
func TestApply_reopen(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 2), batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, ok)))
	res := r.do(batch(reopen("r", "m0", 1), assign("r", "m1", 1, "m0"), end("r", "m1", pipeline.ModuleSkipped), runEnd("r", pipeline.RunFailed))).(fsm.BatchResult)
	want := []fsm.Refusal{{Part: fsm.PartAssign, Reason: "module is skipped"}, {Part: fsm.PartRun, Reason: "1 modules are not done"}}
	if diff := cmp.Diff(want, res.Refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}

	m := r.module("r", "m0")
	m.Attempts = nil

	if diff := cmp.Diff(pipeline.ModuleRecord{Name: "m0", State: pipeline.ModuleWaiting, Reason: "what it left is gone", Losses: 1, Index: 4}, m); diff != "" {
		t.Errorf("module (-want +got):\n%s", diff)
	}

	if run := r.run("r"); run.Done != 1 || run.State != pipeline.RunRunning {
		t.Errorf("%d done, %s; want 1, running", run.Done, run.State)
	}

	r.must(batch(assign("r", "m0", 2)), batch(outcome("r", "m0", 2, ok), runEnd("r", pipeline.RunWarnings)))
	if list := r.module("r", "m0").Attempts; len(list) != 2 || list[0].Reason != "" || list[1].Reason != "what it left is gone" {
		t.Errorf("attempts %+v: want the reason of the second", list)
	}
}

// What an attempt was made for is no reason why it failed.
func TestApply_reopenedFails(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 1), batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, ok)))
	r.must(batch(reopen("r", "m0", 1), assign("r", "m0", 2)))
	r.must(batch(outcome("r", "m0", 2, pipeline.AttemptFailed)))
	if list := r.module("r", "m0").Attempts; len(list) != 2 || list[1].Reason != "" {
		t.Errorf("attempts %+v: want no reason", list)
	}
}

func TestApply_empty(t *testing.T) {
	r := newRig(t)
	before := walk(t, r.Store)
	if why := refused(r.do(batch())); why != "" {
		t.Errorf("an empty batch: %q", why)
	}
	if n := len(walk(t, r.Store)) - len(before); n != 2 { // index and term
		t.Errorf("an empty batch made %d pairs, want index and term", n)
	}
	if got := fmt.Sprint(r.Index()); got != "1" {
		t.Errorf("index %s, want 1", got)
	}
}
