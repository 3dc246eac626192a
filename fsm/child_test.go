package fsm_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// spawn makes a run for a module, of one module m0.
func spawn(tb tester, run, module string, number int, child string) *fsm.Command {
	tb.Helper()
	return &fsm.Command{Spawn: &fsm.Spawn{Run: pipeline.RunID(run), Module: module, Number: number, Definition: definition(tb, 1),
		Child: pipeline.Run{ID: pipeline.RunID(child), Pipeline: "c", Modules: 1}}}
}

// parent returns a run r of two modules whose first has the child c.
func parent(t *testing.T, change ...func(*fsm.Spawn)) *rig {
	t.Helper()
	r := newRig(t)
	s := spawn(t, "r", "m0", 1, "c")
	for _, fn := range change {
		fn(s.Spawn)
	}
	r.must(submit(t, "r", 2), s)
	return r
}

// ended ends the only module of a run, and the run.
func ended(run string, s pipeline.AttemptState, state pipeline.RunState, reason string) []*fsm.Command {
	out := outcome(run, "m0", 1, s)
	if s == failed {
		out.Next, out.Reason = pipeline.ModuleFailed, "exit code 3"
	}
	end := runEnd(run, state)
	end.Reason = reason
	return []*fsm.Command{batch(assign(run, "m0", 1)), batch(out, end)}
}

func TestSpawn(t *testing.T) {
	r := newRig(t)
	c := submit(t, "r", 2)
	c.Submit.Run.Workspace, c.Submit.Run.Cache, c.Submit.Run.Untrusted, c.Submit.Run.Git = pipeline.EmptyDigest, pipeline.CacheOff, true, pipeline.Git{SHA: "abc"}
	r.must(c)
	s := spawn(t, "r", "m0", 1, "c")
	s.Spawn.Child.Submitter, s.Spawn.Child.Parent.Module, s.Spawn.Child.Key = "eve", "odd", "key of r" // not for the proposer to say
	r.must(s)

	child, run, m := r.run("c"), r.run("r"), r.module("r", "m0")
	if child.Submitter != "ann" || child.Workspace != pipeline.EmptyDigest || child.Cache != pipeline.CacheOff || !child.Untrusted || child.Git.SHA != "abc" ||
		child.Parent != (pipeline.Parent{Run: "r", Number: 1, Module: "m0"}) || child.Key != "" || child.Number != 2 || child.State != pipeline.RunWaiting {
		t.Errorf("child %+v", child)
	}
	if run.State != pipeline.RunRunning || run.StartedAt != at || run.Live != 0 || len(run.Children) != 1 || run.Children[0] != "c" {
		t.Errorf("parent %+v", run)
	}
	if x := m.LiveChild(); m.State != pipeline.ModuleRunning || x == nil || x.Run != "c" || x.Number != 2 || x.Pipeline != "c" {
		t.Errorf("module %+v", m)
	}
	wantEvents(t, r.Store, 1, "2.0 run.started r", "2.1 run.queued c by ann : module m0 of run 1")
}

