package service_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

var at = time.Unix(1_800_000_000, 0).UTC()

const two = `pipeline "p" {
  module "a" { command = ["true"] }
  module "b" {
    command    = ["true"]
    depends_on = [module.a]
  }
}`

func TestRuns_Submit(t *testing.T) {
	r := newRig(t)
	in := wire.SubmitRequest{Source: two, FileName: "test.hcl", Workspace: pipeline.Digest(strings.Repeat("a", 64))}
	made, err := r.runs.Submit(t.Context(), sam, "key", in)
	if err != nil || made.Number != 1 || made.Repeated {
		t.Fatalf("got %+v, %v", made, err)
	}
	if got := r.leader.commits.Load(); got != 1 {
		t.Errorf("%d entries of the log, want one", got)
	}
	run := r.read(made.ID)
	if run.Submitter != "sam" || run.Pipeline != "p" || run.ModuleCount != 2 || !slices.Equal(moduleNames(run), []string{"a", "b"}) {
		t.Errorf("got %+v", run)
	}

	again, err := r.runs.Submit(t.Context(), sam, "key", in)
	if err != nil || again.ID != made.ID || !again.Repeated {
		t.Errorf("the same key again: %+v, %v", again, err)
	}
	in.Source += "\n"
	_, err = r.runs.Submit(t.Context(), sam, "key", in)
	wantKind(t, err, pipeline.Conflict)
}

func TestRuns_Submit_refuses(t *testing.T) {
	r := newRig(t)
	gone := pipeline.Digest(strings.Repeat("b", 64))
	r.workspaces.missing = gone
	for name, c := range map[string]struct {
		in   wire.SubmitRequest
		kind pipeline.Kind
		text string
	}{
		"cache":     {wire.SubmitRequest{Source: two, Cache: "sometimes"}, pipeline.Invalid, "sometimes"},
		"workspace": {wire.SubmitRequest{Source: two, Workspace: gone}, pipeline.Invalid, "workspace"},
	} {
		_, err := r.runs.Submit(t.Context(), sam, "", c.in)
		if pipeline.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v", name, err)
		}
	}

	var source *api.SourceError
	_, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{Source: "pipeline \"p\" {\n  module \"a\" {}\n}"})
	if !errors.As(err, &source) || len(source.Diagnostics) == 0 || source.Diagnostics[0].File != "pipeline.hcl" {
		t.Errorf("a wrong source: %v", err)
	}
	if r.leader.commits.Load() != 0 {
		t.Error("something was committed")
	}
}

