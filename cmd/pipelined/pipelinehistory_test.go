package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func figure(f float64) *float64 { return &f }

// TestHistory prints pipelines, one pipeline, and what differs between two runs.
func TestHistory(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r2", pipeline.RunFailed))
	release := wire.PipelineSummary{Name: "release", Runs: 60, Next: at(3610),
		Newest:          []wire.RunPoint{{ID: "r2", Number: 60, State: pipeline.RunFailed, SubmittedAt: *at(-80), Seconds: figure(75), Modules: 9, Failed: 1, Cached: 4, Submitter: "ann"}},
		PipelineFigures: wire.PipelineFigures{P50Seconds: figure(60), P95Seconds: figure(80), FailureRate: figure(0.004), CacheRate: figure(0.5), Trend: figure(1.2)}}
	was := wire.RunSummary{ID: "r1", Number: 59, Pipeline: "release", State: pipeline.RunSucceeded, SubmittedAt: start, FinishedAt: at(60)}
	is := wire.RunSummary{ID: "r2", Number: 60, Pipeline: "release", State: pipeline.RunFailed, SubmittedAt: start, FinishedAt: at(75)}
	f.answers = map[string]any{
		"GET /api/v1/pipelines": wire.PipelineList{Pipelines: []wire.PipelineSummary{release, {Name: "nightly", Paused: true}}},
		"GET /api/v1/pipelines/history": wire.PipelineHistory{PipelineSummary: release, Modules: []wire.ModuleHistory{
			{Name: "unit", Runs: 50, P50Seconds: figure(44), P95Seconds: figure(61), FailureRate: figure(0.02), FlakyRate: figure(0.1), CacheRate: figure(0), Trend: figure(0.95),
				LastFailed: &wire.FailedAttempt{Number: 51, Attempt: 2, Reason: "exit code 1"}, LastFlaky: &wire.FailedAttempt{Number: 58, Attempt: 1, Reason: "timed out"}},
			{Name: "go"}}},
		"GET /api/v1/runs/r2": is,
		"GET /api/v1/runs/r2/compare": wire.Comparison{A: was, B: is, Different: []string{"file a.go changed"}, Modules: []wire.ModuleComparison{
			{Name: "unit", Different: []string{"failed in run 60, succeeded in run 59"}}, {Name: "go"}}},
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"history"}, `
PIPELINE  RUNS  LAST       STATE   P50    P95    FAILED  CACHED  TREND  NEXT
release   60    1m30s ago  failed  1m00s  1m20s  <1 %    50 %    +20 %  in 1h00m
nightly   0     -          -       -      -      -       -       -      paused
`},
		{[]string{"history", "release"}, `
release: 60 runs, of the newest 1, <1 % failed, half took 1m00s or less, 95 % 1m20s, +20 % against those before, 50 % of modules cached

RUN  STATE   TOOK   MODULES  FAILED  FLAKY  CACHED  SUBMITTED  BY
60   failed  1m15s  9        1       -      4       1m30s ago  ann

MODULE  RUNS  P50  P95    TREND  FAILED  FLAKY  CACHED  LAST FAILURE
unit    50    44s  1m01s  -5 %   2 %     10 %   0 %     run 58, attempt 1: timed out
go      0     -    -      -      -       -      -       -
`},
		{[]string{"history", "-compare", "r1,r2"}, `
run 60 of release failed in 1m15s, run 59 succeeded in 1m00s
  - file a.go changed
unit
  - failed in run 60, succeeded in run 59
the same: 1 of 2 modules
`},
	} {
		code, stdout, stderr := newCommand(t, f).exec(c.args...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit %d, %s", c.args, code, stderr)
		}
		if diff := cmp.Diff(c.want, "\n"+stdout); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.args, diff)
		}
	}
}

// A pipeline that ran once has one run; that none has ended is said.
func TestFiguresText_few(t *testing.T) {
	h := wire.PipelineHistory{PipelineSummary: wire.PipelineSummary{Runs: 1, Newest: []wire.RunPoint{{State: pipeline.RunCancelled}}}}
	if got := figuresText(&h); got != "1 run" {
		t.Errorf("%q", got)
	}
	h = wire.PipelineHistory{PipelineSummary: wire.PipelineSummary{Runs: 2, Newest: []wire.RunPoint{{State: pipeline.RunRunning}, {State: pipeline.RunWaiting}}}}
	if got := figuresText(&h); got != "2 runs, none has ended yet" {
		t.Errorf("%q", got)
	}
}

// TestHistory_failedFirst prints modules that failed before any number of slow ones.
func TestHistory_failedFirst(t *testing.T) {
	h := wire.PipelineHistory{PipelineSummary: wire.PipelineSummary{Name: "p", Runs: 1}}
	for i := range 30 {
		h.Modules = append(h.Modules, wire.ModuleHistory{Name: fmt.Sprintf("unit[%d]", i)})
	}
	h.Modules = append(h.Modules, wire.ModuleHistory{Name: "flaky", LastFlaky: &wire.FailedAttempt{Number: 1}}, wire.ModuleHistory{Name: "broken", LastFailed: &wire.FailedAttempt{Number: 1}})
	f := newFakeCluster(t)
	f.answers = map[string]any{"GET /api/v1/pipelines/history": h}
	_, stdout, _ := newCommand(t, f).exec("history", "p")
	_, rows, _ := strings.Cut(stdout, "\nMODULE")
	names := []string{}
	for line := range strings.Lines(rows) {
		names = append(names, strings.Fields(line)[0])
	}
	if want := []string{"flaky", "broken", "unit[0]"}; !slices.Equal(names[1:4], want) || !strings.Contains(rows, "and 12 more modules with less time") {
		t.Errorf("got\n%s", rows)
	}

	for i := range h.Modules {
		h.Modules[i].LastFailed = &wire.FailedAttempt{Number: 1}
	}
	f.answers["GET /api/v1/pipelines/history"] = h
	if _, stdout, _ := newCommand(t, f).exec("history", "p"); !strings.Contains(stdout, "and 12 more modules (12 failed too)") {
		t.Errorf("got\n%s", stdout)
	}
}

// TestApprovals lists what waits for a person; nothing in it reaches the terminal as an
// escape sequence.
func TestApprovals(t *testing.T) {
	f := newFakeCluster(t)
	f.answers = map[string]any{"GET /api/v1/approvals": wire.ApprovalList{Approvals: []wire.PendingApproval{
		{Number: 7, Pipeline: "release", Module: "go", Message: "Deploy\nto \x1b[31mproduction?", Approvers: []string{"ann", "b*"}, Since: *at(-50)},
		{Number: 8, Pipeline: "release", Module: "go", Message: "Deploy?", Since: *at(9), May: true}}}}
	code, stdout, stderr := newCommand(t, f).exec("approvals")
	const want = `
RUN  PIPELINE  MODULE  SINCE      WHO MAY               QUESTION
7    release   go      1m00s ago  ann, b*               Deploy; to [31mproduction?
8    release   go      1.0s ago   who may submit (you)  Deploy?
`
	if diff := cmp.Diff(want, "\n"+stdout); code != 0 || stderr != "" || diff != "" {
		t.Errorf("exit %d, %s (-want +got):\n%s", code, stderr, diff)
	}
}
