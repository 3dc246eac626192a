package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// backfill begins a backfill of the ticks from one to another.
func backfill(name, id string, from, to, parallel int) *fsm.Command {
	return &fsm.Command{At: at, By: "ann", Schedule: &fsm.ScheduleChange{Name: name, Do: fsm.ScheduleBackfill,
		Backfill: &fsm.Backfill{ID: id, From: tickAt(from), To: tickAt(to), Total: to - from + 1, Parallel: parallel, Next: tickAt(from)}}}
}

// fill makes a run for a tick of a backfill, after had ticks that have one.
func fill(name, id string, n, had int, run pipeline.RunID) *fsm.Command {
	return &fsm.Command{At: at.Add(time.Duration(n) * time.Hour), Fire: &fsm.Fire{Schedule: name, Backfill: id, Due: tickAt(n - had), Tick: tickAt(n), Next: tickAt(n + 1), Had: had, Run: run}}
}

// done ends a run of one module that was not assigned.
func done(run string, state pipeline.RunState) *fsm.Command {
	return batch(end(run, "m0", pipeline.ModuleSkipped), runEnd(run, state))
}

func TestBackfill(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"))
	rev := r.schedule("s").Revision
	r.must(of(plan("s", tickAt(2)), rev), of(fire("s", 2, "t2"), rev)) // one tick has a run

	r.wantRefused(fill("s", "b", 0, 0, "f0"), "decided before")
	r.wantRefused(change("s", fsm.ScheduleBackfillStop), "no backfill under way")
	r.wantRefused(backfill("s", "b", 4, 0, 2), "its interval or its bound is invalid")
	r.wantRefused(backfill("s", "b", 0, 4, 0), "its interval or its bound is invalid")
	r.must(backfill("s", "b", 0, 4, 2), backfill("s", "b", 0, 4, 2)) // the same request again
	r.wantRefused(backfill("s", "c", 0, 4, 2), "has a backfill under way")

	r.must(fill("s", "b", 0, 0, "f0"))
	r.wantRefused(fill("s", "b", 0, 0, "f0"), "decided before")
	r.wantRefused(fill("s", "c", 1, 0, "f1"), "decided before")
	back := fill("s", "b", 1, 0, "f1")
	back.Fire.Next = tickAt(1)
	r.wantRefused(back, "not after the last")
	r.must(fill("s", "b", 1, 0, "f1"))
	if b := r.schedule("s").Backfill; b.By != "ann" || b.Made != 2 || !b.At.Equal(at) || !b.Next.Equal(tickAt(2)) {
		t.Errorf("got %+v", b)
	}
}

func TestBackfill_oneRunATick(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"))
	rev := r.schedule("s").Revision
	r.must(of(plan("s", tickAt(2)), rev), of(fire("s", 2, "t2"), rev), backfill("s", "b", 0, 4, 2), fill("s", "b", 0, 0, "f0"), fill("s", "b", 1, 0, "f1"))

	run := r.run("f1")
	want := pipeline.Run{ID: "f1", Number: 3, Pipeline: "s", State: pipeline.RunWaiting, Submitter: "ann", SubmittedAt: at.Add(time.Hour), Zone: "UTC",
		Workspace: "w", Holders: []pipeline.NodeID{"n1"}, Modules: 1, Schedule: "s", Tick: tickAt(1), Trigger: pipeline.TriggerBackfill, Backfill: "b", QueueIndex: run.Index, Index: run.Index}
	if d := cmp.Diff(want, run); d != "" {
		t.Errorf("run (-want +got):\n%s", d)
	}

	// The tick that has a run is left out, whatever the leader thought; two may run.
	r.must(fill("s", "b", 2, 0, "f2"))
	r.wantRefused(fill("s", "b", 3, 0, "f3"), "conflict: 2 runs of the backfill have not finished")
	r.must(done("f0", pipeline.RunSucceeded), fill("s", "b", 3, 0, "f3"), done("f1", pipeline.RunFailed), fill("s", "b", 4, 0, "f4"))
	if r.has("f2") {
		t.Error("a tick that had a run got another")
	}

	got := *r.schedule("s").Backfill
	if got.Made != 4 || got.Had != 1 || got.Succeeded != 1 || got.Failed != 1 || !got.Active() || !got.Next.After(got.To) {
		t.Errorf("got %+v", got)
	}
	r.must(done("f3", pipeline.RunSucceeded), done("f4", pipeline.RunWarnings))
	if got = *r.schedule("s").Backfill; got.Active() || got.Succeeded != 3 || got.Failed != 1 || got.Stopped != "" {
		t.Errorf("got %+v", got)
	}

	// The schedule's own ticks do not wait for its runs, and it changed none of them.
	if rec := r.schedule("s"); rec.Fired != 1 || len(rec.Ticks) != 1 || !rec.Next.Equal(tickAt(3)) {
		t.Errorf("the backfill changed the schedule: %+v", rec)
	}

	// Again: all have runs, and get others only if that is asked for.
	r.must(backfill("s", "c", 0, 1, 1), fill("s", "c", 0, 0, "g0"), fill("s", "c", 1, 0, "g1"))
	if got = *r.schedule("s").Backfill; got.Active() || got.Made != 0 || got.Had != 2 || r.has("g0") {
		t.Errorf("got %+v", got)
	}
	again := backfill("s", "d", 0, 1, 1)
	again.Schedule.Backfill.Again = true
	r.must(again, fill("s", "d", 0, 0, "h0"))
	view(t, r.Store, func(v *fsm.View) {
		if id := v.TickRun("s", tickAt(0)); id != "h0" {
			t.Errorf("the run of the tick is %s", id)
		}
		if n := v.BackfillLive("s"); n != 1 {
			t.Errorf("%d runs are under way", n)
		}
	})

	// Its last runs end without it.
	r.must(change("s", fsm.ScheduleBackfillStop))
	if got = *r.schedule("s").Backfill; got.Active() || got.Stopped != "stopped" {
		t.Errorf("got %+v", got)
	}
	r.wantRefused(fill("s", "d", 1, 0, "h1"), "decided before")
	r.must(done("h0", pipeline.RunSucceeded))
	if got = *r.schedule("s").Backfill; got.Succeeded != 1 || got.Active() {
		t.Errorf("got %+v", got)
	}

	// A run that is forgotten leaves its tick free, unless another has it.
	r.must(done("t2", pipeline.RunSucceeded), forget("h0", "f0", "t2"))
	view(t, r.Store, func(v *fsm.View) {
		for n, want := range []pipeline.RunID{"", "f1", "", "f3"} {
			if id := v.TickRun("s", tickAt(n)); id != want {
				t.Errorf("the run of tick %d is %q, want %q", n, id, want)
			}
		}
	})
}

