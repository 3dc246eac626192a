package fsm_test

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// waiting returns a run of two modules whose first waits for its approval.
func waiting(t *testing.T) *rig {
	r := newRig(t)
	r.must(submit(t, "r", 2), batch(await("r", "m0")))
	return r
}

// decided applies a person's decision and returns the message of its refusal.
func decided(r *rig, d fsm.Decide) (pipeline.Kind, string) {
	err := r.do(decision(d)).(fsm.Result).Err
	if err == nil {
		return 0, ""
	}
	return pipeline.KindOf(err), err.Error()
}

func TestAwait(t *testing.T) {
	r := waiting(t)
	view(t, r.Store, func(v *fsm.View) {
		m := v.Module("r", "m0")
		run, _ := v.Run("r")
		if m.State != pipeline.ModuleWaiting || m.ApprovalWait == nil || m.ApprovalWait.Message != "go?" || m.ApprovalWait.Deadline.IsZero() || run.State != pipeline.RunRunning {
			t.Errorf("got %+v in a run that is %s", m, run.State)
		}
	})

	for _, row := range []struct {
		part any
		want string
	}{
		{await("r", "m0"), "module waits for its approval"},
		{await("r", "m1", "m0"), "waits for m0"},
		{await("gone", "m0"), "no such run"},
		{await("r", strings.Repeat("x", 2000)), "the module's name has 2000 bytes; at most 1024 fit"},
		{assign("r", "m0", 1), "module waits for an approval"},
	} {
		res := r.do(batch(row.part)).(fsm.BatchResult)
		if len(res.Refused) != 1 || res.Refused[0].Reason != row.want {
			t.Errorf("%+v: got %+v, want %q", row.part, res.Refused, row.want)
		}
	}
}

func TestDecide(t *testing.T) {
	for _, row := range []struct {
		first, second pipeline.Decision
		state         pipeline.ModuleState
		refusal       string
	}{
		{pipeline.Approved, pipeline.Approved, pipeline.ModuleSucceeded, ""},
		{pipeline.Rejected, pipeline.Rejected, pipeline.ModuleFailed, ""},
		{pipeline.Approved, pipeline.Rejected, pipeline.ModuleSucceeded, "m0 was decided before: approved by ann"},
		{pipeline.Rejected, pipeline.Approved, pipeline.ModuleFailed, "m0 was decided before: rejected by ann"},
		{pipeline.Skipped, pipeline.Approved, pipeline.ModuleSkipped, "m0 was decided before: skipped by ann"},
	} {
		r := waiting(t)
		if _, text := decided(r, decide("r", "m0", row.first)); text != "" {
			t.Fatal(text)
		}

		again := decide("r", "m0", row.second)
		again.By, again.Comment = "bob", "me too"

		kind, text := decided(r, again)
		if text != row.refusal || text != "" && kind != pipeline.Conflict {
			t.Errorf("%s, then %s: %q (%s), want %q", row.first, row.second, text, kind, row.refusal)
		}

		view(t, r.Store, func(v *fsm.View) {
			m := v.Module("r", "m0")
			if m.State != row.state || m.ApprovalWait.By != "ann" || m.ApprovalWait.Comment != "" || !strings.Contains(string(m.Result), `"approved":`) {
				t.Errorf("%s: got %+v, result %s", row.first, m, m.Result)
			}
		})
	}
}

func TestDecide_refused(t *testing.T) {
	for _, row := range []struct {
		before []*fsm.Command
		d      fsm.Decide
		kind   pipeline.Kind
		want   string
	}{
		{nil, decide("r", "m1", pipeline.Approved), pipeline.Conflict, "m1 does not wait for an approval now: it is waiting"},
		{nil, decide("gone", "m0", pipeline.Approved), pipeline.NotFound, "no run gone"},
		{nil, decide("r", "m0", "odd"), pipeline.Invalid, `decision "odd": expected approved, rejected or skipped`},
		{nil, decide("r", "", pipeline.Approved), pipeline.Invalid, "the module's name is empty"},
		{[]*fsm.Command{cancel("r"), batch(end("r", "m0", pipeline.ModuleCancelled))}, decide("r", "m0", pipeline.Approved), pipeline.Conflict,
			"m0 has finished: it is cancelled (because)"},
	} {
		r := waiting(t)
		r.must(row.before...)
		if kind, text := decided(r, row.d); text != row.want || kind != row.kind {
			t.Errorf("%+v: %s %q, want %s %q", row.d, kind, text, row.kind, row.want)
		}
	}
}

// A run that is retried asks again.
func TestDecide_retried(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "r", 1), batch(await("r", "m0")), decision(decide("r", "m0", pipeline.Rejected)), batch(runEnd("r", pipeline.RunFailed)),
		&fsm.Command{Retry: &fsm.Retry{Run: "r", Modules: []string{"m0"}}}, batch(await("r", "m0")), decision(decide("r", "m0", pipeline.Approved)))
	view(t, r.Store, func(v *fsm.View) {
		if m := v.Module("r", "m0"); m.State != pipeline.ModuleSucceeded {
			t.Errorf("got %+v", m)
		}
	})
}
