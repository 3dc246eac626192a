package service_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// approval is a pipeline with an approval by approvers, which are quoted names, and
// a module that runs.
func approval(approvers string) string {
	return fmt.Sprintf("  module \"build\" { command = [\"true\"] }\n  module \"go\" {\n    approval {\n      message = \"Go?\"\n      approvers = [%s]\n    }\n  }", approvers)
}

// await begins the wait of module go for its approval.
func await(r *rig, run pipeline.RunID) {
	r.tb.Helper()
	r.apply(&fsm.Command{Batch: &fsm.Batch{Awaits: []fsm.Await{{Run: run, Module: "go", Message: "Go?", Deadline: time.Now().Add(time.Hour).UTC()}}}})
}

func decide(r *rig, by string, run pipeline.RunID, d pipeline.Decision, comment string) error {
	_, err := r.runs.Decide(r.tb.Context(), api.Subject{Name: by}, run, api.ApprovalDecision{Module: "go", Decision: d, Comment: comment})
	return err
}

// approve lets a module wait for its approval, and approves it.
func approve(r *rig, run pipeline.RunID, module string) {
	r.tb.Helper()
	r.apply(&fsm.Command{Batch: &fsm.Batch{Awaits: []fsm.Await{{Run: run, Module: module, Message: "Go?"}}}})
	if _, err := r.runs.Decide(r.tb.Context(), sam, run, api.ApprovalDecision{Module: module, Decision: pipeline.Approved}); err != nil {
		r.tb.Fatal(err)
	}
}

// A decision is in the module with who made it, why and when; the reason is one
// line.
func TestRuns_Decide(t *testing.T) {
	for decision, state := range map[pipeline.Decision]pipeline.ModuleState{pipeline.Approved: pipeline.ModuleSucceeded, pipeline.Rejected: pipeline.ModuleFailed} {
		r := newRig(t)
		run := r.newRun(approval(""))
		await(r, run)
		before, err := r.runs.Run(t.Context(), run, 0, 0, 0)
		if m := before.Modules[1]; err != nil || m.Reason != "waits for approval: Go?" || m.Approval.Since == nil || m.Approval.Deadline == nil {
			t.Errorf("before: %+v, %v", m, err)
		}

		got, err := r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: "go", Decision: decision, Comment: "looks\n  fine "})
		if err != nil || got.State != state || got.Reason != string(decision)+" by sam: looks fine" {
			t.Errorf("%s: %+v, %v", decision, got, err)
		}
		if a := got.Approval; a == nil || a.Repeated || a.Decision != string(decision) || a.By != "sam" || a.Comment != "looks\n  fine " || a.DecidedAt == nil {
			t.Errorf("%s: approval %+v", decision, got.Approval)
		}
	}
}

// The first decision counts: the same one again changes nothing, another one is
// a conflict.
func TestRuns_Decide_twice(t *testing.T) {
	r := newRig(t)
	run := r.newRun(approval(""))
	await(r, run)
	if err := decide(r, "sam", run, pipeline.Approved, ""); err != nil {
		t.Fatal(err)
	}
	if err := decide(r, "bob", run, pipeline.Approved, ""); err != nil {
		t.Errorf("the same again: %v", err)
	}
	got, err := r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: "go", Decision: pipeline.Approved})
	if err != nil || !got.Approval.Repeated || got.Reason != "approved by sam" {
		t.Errorf("the same again by the same: %+v, %v", got, err)
	}
	if n := strings.Count(r.log.String(), "approval decided"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if rec := r.record(run, "go"); rec.ApprovalWait.By != "sam" {
		t.Errorf("decided by %s, want the first", rec.ApprovalWait.By)
	}
	wantError(t, "another decision", decide(r, "bob", run, pipeline.Rejected, ""), pipeline.Conflict, "decided before: approved by sam")
}

// Approvers are names or patterns; others are refused with those who may.
func TestRuns_Decide_approvers(t *testing.T) {
	r := newRig(t)
	for by, allowed := range map[string]bool{"sam": true, "ops-7": true, "bob": false, "ops": false, "samm": false, "": false} {
		run := r.newRun(approval(`"sam", "ops-*"`))
		await(r, run)
		err := decide(r, by, run, pipeline.Approved, "")
		if allowed && err != nil {
			t.Errorf("%q: %v", by, err)
		}
		if !allowed {
			wantError(t, by, err, pipeline.Forbidden, "go can be decided by sam, ops-*", "you are "+by)
			if rec := r.record(run, "go"); rec.State != pipeline.ModuleWaiting {
				t.Errorf("%q: the module is %s", by, rec.State)
			}
		}
	}
}