// Other times end a backfill; the same times do not, nor does a pause.
func TestBackfill_registeredAgain(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"), backfill("s", "b", 0, 4, 1), fill("s", "b", 0, 0, "f0"), register(t, "s", "queue"), change("s", fsm.SchedulePause), done("f0", pipeline.RunSucceeded), fill("s", "b", 1, 0, "f1"))
	if !r.schedule("s").Backfill.Active() {
		t.Errorf("got %+v", r.schedule("s").Backfill)
	}
	other := register(t, "s", "allow")
	other.Schedule.Record.Schedule.Cron = []string{"0 0 * * *"}
	r.must(other)
	if b := r.schedule("s").Backfill; b.Active() || b.Stopped != "the schedule was registered with other times" {
		t.Errorf("got %+v", b)
	}
	r.must(change("s", fsm.ScheduleRemove), done("f1", pipeline.RunSucceeded))
}

// Runs of a group that replace each other do not do so in a backfill.
func TestBackfill_group(t *testing.T) {
	r := newRig(t)
	c := register(t, "s", "skip")
	c.Schedule.Record.Group, c.Schedule.Record.Cancels = "g", true
	r.must(c, backfill("s", "b", 0, 4, 2))
	for n := range 2 {
		r.must(fill("s", "b", n, 0, pipeline.RunID(fmt.Sprintf("f%d", n))))
	}
	if run := r.run("f0"); run.State != pipeline.RunWaiting {
		t.Errorf("got %+v", run)
	}
	r.wantRefused(batch(assign("f1", "m0", 1)), "waits for run f0")
}

// A backfill counts the runs of an earlier one as under way until they finish, and ends
// with the last of them.
func TestBackfill_runsOfEarlier(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"), backfill("s", "b", 0, 4, 2), fill("s", "b", 0, 0, "f0"), fill("s", "b", 1, 0, "f1"), change("s", fsm.ScheduleBackfillStop),
		backfill("s", "c", 2, 2, 2))
	r.wantRefused(fill("s", "c", 2, 0, "g2"), "2 runs of the backfill have not finished")

	r.must(done("f0", pipeline.RunFailed), fill("s", "c", 2, 0, "g2"), done("g2", pipeline.RunSucceeded))
	if b := r.schedule("s").Backfill; !b.Active() {
		t.Errorf("ended while a run is under way: %+v", b)
	}
	r.must(done("f1", pipeline.RunSucceeded))
	if b := r.schedule("s").Backfill; b.Active() || b.Made != 1 || b.Succeeded != 1 || b.Failed != 0 {
		t.Errorf("got %+v", b)
	}
}
