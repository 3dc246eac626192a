package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// tickAt is when the n-th tick of the tests' schedules is.
func tickAt(n int) time.Time { return at.Truncate(time.Second).Add(time.Duration(n+1) * time.Minute) }

func register(tb tester, name, overlap string) *fsm.Command {
	tb.Helper()
	return &fsm.Command{Schedule: &fsm.ScheduleChange{Name: name, Do: fsm.ScheduleRegister, Definition: definition(tb, 1),
		Record: fsm.ScheduleRecord{Schedule: pipeline.Schedule{Cron: []string{"* * * * *"}, Timezone: "UTC", Overlap: overlap, CatchUp: "all"},
			Registration: "r " + overlap, Modules: 1, Workspace: "w", Holders: []pipeline.NodeID{"n1"}, Submitter: "ann"}}}
}

func change(name string, do fsm.ScheduleDo) *fsm.Command {
	return &fsm.Command{Schedule: &fsm.ScheduleChange{Name: name, Do: do}}
}

// plan sets the first tick.
func plan(name string, next time.Time) *fsm.Command {
	return &fsm.Command{Fire: &fsm.Fire{Schedule: name, Next: next}}
}

// fire makes a run for the n-th tick.
func fire(name string, n int, run pipeline.RunID) *fsm.Command {
	return &fsm.Command{At: tickAt(n).Add(time.Millisecond), Fire: &fsm.Fire{Schedule: name, Due: tickAt(n), Tick: tickAt(n), Next: tickAt(n + 1), Run: run}}
}

// skip skips the ticks from the n-th on.
func skip(name string, n, count int) *fsm.Command {
	return &fsm.Command{At: tickAt(n + count), Fire: &fsm.Fire{Schedule: name, Due: tickAt(n), Tick: tickAt(n + count - 1), Next: tickAt(n + count),
		Skip: "missed", Count: uint64(count)}}
}

func trigger(name string, run pipeline.RunID) *fsm.Command {
	return &fsm.Command{Fire: &fsm.Fire{Schedule: name, Run: run, By: "bob", Key: "key of " + string(run)}}
}

func withGroup(c *fsm.Command, cancels bool) *fsm.Command {
	c.Submit.Run.Group, c.Submit.Run.Cancels = "g", cancels
	return c
}

// of makes a command of another revision.
func of(c *fsm.Command, revision uint64) *fsm.Command {
	c.Fire.Revision = revision
	return c
}

func (r *rig) schedule(name string) fsm.ScheduleRecord {
	r.tb.Helper()
	var rec fsm.ScheduleRecord
	view(r.tb, r.Store, func(v *fsm.View) { rec, _ = v.Schedule(name) })
	return rec
}

// over ends a run of one module that was not assigned.
func over(run string) *fsm.Command {
	return batch(end(run, "m0", pipeline.ModuleSkipped), runEnd(run, pipeline.RunSucceeded))
}

func (r *rig) wantRefused(c *fsm.Command, why string) {
	r.tb.Helper()
	if got := refused(r.do(c)); !strings.Contains(got, why) || got == "" {
		r.tb.Fatalf("got %q, want a refusal with %q", got, why)
	}
}

func (r *rig) has(run string) bool {
	r.tb.Helper()
	var ok bool
	view(r.tb, r.Store, func(v *fsm.View) { _, ok = v.Run(pipeline.RunID(run)) })
	return ok
}

