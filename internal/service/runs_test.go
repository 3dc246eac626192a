package service_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const single = `  module "m" { command = ["true"] }`

// Pages of runs, newest first, have each run once, and the last has no cursor.
func TestRuns_Runs_pages(t *testing.T) {
	r := newRig(t)
	var want []pipeline.RunID
	for range 5 {
		want = append([]pipeline.RunID{r.newRun(single)}, want...)
	}

	var got []pipeline.RunID
	var pages []int
	for cursor := ""; ; {
		list, err := r.runs.Runs(t.Context(), api.RunQuery{Limit: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Runs {
			got = append(got, list.Runs[i].ID)
		}
		pages = append(pages, len(list.Runs))
		if cursor = list.Cursor; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(pages, []int{2, 2, 1}) {
		t.Errorf("runs %v in pages of %v, want %v", got, pages, want)
	}
	if list, err := r.runs.Runs(t.Context(), api.RunQuery{Limit: 5}); err != nil || len(list.Runs) != 5 || list.Cursor != "" {
		t.Errorf("a page that is just full: %d runs, cursor %q, %v", len(list.Runs), list.Cursor, err)
	}
	if list, err := r.runs.Runs(t.Context(), api.RunQuery{Limit: 100_000}); err != nil || len(list.Runs) != 5 {
		t.Errorf("a limit beyond the greatest: %d runs, %v", len(list.Runs), err)
	}
}

// Every word that is searched for must be in the head of a run, or name one of its
// modules.
func TestRuns_Runs_searches(t *testing.T) {
	r := newRig(t)
	plain := r.newRun(single)
	of, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{Source: "pipeline \"release\" {\n" + strings.Replace(single, `"m"`, `"unit"`, 1) + "\n}",
		Git: &pipeline.Git{SHA: "57ad523c0ffee", Branch: "Feature/x"}})
	if err != nil {
		t.Fatal(err)
	}
	r.succeed(of.ID, "unit")
	if got := r.read(of.ID).Git; got == nil || got.Branch != "Feature/x" {
		t.Errorf("the facts of the commit: %+v", got)
	}

	for words, want := range map[string][]pipeline.RunID{
		"release": {of.ID}, "feature/X": {of.ID}, "57ad": {of.ID}, "release sam": {of.ID}, "release unknown": nil, string(plain): {plain},
		"unit": {of.ID}, "release unit": {of.ID}, "release uni": nil, "": {of.ID, plain},
	} {
		list, err := r.runs.Runs(t.Context(), api.RunQuery{Words: strings.Fields(words)})
		var got []pipeline.RunID
		for _, run := range list.Runs {
			got = append(got, run.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", words, got, err, want)
		}
	}
}

func TestRuns_Runs_selects(t *testing.T) {
	r := newRig(t)
	done, open := r.newRun(single), r.newRun(single)
	other, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{Source: "pipeline \"other\" {\n" + single + "\n}"})
	if err != nil {
		t.Fatal(err)
	}
	r.succeed(done, "m")
	r.endRun(done, pipeline.RunSucceeded)

	for what, tc := range map[string]struct {
		query api.RunQuery
		want  []pipeline.RunID
	}{
		"state":    {api.RunQuery{State: pipeline.RunSucceeded}, []pipeline.RunID{done}},
		"pipeline": {api.RunQuery{Pipeline: "other"}, []pipeline.RunID{other.ID}},
		"both":     {api.RunQuery{Pipeline: "p", State: pipeline.RunWaiting}, []pipeline.RunID{open}},
		"none":     {api.RunQuery{Pipeline: "q"}, nil},
	} {
		list, err := r.runs.Runs(t.Context(), tc.query)
		var got []pipeline.RunID
		for i := range list.Runs {
			got = append(got, list.Runs[i].ID)
		}
		if err != nil || !slices.Equal(got, tc.want) || list.Runs == nil {
			t.Errorf("%s: runs %v, %v; want %v", what, got, err, tc.want)
		}
	}
}

// A cursor is what a page gave, in one spelling.
func TestRuns_Runs_cursor(t *testing.T) {
	r := newRig(t)
	for _, cursor := range []string{"0", "x", "01", "1 ", "A", "-1", "1x", "fffffffffffffffff"} {
		_, err := r.runs.Runs(t.Context(), api.RunQuery{Cursor: cursor})
		wantError(t, "cursor "+cursor, err, pipeline.Invalid, "use the one of the page before")
	}
}

// A run shows what its modules did: states, attempts, results, durations.
func TestRuns_Run(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	id := r.assign(run, "a", "w1", func(a *fsm.Assign) { a.LocalBytes = 5 })
	r.start(id)
	code := 0
	r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded, ExitCode: &code, Result: []byte(`{"n":1}`), OutputPaths: []string{"bin/app"},
		OutputCount: 1, OutputBytes: 7, Outputs: blob.DigestOf(nil), LogSize: 3, Holders: []pipeline.NodeID{"n1", "n2"}}, pipeline.ModuleSucceeded)

	got, err := r.runs.Run(t.Context(), run, 0, 0, 0)
	if err != nil || len(got.Modules) != 4 || got.State != pipeline.RunRunning || got.ModuleCount != 4 || got.ModulesDone != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	a, b := got.Modules[0], got.Modules[1]
	if a.State != pipeline.ModuleSucceeded || string(a.Result) != `{"n":1}` || *a.ExitCode != 0 || !slices.Equal(a.Outputs, []string{"bin/app"}) ||
		a.OutputBytes != 7 || a.Worker != "w1" || a.StartedAt == nil || a.FinishedAt == nil || a.DurationSeconds <= 0 {
		t.Errorf("module a %+v", a)
	}
	if at := a.Attempts; len(at) != 1 || at[0].Number != 1 || at[0].LogSize != 3 || at[0].Replicas != 2 || at[0].LocalBytes != 5 {
		t.Errorf("attempts %+v", at)
	}
	if b.State != pipeline.ModuleWaiting || string(b.Result) != "{}" || b.Outputs == nil || b.Attempts == nil || b.StartedAt != nil ||
		!slices.Equal(b.DependsOn, []string{"a"}) {
		t.Errorf("module b %+v", b)
	}

	_, err = r.runs.Run(t.Context(), "none", 0, 0, 0)
	wantError(t, "no such run", err, pipeline.NotFound, "none")
}