func TestSpawn_refused(t *testing.T) {
	long := func(s *fsm.Command) *fsm.Command { s.Spawn.Child.Group = strings.Repeat("g", 2000); return s }
	for _, row := range []struct {
		name   string
		before []*fsm.Command
		last   *fsm.Command
		want   string
	}{
		{"again", []*fsm.Command{spawn(t, "r", "m0", 1, "c")}, spawn(t, "r", "m0", 1, "d"), "conflict: module is running"},
		{"a number that is not next", nil, spawn(t, "r", "m0", 2, "c"), "conflict: next child is 1"},
		{"no run", nil, spawn(t, "gone", "m0", 1, "c"), "conflict: no such run"},
		{"cancelled", []*fsm.Command{cancel("r")}, spawn(t, "r", "m0", 1, "c"), "conflict: run is cancelling"},
		{"over", []*fsm.Command{batch(end("r", "m0", pipeline.ModuleSkipped))}, spawn(t, "r", "m0", 1, "c"), "conflict: module is skipped"},
		{"an attempt", []*fsm.Command{batch(assign("r", "m0", 1)), batch(outcome("r", "m0", 1, lost))}, spawn(t, "r", "m0", 1, "c"), "conflict: module has attempts"},
		{"an id that is taken", nil, spawn(t, "r", "m0", 1, "r"), "conflict: run r exists"},
		{"no id", nil, spawn(t, "r", "m0", 1, ""), `invalid: run id "": expected at most 63 of a-z, 0-9, _ and -`},
		{"no module", nil, spawn(t, "r", "", 1, "c"), "invalid: the module's name is empty"},
		{"a long group", nil, long(spawn(t, "r", "m0", 1, "c")), "invalid: group"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.must(submit(t, "r", 2))
			r.must(row.before...)
			if got := refused(r.do(row.last)); !strings.HasPrefix(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}

	r := parent(t)
	if res := r.do(batch(end("r", "m0", pipeline.ModuleCancelled), runEnd("r", pipeline.RunFailed), assign("r", "m0", 1), await("r", "m0"))).(fsm.BatchResult); len(res.Refused) != 4 {
		t.Errorf("only the end of its child ends a module: %+v", res.Refused)
	}
}

// The entry that ends a child ends its module.
func TestSpawn_end(t *testing.T) {
	for _, row := range []struct {
		name   string
		child  []*fsm.Command
		state  pipeline.ModuleState
		reason string
		result string
		failed int
	}{
		{"success", ended("c", ok, pipeline.RunSucceeded, ""), pipeline.ModuleSucceeded, "", `{"m0":{"n":1}}`, 0},
		{"warnings", ended("c", ok, pipeline.RunWarnings, ""), pipeline.ModuleSucceeded, "", `{"m0":{"n":1}}`, 0},
		{"failure", ended("c", failed, pipeline.RunFailed, "m0 failed"), pipeline.ModuleFailed, "run 2 failed: m0 failed: exit code 3", "", 1},
		{"time", ended("c", failed, pipeline.RunFailed, "too slow"), pipeline.ModuleFailed, "run 2 failed: too slow", "", 1},
		{"cancelled by itself", append([]*fsm.Command{cancel("c")}, batch(end("c", "m0", pipeline.ModuleCancelled), runEnd("c", pipeline.RunCancelled))),
			pipeline.ModuleFailed, "run 2 was cancelled (stop it)", "", 1},
		{"cancelled by its parent", append([]*fsm.Command{{Cancel: &fsm.Cancel{Run: "c", Reason: "m1 failed", Parent: true}}}, batch(end("c", "m0", pipeline.ModuleCancelled), runEnd("c", pipeline.RunCancelled))),
			pipeline.ModuleCancelled, "m1 failed", "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := parent(t)
			r.must(row.child...)
			m, run := r.module("r", "m0"), r.run("r")
			if m.State != row.state || m.Reason != row.reason || string(m.Result) != row.result || m.LiveChild() != nil || m.LastChild().State == "" || m.FinishedAt.IsZero() {
				t.Errorf("module %+v, result %s", m, m.Result)
			}
			if run.Done != 1 || run.Failed != row.failed || len(run.Children) != 0 || run.State.Final() {
				t.Errorf("run %+v", run)
			}
			if got := refused(r.do(batch(runEnd("c", pipeline.RunFailed)))); got == "" || r.run("r").Done != 1 {
				t.Errorf("a child ended twice: %q", got)
			}
		})
	}
}

// A child that fails is followed by another one, as often as retry says.
func TestSpawn_retry(t *testing.T) {
	r := parent(t, func(s *fsm.Spawn) { s.Retry = pipeline.Retry{Attempts: 2, Backoff: time.Second}; s.Ignored = true })
	r.must(ended("c", failed, pipeline.RunFailed, "m0 failed")...)
	if m := r.module("r", "m0"); m.State != pipeline.ModuleWaiting || m.NotBefore != at.Add(time.Second) || m.Failures != 1 {
		t.Fatalf("module %+v", m)
	}
	next := spawn(t, "r", "m0", 2, "d")
	next.Spawn.Retry, next.Spawn.Ignored = pipeline.Retry{Attempts: 2}, true
	r.must(next)
	r.must(ended("d", failed, pipeline.RunFailed, "m0 failed")...)
	m, run := r.module("r", "m0"), r.run("r")
	if m.State != pipeline.ModuleFailed || !m.Ignored || run.Warnings != 1 || run.Failed != 0 || len(m.Children) != 2 {
		t.Fatalf("module %+v of %+v", m, run)
	}

	// What the run is retried for is another child. The old ones are no longer its own.
	r.must(batch(end("r", "m1", pipeline.ModuleFailed), runEnd("r", pipeline.RunFailed)), &fsm.Command{Retry: &fsm.Retry{Run: "r", Modules: []string{"m0", "m1"}}},
		spawn(t, "r", "m0", 3, "e"), &fsm.Command{Retry: &fsm.Retry{Run: "c", Modules: []string{"m0"}}})
	again := outcome("c", "m0", 2, ok)
	r.must(batch(assign("c", "m0", 2)), batch(again, runEnd("c", pipeline.RunSucceeded)))
	if m := r.module("r", "m0"); m.State != pipeline.ModuleRunning || m.LiveChild().Run != "e" {
		t.Errorf("an old child ended its module: %+v", m)
	}
}

// A cancelled run cancels its children in the same entry, and theirs.
func TestSpawn_cancel(t *testing.T) {
	always := func(s *fsm.Command) *fsm.Command { s.Spawn.Always = true; return s }
	r := newRig(t)
	r.must(submit(t, "r", 2), spawn(t, "r", "m0", 1, "c"), spawn(t, "c", "m0", 1, "cc"), always(spawn(t, "r", "m1", 1, "a")))
	r.must(&fsm.Command{Cancel: &fsm.Cancel{Run: "r", Reason: "enough", Request: "q1"}})
	for id, want := range map[string]pipeline.RunState{"c": pipeline.RunCancelling, "cc": pipeline.RunCancelling, "a": pipeline.RunWaiting} {
		if run := r.run(id); run.State != want || run.Forced || want == pipeline.RunCancelling && (run.Reason != "enough" || !run.ByParent) {
			t.Errorf("%s is %+v, want %s", id, run, want)
		}
	}
	wantEvents(t, r.Store, 4, "5.0 run.cancelling r : enough", "5.1 run.cancelling c : enough", "5.2 run.cancelling cc : enough")

	r.must(&fsm.Command{Cancel: &fsm.Cancel{Run: "r", Request: "q2"}})
	for _, id := range []string{"c", "cc", "a"} {
		if run := r.run(id); run.State != pipeline.RunCancelling || !run.Forced {
			t.Errorf("%s is not forced: %+v", id, run)
		}
	}
	r.must(batch(end("cc", "m0", pipeline.ModuleCancelled), runEnd("cc", pipeline.RunCancelled)), batch(runEnd("c", pipeline.RunCancelled)))
	if m := r.module("r", "m0"); m.State != pipeline.ModuleCancelled || m.Reason != "enough" {
		t.Errorf("module %+v", m)
	}
}

// A child that was cancelled before its parent was is no failure of that.
func TestSpawn_cancelledBefore(t *testing.T) {
	r := parent(t)
	r.must(cancel("c"), cancel("r"), batch(end("c", "m0", pipeline.ModuleCancelled), runEnd("c", pipeline.RunCancelled)))
	if m := r.module("r", "m0"); m.State != pipeline.ModuleCancelled {
		t.Errorf("module %+v", m)
	}
}

// A run that another one of its group replaces takes its children along.
func TestSpawn_replaced(t *testing.T) {
	r := newRig(t)
	r.must(withGroup(submit(t, "g1", 1), true), spawn(t, "g1", "m0", 1, "c"), withGroup(submit(t, "g2", 1), true))
	if run := r.run("c"); run.State != pipeline.RunCancelling || !run.ByParent {
		t.Errorf("child %+v", run)
	}
}

func TestSpawn_largeResults(t *testing.T) {
	r := parent(t)
	cmds := ended("c", ok, pipeline.RunSucceeded, "")
	cmds[1].Batch.Outcomes[0].Outcome.Result = []byte(`{"x":"` + strings.Repeat("x", pipeline.MaxResultBytes-8) + `"}`)
	r.must(cmds...)
	if m := r.module("r", "m0"); m.State != pipeline.ModuleFailed || !strings.HasPrefix(m.Reason, "the results of run 2 have ") || m.Result != nil {
		t.Errorf("module is %s: %s", m.State, m.Reason)
	}
}

// checkChildren: the children of a run that have not ended are those that its modules
// wait for, and one that waits for a child has a live one.
func checkChildren(t *rapid.T, v *fsm.View, run pipeline.Run, records map[string]*pipeline.ModuleRecord) {
	live := map[pipeline.RunID]bool{}
	for name, rec := range records {
		c := rec.LiveChild()
		if c == nil {
			continue
		}
		live[c.Run] = true
		child, found := v.Run(c.Run)
		if !found || child.State.Final() || child.Parent.Run != run.ID || child.Parent.Module != name || rec.State != pipeline.ModuleRunning {
			t.Fatalf("%s of %s is %s and waits for %+v", name, run.ID, rec.State, child)
		}
	}
	for _, id := range run.Children {
		if !live[id] {
			t.Fatalf("%s lists the child %s, for which no module waits", run.ID, id)
		}
	}
	if len(run.Children) != len(live) {
		t.Fatalf("%s lists %v of %v", run.ID, run.Children, live)
	}
}