func TestFire_eachTickOnce(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "allow"))
	rev := r.schedule("s").Revision
	r.wantRefused(of(fire("s", 0, "early"), rev), "decided before") // nothing is due yet
	r.must(of(plan("s", tickAt(0)), rev))
	r.must(of(fire("s", 0, "t0"), rev))
	r.wantRefused(of(fire("s", 0, "t0"), rev), "decided before")
	r.wantRefused(of(fire("s", 0, "other"), rev), "decided before")
	r.wantRefused(of(skip("s", 0, 4), rev), "decided before")
	r.wantRefused(of(fire("s", 1, "t1"), rev+1), "decided before")
	back := of(fire("s", 1, "t1"), rev)
	back.Fire.Next = tickAt(1)
	r.wantRefused(back, "not after the last")
	r.must(of(fire("s", 1, "t1"), rev), of(skip("s", 2, 3), rev))

	if r.has("other") || r.has("early") {
		t.Error("a refused tick made a run")
	}

	run := r.run("t1")
	want := pipeline.Run{ID: "t1", Number: 2, Pipeline: "s", State: pipeline.RunWaiting, Submitter: "ann", SubmittedAt: tickAt(1).Add(time.Millisecond), Zone: "UTC",
		Workspace: "w", Holders: []pipeline.NodeID{"n1"}, Modules: 1, Schedule: "s", Tick: tickAt(1), QueueIndex: run.Index, Index: run.Index}
	if d := cmp.Diff(want, run); d != "" {
		t.Errorf("run (-want +got):\n%s", d)
	}

	view(t, r.Store, func(v *fsm.View) {
		if def, err := v.Definition("t1"); err != nil || len(def.Modules) != 1 {
			t.Errorf("definition %v, %v", def, err)
		}
	})

	rec := r.schedule("s")
	wantTicks := []fsm.TickRecord{{Tick: tickAt(0), At: tickAt(0).Add(time.Millisecond), Run: "t0"}, {Tick: tickAt(1), At: tickAt(1).Add(time.Millisecond), Run: "t1"},
		{Tick: tickAt(4), At: tickAt(5), Skipped: "missed", Count: 3}}
	if d := cmp.Diff(wantTicks, rec.Ticks); d != "" {
		t.Errorf("ticks (-want +got):\n%s", d)
	}

	if rec.Fired != 2 || rec.Skipped != 3 || !rec.Last.Equal(tickAt(4)) || !rec.Next.Equal(tickAt(5)) {
		t.Errorf("got %+v", rec)
	}

	for n := 5; n < 100; n++ {
		r.must(of(fire("s", n, pipeline.RunID(fmt.Sprintf("u%d", n))), rev))
	}

	if n := len(r.schedule("s").Ticks); n != 32 {
		t.Errorf("%d ticks are remembered, want 32", n)
	}
}

func TestFire_overlap(t *testing.T) {
	for overlap, want := range map[string]struct{ run, waits bool }{"skip": {}, "queue": {true, true}, "allow": {true, false}} {
		t.Run(overlap, func(t *testing.T) {
			r := newRig(t)
			r.must(register(t, "s", overlap))
			rev := r.schedule("s").Revision
			r.must(of(plan("s", tickAt(0)), rev), of(fire("s", 0, "t0"), rev), batch(assign("t0", "m0", 1)))
			r.must(of(fire("s", 1, "t1"), rev))

			if r.has("t1") != want.run {
				t.Fatalf("a run while another has not finished: %v, want %v", r.has("t1"), want.run)
			}

			last := r.schedule("s").Ticks[1]
			switch {
			case !want.run:
				if last.Run != "" || last.Skipped != "run t0 had not finished" || last.Count != 1 {
					t.Errorf("got %+v", last)
				}
				// One that is caught up with has its run, in its turn.
				missed := of(fire("s", 2, "t2"), rev)
				missed.Fire.Missed = true
				r.must(missed)
				r.wantRefused(batch(assign("t2", "m0", 1)), "waits for run t0, an earlier one")
			case want.waits:
				r.wantRefused(batch(assign("t1", "m0", 1)), "waits for run t0, an earlier one of its schedule")
				r.must(batch(outcome("t0", "m0", 1, ok), runEnd("t0", pipeline.RunSucceeded)), batch(assign("t1", "m0", 1)))
			default:
				r.must(batch(assign("t1", "m0", 1)))
			}
		})
	}
}