// With since only what changed after it is in the answer.
func TestRuns_Run_since(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	r.succeed(run, "a")
	before, err := r.runs.Run(t.Context(), run, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.succeed(run, "b")

	after, err := r.runs.Run(t.Context(), run, 0, 0, before.Index)
	if err != nil || len(after.Modules) != 1 || after.Modules[0].Name != "b" || after.Index <= before.Index || after.ModulesDone != 2 {
		t.Errorf("%+v, %v", after, err)
	}
}

// A caller that waits gets the change, or after its time what there is; a
// finished run is never waited for.
func TestRuns_Run_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		run := r.newRun(single)
		old, err := r.runs.Run(t.Context(), run, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}

		from := time.Now()
		same, err := r.runs.Run(t.Context(), run, old.Index, time.Minute, 0)
		if err != nil || same.Index != old.Index || time.Since(from) != time.Minute {
			t.Errorf("no change: index %d after %v, %v", same.Index, time.Since(from), err)
		}

		changed := make(chan wire.Run, 1)
		go func() {
			got, err := r.runs.Run(t.Context(), run, old.Index, time.Hour, 0)
			if err != nil {
				t.Error(err)
			}
			changed <- got
		}()
		synctest.Wait()
		from = time.Now()
		r.succeed(run, "m")
		r.endRun(run, pipeline.RunSucceeded)
		if got := <-changed; got.Index <= old.Index || got.State != pipeline.RunSucceeded || time.Since(from) > time.Second {
			t.Errorf("a change: index %d, %s, after %v", got.Index, got.State, time.Since(from))
		}

		from = time.Now()
		if _, err := r.runs.Run(t.Context(), run, 1<<40, time.Hour, 0); err != nil || time.Since(from) != 0 {
			t.Errorf("a finished run: %v after %v", err, time.Since(from))
		}
	})
}

