package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const slowAndQuick = `  module "slow" { command = ["true"] }
  module "quick" { command = ["true"] }`

// seconds are the durations of runs, oldest first.
func (r *rig) seedRuns(seconds ...int) (ids []pipeline.RunID) {
	r.tb.Helper()
	for _, s := range seconds {
		id := r.newRun(slowAndQuick)
		r.ranFor(id, "slow", time.Duration(s-1)*time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
		r.ranFor(id, "quick", time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
		r.endAfter(id, time.Duration(s)*time.Second, pipeline.RunSucceeded)
		ids = append(ids, id)
	}
	return ids
}

const nightly = `pipeline "nightly" {
  schedule { cron = "@yearly" }
  module "m" { command = ["true"] }
}`

func near(got *float64, want float64) bool { return got != nil && *got > want-0.3 && *got < want+0.3 }

// The figures are those of the newest runs that ended, without the cancelled ones.
func TestHistory_Pipelines(t *testing.T) {
	r := newRig(t)
	r.seedRuns(10, 10, 10, 12, 12, 12)
	failed := r.newRun(slowAndQuick)
	r.ranFor(failed, "slow", time.Second, pipeline.AttemptFailed, pipeline.ModuleFailed)
	r.end(failed, pipeline.ModuleSkipped, "slow failed", "quick")
	r.endAfter(failed, 100*time.Second, pipeline.RunFailed)
	cancelled := r.newRun(slowAndQuick)
	r.end(cancelled, pipeline.ModuleCancelled, "by sam", "slow", "quick")
	r.endAfter(cancelled, time.Second, pipeline.RunCancelled)
	live := r.newRun(slowAndQuick)
	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}

	list, err := r.history(changedFiles{}, nil).Pipelines(t.Context(), 4)
	if err != nil || len(list.Pipelines) != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	p := list.Pipelines[0]
	if p.Name != "p" || p.Runs != 9 || p.Active != 1 || len(p.Newest) != 4 || p.Newest[0].ID != live || p.Newest[0].Seconds != nil || p.Newest[2].Failed != 1 {
		t.Errorf("got %+v", p)
	}
	if !near(p.P50Seconds, 10) || !near(p.P95Seconds, 12) || p.Trend == nil || *p.Trend != 1.2 {
		t.Errorf("durations: %v %v %v", *p.P50Seconds, *p.P95Seconds, p.Trend)
	}
	if p.FailureRate == nil || *p.FailureRate != 1.0/7 || p.CacheRate == nil || *p.CacheRate != 0 || p.Next != nil {
		t.Errorf("rates: %v %v", p.FailureRate, p.CacheRate)
	}
	if s := list.Pipelines[1]; s.Name != "nightly" || s.Runs != 0 || s.Next == nil || s.P50Seconds != nil || s.Newest == nil {
		t.Errorf("got %+v", s)
	}
}

// A module is listed with how it ended in each run; a retry that helped makes it flaky,
// and the attempt that failed is named.
func TestHistory_PipelineHistory(t *testing.T) {
	r := newRig(t)
	r.seedRuns(10)
	flaky := r.newRun(slowAndQuick)
	r.ranFor(flaky, "quick", time.Second, pipeline.AttemptFailed, pipeline.ModuleWaiting)
	r.ranFor(flaky, "quick", 2*time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
	r.ranFor(flaky, "slow", 20*time.Second, pipeline.AttemptFailed, pipeline.ModuleFailed)
	r.endAfter(flaky, 25*time.Second, pipeline.RunFailed)

	h, err := r.history(changedFiles{}, nil).PipelineHistory(t.Context(), "p", 50)
	if err != nil || len(h.Newest) != 2 || h.Newest[0].Flaky != 1 || len(h.Modules) != 2 {
		t.Fatalf("got %+v, %v", h, err)
	}
	slow, quick := h.Modules[0], h.Modules[1]
	if slow.Name != "slow" || slow.Runs != 2 || slow.Failed != 1 || !near(slow.P50Seconds, 9) || slow.LastFailed == nil || slow.LastFailed.Run != flaky || slow.LastFlaky != nil {
		t.Errorf("got %+v", slow)
	}
	if !slices.Equal(slow.States, []pipeline.ModuleState{pipeline.ModuleFailed, pipeline.ModuleSucceeded}) || !near(slow.Seconds[0], 20) {
		t.Errorf("got %+v", slow)
	}
	if quick.Flaky != 1 || *quick.FlakyRate != 0.5 || *quick.FailureRate != 0 || quick.LastFlaky == nil || quick.LastFlaky.Attempt != 1 || quick.LastFlaky.Reason != "exit code 1" {
		t.Errorf("got %+v", quick)
	}

	_, err = r.history(changedFiles{}, nil).PipelineHistory(t.Context(), "q", 50)
	wantKind(t, err, pipeline.NotFound, `no run of pipeline "q" is kept`)
	if short, err := r.history(changedFiles{}, nil).PipelineHistory(t.Context(), "p", 1); err != nil || len(short.Newest) != 1 || short.Runs != 2 || len(short.Modules[0].States) != 1 {
		t.Errorf("of one run: %+v, %v", short, err)
	}
}

// A comparison says what is different, of whole runs and of each module, and never a
// value of a variable.
func TestHistory_Compare(t *testing.T) {
	r := newRig(t)
	const source = `  variable "version" { default = "%s" }
  module "same" { command = ["true"] }
  module "changed" {
    command = ["echo", "%[1]s"]
    env     = { %s = "1" }
  }
  module "only%[1]s" { command = ["true"] }`
	was := r.newRun(fmt.Sprintf(source, "v1", "OLD"))
	r.ranFor(was, "same", time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
	r.ranFor(was, "changed", 10*time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
	r.ranFor(was, "onlyv1", time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
	r.endAfter(was, 11*time.Second, pipeline.RunSucceeded)
	is := r.newRun(fmt.Sprintf(source, "v2", "NEW"))
	r.ranFor(is, "same", time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
	r.ranFor(is, "changed", 30*time.Second, pipeline.AttemptFailed, pipeline.ModuleFailed)

	got, err := r.history(changedFiles{}, nil).Compare(t.Context(), is, "")
	if err != nil || got.A.ID != was || got.B.ID != is {
		t.Fatalf("got %+v, %v", got, err)
	}
	if want := []string{"variable version changed"}; !slices.Equal(got.Different, want) {
		t.Errorf("got %q, want %q", got.Different, want)
	}
	want := map[string]string{
		"same":    "",
		"changed": "failed in run 2, succeeded in run 1|took 30s, was 10s|command changed|env.NEW is new|env.OLD is gone",
		"onlyv1":  "only in run 1", "onlyv2": "only in run 2",
	}
	for _, m := range got.Modules {
		if text := strings.Join(m.Different, "|"); text != want[m.Name] {
			t.Errorf("%s: got %q, want %q", m.Name, text, want[m.Name])
		}
		if m.Name == "changed" && (m.A.State != pipeline.ModuleSucceeded || m.B.Attempts != 1 || m.B.Worker != "w1" || !near(m.B.Seconds, 30)) {
			t.Errorf("sides: %+v %+v", m.A, m.B)
		}
	}
	if len(got.Modules) != 4 || got.Modules[3].Name != "onlyv1" || got.Modules[3].B != nil {
		t.Errorf("got %+v", got.Modules)
	}

	_, err = r.history(changedFiles{}, nil).Compare(t.Context(), was, "")
	wantKind(t, err, pipeline.NotFound, "is the first one of pipeline p that is kept")
	_, err = r.history(changedFiles{}, nil).Compare(t.Context(), was, "0123")
	wantKind(t, err, pipeline.NotFound)
}