func TestRuns_Runs_pages(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.submit(two)
	}
	var numbers []uint64
	q := api.RunQuery{Limit: 2}
	for {
		list, err := r.runs.Runs(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range list.Runs {
			numbers = append(numbers, run.Number)
		}
		if list.Cursor == "" {
			break
		}
		q.Cursor = list.Cursor
	}
	if !slices.Equal(numbers, []uint64{5, 4, 3, 2, 1}) {
		t.Errorf("got %v", numbers)
	}
	for _, cursor := range []string{"0", "zz", "01", "-1"} {
		_, err := r.runs.Runs(t.Context(), api.RunQuery{Cursor: cursor})
		wantKind(t, err, pipeline.Invalid, cursor)
	}
	if list, err := r.runs.Runs(t.Context(), api.RunQuery{Pipeline: "other"}); err != nil || list.Runs == nil || len(list.Runs) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

// A reader that waits gets the run after its next change, with the modules that
// changed only.
func TestRuns_Run_waits(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	before := r.read(made.ID)
	got := make(chan wire.Run, 1)
	go func() {
		run, err := r.runs.Run(t.Context(), made.ID, before.Index, time.Minute, before.Index)
		if err != nil {
			t.Error(err)
		}
		got <- run
	}()
	r.attempt(made.ID, "a", 1, "")
	run := <-got
	if run.Index <= before.Index || !slices.Equal(moduleNames(run), []string{"a"}) {
		t.Errorf("got index %d after %d, modules %v", run.Index, before.Index, moduleNames(run))
	}
	unchanged, err := r.runs.Run(t.Context(), made.ID, run.Index, time.Millisecond, 0)
	if err != nil || unchanged.Index != run.Index {
		t.Errorf("after the wait: index %d, %v", unchanged.Index, err)
	}
	_, err = r.runs.Run(t.Context(), "none", 0, 0, 0)
	wantKind(t, err, pipeline.NotFound, "none")
}

func TestRuns_Run_explainsWaiting(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	if m := r.read(made.ID).Modules[0]; m.Reason != "" {
		t.Errorf("a node that does not lead knows why: %q", m.Reason)
	}
	r.planner.waiting = map[string]string{"a": "no worker is free"}
	if m := r.read(made.ID).Modules[0]; m.Name != "a" || m.Reason != "no worker is free" {
		t.Errorf("got %q", m.Reason)
	}
}

func TestRuns_Cancel(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	for range 2 { // again changes nothing
		run, err := r.runs.Cancel(t.Context(), sam, made.ID, wire.CancelRequest{})
		if err != nil || run.State != pipeline.RunCancelling || run.Reason != "by sam" {
			t.Fatalf("got %+v, %v", run, err)
		}
	}
	r.commit(fsm.Batch{Ends: []fsm.End{{Run: made.ID, Module: "a", State: pipeline.ModuleCancelled}, {Run: made.ID, Module: "b", State: pipeline.ModuleCancelled}},
		Runs: []fsm.RunEnd{{Run: made.ID, State: pipeline.RunCancelled}}})
	_, err := r.runs.Cancel(t.Context(), sam, made.ID, wire.CancelRequest{})
	wantKind(t, err, pipeline.Conflict, "was cancelled")
	_, err = r.runs.Cancel(t.Context(), sam, "none", wire.CancelRequest{})
	wantKind(t, err, pipeline.NotFound)
}

func TestRuns_Pin(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	for _, pinned := range []bool{true, false} {
		run, err := r.runs.Pin(t.Context(), sam, made.ID, pinned)
		if err != nil || run.Pinned != pinned {
			t.Errorf("pin %v: got %+v, %v", pinned, run, err)
		}
	}
}

func TestRuns_Locks_none(t *testing.T) {
	r := newRig(t)
	list, err := r.runs.Locks(t.Context())
	if err != nil || list.Locks == nil {
		t.Errorf("got %+v, %v; want an empty list", list, err)
	}
}

func TestRuns_Estimate(t *testing.T) {
	r := newRig(t)
	r.planner.estimate = func(def *pipeline.Pipeline) pipeline.Estimate {
		return pipeline.Estimate{Known: true, Seconds: float64(len(def.Modules))}
	}
	e, err := r.runs.Estimate(t.Context(), sam, wire.SubmitRequest{Source: two})
	if err != nil || e.Seconds != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
	if r.leader.commits.Load() != 0 {
		t.Error("an estimate was committed")
	}
}

// A failed run resumes with what failed and what depends on it; the same request
// again changes nothing.
func TestRuns_Retry(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	_, err := r.runs.Retry(t.Context(), sam, made.ID, wire.RetryRequest{})
	wantKind(t, err, pipeline.Conflict, "has not finished")

	r.attempt(made.ID, "a", 1, pipeline.AttemptSucceeded)
	r.attempt(made.ID, "b", 1, pipeline.AttemptFailed)
	r.commit(fsm.Batch{Runs: []fsm.RunEnd{{Run: made.ID, State: pipeline.RunFailed}}})

	_, err = r.runs.Retry(t.Context(), sam, made.ID, wire.RetryRequest{From: []string{"aa"}})
	wantKind(t, err, pipeline.NotFound, `did you mean "a"?`)
	for range 2 {
		if _, err := r.runs.Retry(t.Context(), sam, made.ID, wire.RetryRequest{Request: "q1"}); err != nil {
			t.Fatal(err)
		}
	}
	run := r.read(made.ID)
	states := map[string]pipeline.ModuleState{}
	for i := range run.Modules {
		states[run.Modules[i].Name] = run.Modules[i].State
	}
	if states["a"] != pipeline.ModuleSucceeded || states["b"] != pipeline.ModuleWaiting || run.State.Final() {
		t.Errorf("the run is %s with %v", run.State, states)
	}
}

// Without a leader a node does not judge by a state that may be behind.
func TestRuns_Retry_behind(t *testing.T) {
	r := newRig(t)
	r.follow(nil)
	_, err := r.runs.Retry(t.Context(), sam, "none", wire.RetryRequest{})
	if !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("got %v", err)
	}
	_, err = r.runs.Decide(t.Context(), sam, "none", api.ApprovalDecision{Module: "a", Decision: pipeline.Approved})
	if !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("got %v", err)
	}
}