// The end of the request ends the wait, with its cause.
func TestRuns_Run_canceled(t *testing.T) {
	r := newRig(t)
	run := r.newRun(single)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := pipeline.Errorf(pipeline.Unavailable, "the node stops")
	cancel(cause)
	if _, err := r.runs.Run(ctx, run, 1<<40, time.Hour, 0); !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
}

// The leader's reasons explain modules that wait, beside the reasons of their
// records; other modules keep theirs.
func TestRuns_Run_reasons(t *testing.T) {
	r := newRig(t)
	run := r.newRun(chain)
	id := r.assign(run, "alone", "w1", nil)
	r.finish(id, pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "exit code 1"}, pipeline.ModuleWaiting)
	r.succeed(run, "a")
	r.planner.waiting = map[string]string{"a": "not of interest", "b": "no worker has tag gpu", "alone": "its next attempt starts in 5s"}

	reasons := func() map[string]string {
		got, err := r.runs.Run(t.Context(), run, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, m := range got.Modules {
			out[m.Name] = m.Reason
		}
		return out
	}
	got := reasons()
	if got["a"] != "" || got["b"] != "no worker has tag gpu" || got["alone"] != "exit code 1; its next attempt starts in 5s" || got["c"] != "" {
		t.Errorf("reasons %q", got)
	}

	// On other nodes than the leader the states are right, without its reasons.
	r.planner.fail = pipeline.ErrNotLeader
	if got := reasons(); got["b"] != "" || got["alone"] != "exit code 1" {
		t.Errorf("reasons without the leader %q", got)
	}
}

// A run that waits in the queue of its concurrency group says for which run, in
// lists too.
func TestRuns_Run_queued(t *testing.T) {
	r := newRig(t)
	blocks := "  concurrency { group = \"deploy\" }\n" + single
	first, second := r.newRun(blocks), r.newRun(blocks)
	got, err := r.runs.Run(t.Context(), second, 0, 0, 0)
	if err != nil || !strings.Contains(got.Reason, "waits for run "+string(first)) || got.Group != "deploy" {
		t.Errorf("reason %q, %v", got.Reason, err)
	}
	list, err := r.runs.Runs(t.Context(), api.RunQuery{Limit: 2})
	if err != nil || list.Runs[0].Reason != got.Reason || list.Runs[1].Reason != "" {
		t.Errorf("list %+v, %v", list, err)
	}
}

// A second cancellation forces what always runs, if it is another request; a run
// that has finished cannot be cancelled, and how it ended is in the answer.
func TestRuns_Cancel(t *testing.T) {
	r := newRig(t)
	run := r.newRun(single)
	forced := func() (forced bool) {
		r.view(func(v *fsm.View) { got, _ := v.Run(run); forced = got.Forced })
		return forced
	}
	for i, tc := range []struct {
		request string
		forced  bool
	}{{"one", false}, {"one", false}, {"", false}, {"two", true}} {
		got, err := r.runs.Cancel(t.Context(), sam, run, wire.CancelRequest{Request: tc.request})
		if err != nil || got.State != pipeline.RunCancelling || got.Reason != "by sam" || forced() != tc.forced {
			t.Errorf("cancellation %d: %+v, %v, forced %v", i+1, got, err, forced())
		}
	}

	r.end(run, pipeline.ModuleCancelled, "", "m")
	r.endRun(run, pipeline.RunCancelled)
	_, err := r.runs.Cancel(t.Context(), sam, run, wire.CancelRequest{})
	wantError(t, "a cancelled run", err, pipeline.Conflict, "has finished: it was cancelled")
	_, err = r.runs.Cancel(t.Context(), sam, "none", wire.CancelRequest{})
	wantError(t, "no such run", err, pipeline.NotFound, "no run none")
}

