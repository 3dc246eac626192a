package fsm_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// digestOf is a digest that a text stands for.
func digestOf(text string) pipeline.Digest {
	return pipeline.Digest(fmt.Sprintf("%x", sha256.Sum256([]byte(text))))
}

// retrying is a run that retries the run r and takes results of it over.
func retrying(tb tester, id string, tries int, take ...string) *fsm.Command {
	tb.Helper()
	c := submit(tb, id, 3)
	c.Submit.Run.RetryOf = &pipeline.RetryOf{RunLink: pipeline.RunLink{ID: "r"}, Variables: []string{"tag"}}
	c.Submit.Take, c.Submit.Tries = take, tries
	return c
}

// failedRun makes the run r, of which m0 succeeded and m1 failed; m2 was skipped.
func failedRun(r *rig) {
	c := submit(r.tb, "r", 3)
	c.Submit.Run.Untrusted = true
	o := outcome("r", "m0", 1, pipeline.AttemptSucceeded)
	o.Outcome.Log, o.Outcome.LogSize, o.Outcome.Outputs = digestOf("log"), 7, digestOf("outputs")
	first := assign("r", "m0", 1)
	first.Evaluated = &pipeline.Evaluated{Sealed: []byte("command"), SealedDerived: []byte("to be masked")}
	r.must(c, batch(first, assign("r", "m1", 1)), batch(start("r", "m0", 1)), batch(o, endsFailed("r", "m1", 1)),
		batch(fsm.End{Run: "r", Module: "m2", State: pipeline.ModuleSkipped}), batch(fsm.RunEnd{Run: "r", State: pipeline.RunFailed}))
}

// A run takes results of another one over: the module has ended, with the result, the
// log and the outputs of the attempt that made them.
func TestApply_takeover(t *testing.T) {
	r := newRig(t)
	failedRun(r)
	r.must(retrying(t, "s", 0, "m0", "m0"))

	s := r.run("s")
	if s.Done != 1 || s.Cached != 1 || s.Modules != 3 || s.State != pipeline.RunWaiting || !s.Untrusted || s.RetryOf.Number != 1 || s.RetryOf.Variables[0] != "tag" {
		t.Errorf("the new run: %+v", s)
	}
	if of := r.run("r"); len(of.RetriedAs) != 1 || of.RetriedAs[0] != (pipeline.RunLink{ID: "s", Number: 2}) || of.State != pipeline.RunFailed {
		t.Errorf("the old run: %+v", of)
	}
	m := r.module("s", "m0")
	if m.State != pipeline.ModuleCached || string(m.Result) != `{"n":1}` || m.Outputs != digestOf("outputs") || m.Recorded != time.Second || len(m.Attempts) != 1 {
		t.Fatalf("m0: %+v", m)
	}
	if a := m.Attempts[0]; *a.From != attempt("r", "m0", 1) || a.Log != digestOf("log") || a.LogSize != 7 || len(a.Holders) != 2 || a.State != pipeline.AttemptSucceeded || a.Worker != "" ||
		string(a.Evaluated.SealedDerived) != "to be masked" || a.Evaluated.Sealed != nil {
		t.Errorf("attempt: %+v", a)
	}
	if m := r.module("s", "m1"); m.State != pipeline.ModuleWaiting {
		t.Errorf("m1: %+v", m)
	}

	// It is kept when the old run is deleted, and can be lost and run again.
	r.must(&fsm.Command{Forget: &fsm.Forget{Runs: []pipeline.RunID{"r"}}})
	var kept []pipeline.Digest
	view(t, r.Store, func(v *fsm.View) {
		_ = v.References(func(ref fsm.Reference) error { kept = append(kept, ref.Digest); return nil })
	})
	if !slices.Contains(kept, digestOf("log")) || !slices.Contains(kept, digestOf("outputs")) {
		t.Errorf("kept: %v", kept)
	}
	r.must(batch(assign("s", "m1", 1)), batch(fsm.Reopen{Run: "s", Module: "m0", Reason: "output_lost", Attempt: 1}), batch(assign("s", "m0", 2)))
	if m, run := r.module("s", "m0"), r.run("s"); m.State != pipeline.ModuleRunning || run.Done != 0 || run.Cached != 0 {
		t.Errorf("after its outputs were lost: %+v, %+v", m, run)
	}
}

// A run is not made of one that is another by then, or whose files are gone.
func TestApply_takeoverRefused(t *testing.T) {
	for what, tc := range map[string]struct {
		before *fsm.Command
		c      func(tester) *fsm.Command
		want   string
	}{
		"a module that failed":        {nil, func(tb tester) *fsm.Command { return retrying(tb, "s", 0, "m1") }, "module m1 of run r has not succeeded"},
		"no module":                   {nil, func(tb tester) *fsm.Command { return retrying(tb, "s", 0, "") }, "name is empty"},
		"another number of tries":     {nil, func(tb tester) *fsm.Command { return retrying(tb, "s", 1, "m0") }, "was retried meanwhile"},
		"an active run":               {&fsm.Command{Retry: &fsm.Retry{Run: "r", Modules: []string{"m1"}}}, func(tb tester) *fsm.Command { return retrying(tb, "s", 1, "m0") }, "has not finished"},
		"a run without its artifacts": {&fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{"r"}}}, func(tb tester) *fsm.Command { return retrying(tb, "s", 0, "m0") }, "no longer kept"},
		"a deleted run":               {&fsm.Command{Forget: &fsm.Forget{Runs: []pipeline.RunID{"r"}}}, func(tb tester) *fsm.Command { return retrying(tb, "s", 0, "m0") }, "no run r"},
	} {
		r := newRig(t)
		failedRun(r)
		if tc.before != nil {
			r.must(tc.before)
		}
		res, ok := r.do(tc.c(t)).(fsm.SubmitResult)
		if !ok || res.Err == nil || !strings.Contains(res.Err.Error(), tc.want) {
			t.Errorf("%s: %+v", what, res)
		}
		view(t, r.Store, func(v *fsm.View) {
			if _, made := v.Run("s"); made {
				t.Errorf("%s: the run exists", what)
			}
		})
	}
}

// The run names the newest of those that retry it.
func TestApply_takeoverOften(t *testing.T) {
	r := newRig(t)
	failedRun(r)
	for _, id := range strings.Split("abcdefghij", "") {
		r.must(retrying(t, id, 0, "m0"))
	}
	if list := r.run("r").RetriedAs; len(list) != 8 || list[0].ID != "c" || list[7].ID != "j" {
		t.Errorf("%v", list)
	}
}

// A module that ran a pipeline keeps its result and the link to the run that made it.
func TestApply_takeover_child(t *testing.T) {
	r := parent(t)
	r.must(ended("c", pipeline.AttemptSucceeded, pipeline.RunSucceeded, "")...)
	r.must(batch(assign("r", "m1", 1)), batch(endsFailed("r", "m1", 1)), batch(fsm.RunEnd{Run: "r", State: pipeline.RunFailed}))
	r.must(retrying(t, "s", 0, "m0"))
	if m := r.module("s", "m0"); m.State != pipeline.ModuleSucceeded || m.Reason != "result of run 1, which this one retries" || len(m.Result) == 0 || m.LastChild().Run != "c" {
		t.Errorf("m0: %+v", m)
	}
}