func TestSchedule_changes(t *testing.T) {
	r := newRig(t)
	r.wantRefused(change("s", fsm.SchedulePause), `no schedule "s" is registered`)
	r.wantRefused(register(t, "no name", "skip"), "expected the name of a pipeline")
	r.must(register(t, "s", "skip"))
	rev := r.schedule("s").Revision
	r.must(of(plan("s", tickAt(0)), rev), of(fire("s", 0, "t0"), rev))

	r.must(register(t, "s", "skip")) // the same request again

	if got := r.schedule("s"); got.Revision != rev || !got.Next.Equal(tickAt(1)) {
		t.Errorf("a repeat changed it: %+v", got)
	}

	r.must(register(t, "s", "queue")) // another one, at the same times

	got := r.schedule("s")
	if got.Revision == rev || !got.Next.Equal(tickAt(1)) || got.Fired != 1 || len(got.Ticks) != 1 || got.Schedule.Overlap != "queue" {
		t.Errorf("a replacement at the same times: %+v", got)
	}

	r.wantRefused(of(fire("s", 1, "t1"), rev), "decided before") // for the old one
	r.must(change("s", fsm.SchedulePause))
	r.wantRefused(of(fire("s", 1, "t1"), got.Revision), "decided before")
	other := register(t, "s", "allow")
	other.Schedule.Record.Schedule.Cron = []string{"0 0 * * *"}
	r.must(other)

	if got = r.schedule("s"); !got.Paused || !got.Next.IsZero() {
		t.Errorf("a replacement of what is paused, at other times: %+v", got)
	}

	r.must(change("s", fsm.ScheduleResume))
	if now := r.schedule("s"); now.Paused || !now.Next.IsZero() || now.Revision == got.Revision {
		t.Errorf("resumed: %+v", now)
	}

	r.must(change("s", fsm.ScheduleRemove))
	if r.schedule("s").Name != "" || !r.has("t0") {
		t.Error("want the schedule gone and its run kept")
	}

	r.wantRefused(of(fire("s", 1, "t1"), rev), "no schedule")
	r.wantRefused(change("s", fsm.ScheduleRemove), "no schedule")
	view(t, r.Store, func(v *fsm.View) {
		if v.Empty() {
			t.Error("there is a run")
		}
	})
}

func TestTrigger(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "skip"), change("s", fsm.SchedulePause), trigger("s", "t0"))

	run := r.run("t0")
	if run.Schedule != "s" || !run.Tick.IsZero() || run.Submitter != "bob" {
		t.Errorf("got %+v", run)
	}

	again := trigger("s", "other")
	again.Fire.Key = "key of t0"

	for _, c := range []*fsm.Command{trigger("s", "t0"), again} { // the same proposal, and the same request
		if res := r.do(c).(fsm.FireResult); res.Err != nil || res.Run.ID != "t0" || !res.Repeated {
			t.Errorf("got %+v", res)
		}
	}

	r.wantRefused(trigger("s", "t1"), "conflict: run t0 of the schedule has not finished")
	r.must(over("t0"), trigger("s", "t1"))

	if rec := r.schedule("s"); !rec.Paused || rec.Fired != 0 || len(rec.Ticks) != 0 {
		t.Errorf("triggering changed the schedule: %+v", rec)
	}
}

func TestLines_group(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "b", "c"} {
		r.must(withGroup(submit(t, id, 1), false))
	}

	r.must(submit(t, "free", 1), batch(assign("free", "m0", 1)))
	r.wantRefused(batch(assign("b", "m0", 1)), `waits for run a, which holds the concurrency group "g"`)
	r.must(batch(assign("a", "m0", 1)))

	// In one entry, and in one transaction: b's turn comes with a's end.
	r.must(batch(outcome("a", "m0", 1, ok), runEnd("a", pipeline.RunSucceeded)))
	r.wantRefused(batch(assign("c", "m0", 1)), "waits for run b")

	// Retried, a goes to the end.
	r.must(&fsm.Command{At: at.Add(time.Hour), Retry: &fsm.Retry{Run: "a", Modules: []string{"m0"}}})

	if a := r.run("a"); a.State != pipeline.RunWaiting || !a.StartedAt.IsZero() {
		t.Errorf("retried: %+v", a)
	}

	r.wantRefused(batch(assign("a", "m0", 2)), "waits for run b")
	r.must(batch(assign("b", "m0", 1)), cancel("c"), batch(end("c", "m0", pipeline.ModuleCancelled), runEnd("c", pipeline.RunCancelled)))
	r.must(batch(outcome("b", "m0", 1, ok), runEnd("b", pipeline.RunSucceeded)), batch(assign("a", "m0", 2)))
	r.must(batch(outcome("a", "m0", 2, ok), runEnd("a", pipeline.RunSucceeded)))

	for _, line := range walk(t, r.Store) {
		if strings.HasPrefix(line, "lines ") {
			t.Errorf("everything is over, but there is %s", line)
		}
	}

	bad := submit(t, "bad", 1)
	bad.Submit.Run.Group = "a\x00b"
	r.wantRefused(bad, "no NUL")
}