func TestRuns_Decide_refused(t *testing.T) {
	r := newRig(t)
	run := r.newRun(approval(""))
	wantError(t, "its wait has not begun", decide(r, "sam", run, pipeline.Approved, ""), pipeline.Conflict, "does not wait for an approval now")
	await(r, run)
	wantError(t, "no decision", decide(r, "sam", run, "perhaps", ""), pipeline.Invalid, `decision "perhaps"`)
	wantError(t, "no such run", decide(r, "sam", "none", pipeline.Approved, ""), pipeline.NotFound, "no run none")

	_, err := r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: "og", Decision: pipeline.Approved})
	wantError(t, "no such module", err, pipeline.NotFound, "it has build, go")
	_, err = r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: "build", Decision: pipeline.Approved})
	wantError(t, "a module that runs", err, pipeline.Invalid, "module build is no approval", "those of the run are go")

	plain := r.newRun(single)
	_, err = r.runs.Decide(t.Context(), sam, plain, api.ApprovalDecision{Module: "m", Decision: pipeline.Approved})
	wantError(t, "a run without approvals", err, pipeline.Invalid, "the run has none")

	r.end(run, pipeline.ModuleCancelled, "cancelled by sam", "go", "build")
	wantError(t, "a module that has ended", decide(r, "sam", run, pipeline.Approved, ""), pipeline.Conflict, "has finished: it is cancelled")
}

// Instances of an approval are decided one by one.
func TestRuns_Decide_instances(t *testing.T) {
	r := newRig(t)
	run := r.newRun("  module \"go\" {\n    matrix = { to = [\"test\", \"prod\"] }\n    approval { message = \"to ${matrix.to}?\" }\n  }")
	wantError(t, "all instances", decide(r, "sam", run, pipeline.Approved, ""), pipeline.Invalid, "decided one by one: go[test], go[prod]")

	r.apply(&fsm.Command{Batch: &fsm.Batch{Awaits: []fsm.Await{{Run: run, Module: "go[prod]", Message: "to prod?"}}}})
	got, err := r.runs.Decide(t.Context(), sam, run, api.ApprovalDecision{Module: "go[prod]", Decision: pipeline.Approved})
	if err != nil || got.State != pipeline.ModuleSucceeded || got.Of != "go" {
		t.Errorf("%+v, %v", got, err)
	}
	if rec := r.record(run, "go[test]"); rec.State != pipeline.ModuleWaiting {
		t.Errorf("the other instance is %s", rec.State)
	}
}

// A node that cannot catch up does not decide by what it last knew.
func TestRuns_Decide_noLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		run := r.newRun(approval(""))
		await(r, run)
		r.loseLeader()
		wantError(t, "no leader", decide(r, "sam", run, pipeline.Approved, ""), pipeline.Unavailable, "no leader")
	})
}

// The longest comment fits into the reason, whole.
func TestRuns_Decide_longComment(t *testing.T) {
	r := newRig(t)
	run := r.newRun(approval(""))
	await(r, run)
	if err := decide(r, "sam", run, pipeline.Approved, strings.Repeat("x", pipeline.MaxComment)); err != nil {
		t.Fatal(err)
	}
	if rec := r.record(run, "go"); len(rec.ApprovalWait.Comment) != pipeline.MaxComment || !strings.HasPrefix(rec.Reason, "approved by sam: xxx") {
		t.Errorf("%d bytes of comment, reason %.40q", len(rec.ApprovalWait.Comment), rec.Reason)
	}
}

// Everything that waits for a person is listed, what waits longest first, with whether
// who asks may decide.
func TestRuns_Approvals(t *testing.T) {
	r := newRig(t)
	r.newRun(chain)
	first := r.newRun(approval(`"ann", "b*"`))
	await(r, first)
	second := r.newRun(approval(""))
	await(r, second)

	for _, c := range []struct {
		by   api.Subject
		want []bool
	}{
		{api.Subject{Name: "bob", Role: api.RoleSubmit}, []bool{true, true}},
		{api.Subject{Name: "sam", Role: api.RoleAdmin}, []bool{false, true}},
		{api.Subject{Name: "ann", Role: api.RoleRead}, []bool{false, false}},
	} {
		list, err := r.runs.Approvals(t.Context(), c.by)
		if err != nil || len(list.Approvals) != 2 || list.Approvals[0].Run != first || list.Approvals[1].Run != second {
			t.Fatalf("got %+v, %v", list, err)
		}
		if a := list.Approvals; a[0].May != c.want[0] || a[1].May != c.want[1] {
			t.Errorf("%s: got %v %v", c.by.Name, a[0].May, a[1].May)
		}
		a := list.Approvals[0]
		if a.Module != "go" || a.Message != "Go?" || a.Number != 2 || a.OnTimeout != "reject" || a.Deadline == nil || a.Since.IsZero() || a.Submitter != "sam" {
			t.Errorf("got %+v", a)
		}
	}

	if err := decide(r, "bob", first, pipeline.Rejected, ""); err != nil {
		t.Fatal(err)
	}
	list, err := r.runs.Approvals(t.Context(), sam)
	if err != nil || len(list.Approvals) != 1 || list.Approvals[0].Run != second {
		t.Errorf("after a decision: %+v, %v", list, err)
	}
}