func TestRuns_Cancel_finished(t *testing.T) {
	r := newRig(t)
	for state, text := range map[pipeline.RunState]string{pipeline.RunSucceeded: "it succeeded", pipeline.RunWarnings: "it succeeded with warnings"} {
		run := r.newRun(single)
		r.succeed(run, "m")
		r.endRun(run, state)
		_, err := r.runs.Cancel(t.Context(), sam, run, wire.CancelRequest{Reason: "late"})
		wantError(t, string(state), err, pipeline.Conflict, text)
	}
}

// Pinning is repeatable, in both directions.
func TestRuns_Pin(t *testing.T) {
	r := newRig(t)
	run := r.newRun(single)
	for _, pinned := range []bool{true, true, false, false} {
		got, err := r.runs.Pin(t.Context(), sam, run, pinned)
		if err != nil || got.Pinned != pinned {
			t.Errorf("pin %v: %+v, %v", pinned, got, err)
		}
	}
	_, err := r.runs.Pin(t.Context(), sam, "none", true)
	wantError(t, "no such run", err, pipeline.NotFound, "no run none")
}

// A pinned run keeps its artifacts when a limit would delete them.
func TestRuns_Pin_keeps(t *testing.T) {
	r := newRig(t)
	pinned, other := r.newRun(single), r.newRun(single)
	for _, run := range []pipeline.RunID{pinned, other} {
		r.succeed(run, "m")
		r.endRun(run, pipeline.RunSucceeded)
	}
	if _, err := r.runs.Pin(t.Context(), sam, pinned, true); err != nil {
		t.Fatal(err)
	}
	r.apply(&fsm.Command{Expire: &fsm.Expire{Artifacts: []pipeline.RunID{pinned, other}, Logs: []pipeline.RunID{pinned, other}}})
	for run, gone := range map[pipeline.RunID]bool{pinned: false, other: true} {
		got, err := r.runs.Run(t.Context(), run, 0, 0, 0)
		if err != nil || got.ArtifactsGone != gone || got.LogsGone != gone {
			t.Errorf("run %s: %+v, %v; want gone %v", run, got.RunSummary, err, gone)
		}
	}
}

// Estimates and locks are the planner's; what is compiled for one is not stored.
func TestRuns_Estimate(t *testing.T) {
	r := newRig(t)
	r.planner.estimate = func(*pipeline.Pipeline) pipeline.Estimate { return pipeline.Estimate{Known: true, Seconds: 7} }
	got, err := r.runs.Estimate(t.Context(), sam, source(chain))
	if err != nil || got.Seconds != 7 || len(r.planner.asked) != 1 || r.planner.asked[0].Modules != 4 || r.planner.asked[0].Pipeline != "p" {
		t.Errorf("%+v, %v, asked %+v", got, err, r.planner.asked)
	}
	if list, err := r.runs.Runs(t.Context(), api.RunQuery{}); err != nil || len(list.Runs) > 0 {
		t.Errorf("runs %+v, %v", list, err)
	}

	_, err = r.runs.Estimate(t.Context(), sam, source(`  module "a" { comand = 1 }`))
	wantError(t, "a mistake", err, pipeline.Invalid, "test.hcl:2")
	r.planner.fail = pipeline.ErrNotLeader
	_, err = r.runs.Estimate(t.Context(), sam, source(chain))
	wantError(t, "not the leader", err, pipeline.Unavailable)
}

func TestRuns_Locks(t *testing.T) {
	r := newRig(t)
	if got, err := r.runs.Locks(t.Context()); err != nil || got.Locks == nil || len(got.Locks) != 0 {
		t.Errorf("no locks: %+v, %v; want an empty list", got, err)
	}
	r.planner.locks = []pipeline.Lock{{Key: "db"}}
	if got, err := r.runs.Locks(t.Context()); err != nil || len(got.Locks) != 1 || got.Locks[0].Key != "db" {
		t.Errorf("%+v, %v", got, err)
	}
	r.planner.fail = pipeline.ErrNotLeader
	_, err := r.runs.Locks(t.Context())
	wantError(t, "not the leader", err, pipeline.Unavailable)
}