func TestLines_cancelInProgress(t *testing.T) {
	r := newRig(t)
	r.must(withGroup(submit(t, "a", 1), false), withGroup(submit(t, "b", 1), false), batch(assign("a", "m0", 1)), withGroup(submit(t, "c", 1), true))
	for _, id := range []string{"a", "b"} {
		if run := r.run(id); run.State != pipeline.RunCancelling || run.Reason != `run c replaced it in the concurrency group "g"` {
			t.Errorf("%s is %s: %s", id, run.State, run.Reason)
		}
	}
	r.wantRefused(batch(assign("c", "m0", 1)), "waits for run a")
	r.must(batch(outcome("a", "m0", 1, cancelled), runEnd("a", pipeline.RunCancelled)), batch(end("b", "m0", pipeline.ModuleCancelled), runEnd("b", pipeline.RunCancelled)))
	r.must(batch(assign("c", "m0", 1)))
}

// In any order of submissions and finished runs of groups and schedules, at
// most one run of a queue is started at a time, in the order of submission, and
// none is stuck.
func TestLines_property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		type job struct {
			id, group string
			sched     bool
			started   bool
			over      bool
		}

		var jobs []*job
		r.must(register(t, "s", "queue"))

		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			var live []*job
			for _, j := range jobs {
				if !j.over {
					live = append(live, j)
				}
			}

			if len(live) == 0 || rapid.IntRange(0, 2).Draw(rt, "what") == 0 {
				j := &job{id: fmt.Sprintf("j%d", i), group: rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "group"), sched: rapid.Bool().Draw(rt, "sched")}
				c := submit(t, j.id, 1)
				if j.sched {
					c, j.group = trigger("s", pipeline.RunID(j.id)), ""
				} else {
					c.Submit.Run.Group = j.group
				}
				r.must(c)
				jobs = append(jobs, j)
				continue
			}

			j := rapid.SampledFrom(live).Draw(rt, "run")
			if j.started {
				r.must(batch(outcome(j.id, "m0", 1, ok), runEnd(j.id, pipeline.RunSucceeded)))
				j.over = true
				continue
			}

			first := true
			for _, o := range live {
				if o == j {
					break
				}
				if o.group != "" && o.group == j.group || o.sched && j.sched {
					first = false
				}
			}

			if why := refused(r.do(batch(assign(j.id, "m0", 1)))); (why == "") != first {
				rt.Fatalf("%s, first in its line: %v, was answered %q", j.id, first, why)
			}

			j.started = first
		}
	})
}

// A run that is triggered with other variables has a definition of its own; it is refused
// if the schedule is another by then.
func TestTrigger_definition(t *testing.T) {
	r := newRig(t)
	r.must(register(t, "s", "allow"))
	own := func(run pipeline.RunID, revision uint64) *fsm.Command {
		c := trigger("s", run)
		c.Fire.Revision, c.Fire.Definition, c.Fire.Modules, c.Fire.Group, c.Fire.Untrusted = revision, definition(t, 3), 3, "g", true
		return c
	}
	rev := r.schedule("s").Revision
	r.must(own("t0", rev))
	if run := r.run("t0"); run.Modules != 3 || run.Group != "g" || !run.Untrusted {
		t.Errorf("got %+v", run)
	}
	view(t, r.Store, func(v *fsm.View) {
		if def, err := v.Definition("t0"); err != nil || len(def.Modules) != 3 {
			t.Errorf("definition %v, %v", def, err)
		}
	})

	c := register(t, "s", "queue")
	c.Schedule.Source = []byte("sealed")
	r.must(c)
	r.wantRefused(own("t1", rev), "conflict: schedule s was registered again")
	view(t, r.Store, func(v *fsm.View) {
		if got := string(v.ScheduleSource("s")); got != "sealed" {
			t.Errorf("the source is %q", got)
		}
	})
	r.must(change("s", fsm.ScheduleRemove))
	view(t, r.Store, func(v *fsm.View) {
		if got := v.ScheduleSource("s"); len(got) > 0 {
			t.Errorf("the source is left: %q", got)
		}
	})
}
