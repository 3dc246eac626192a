package orchestrator_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Commands of notifications run at the start or the end of a run if it is of their
// events, know how it went, and change nothing about it.
func TestOrchestrator_notify(t *testing.T) {
	c := newCluster(t, 2)
	bad := ""
	told := map[string]pipeline.Spec{}
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		c.mu.Lock()
		defer c.mu.Unlock()
		told[s.ID.Module] = s
		if s.ID.Module == bad || s.ID.Module == "broken" {
			return quick(pipeline.AttemptFailed)
		}
		return quick(pipeline.AttemptSucceeded)
	}
	defer c.lead(fast)()

	notify := func(name string, h pipeline.Hook, on ...string) pipeline.Module {
		m := aModule(name)
		m.Hook, m.NotifyOn, m.IgnoreFailure = h, on, true
		if h == pipeline.HookNotify {
			m.AlwaysRun, m.DependsOn = true, []string{"main"}
		}
		return m
	}
	p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("main"), notify("start", pipeline.HookNotifyStart, "start"),
		notify("all", pipeline.HookNotify, "failure", "success", "recovery"), notify("recovery", pipeline.HookNotify, "recovery"),
		notify("broken", pipeline.HookNotify, "success", "failure")}}
	for i, step := range []struct {
		bad, event string
		state      pipeline.RunState
		recovery   bool
	}{
		{"", "success", pipeline.RunSucceeded, false},
		{"main", "failure", pipeline.RunFailed, false},
		{"", "recovery", pipeline.RunSucceeded, true},
		{"", "success", pipeline.RunSucceeded, false},
	} {
		c.mu.Lock()
		bad = step.bad
		clear(told)
		c.mu.Unlock()
		mods := c.ends(c.submit(string(rune('a'+i)), p), step.state)

		c.mu.Lock()
		all, start := told["all"], told["start"]
		_, recovered := told["recovery"]
		c.mu.Unlock()
		if all.Notice == nil || all.Notice.Event != step.event || all.Notice.Status != step.state || all.Status != string(step.state) || recovered != step.recovery {
			t.Errorf("%d: status %s, %+v, recovery %v", i, all.Status, all.Notice, recovered)
			continue
		}
		// A failure may come before it is started.
		if mods["start"].State != pipeline.ModuleSkipped && (start.Notice == nil || start.Notice.Event != "start" || start.Status != "running") {
			t.Errorf("%d: at the start %s, %+v", i, start.Status, start.Notice)
		}
		if step.bad != "" && (len(all.Notice.Failed) != 1 || all.Notice.Failed[0].Module != "main" || all.Notice.Reason != "main failed") {
			t.Errorf("%d: %+v", i, all.Notice)
		}
		if got := mods["broken"].State; got != pipeline.ModuleFailed {
			t.Errorf("%d: broken is %s", i, got)
		}
		if !step.recovery && mods["recovery"].State != pipeline.ModuleSkipped {
			t.Errorf("%d: recovery is %s", i, mods["recovery"].State)
		}
	}
}

// A command of a notification may follow from what was read of the state: a decision, the
// end of a child, or a cancellation. Whether it runs is read from the state, too.
func TestOrchestrator_notify_afterChange(t *testing.T) {
	say := with(aModule("say"), func(m *pipeline.Module) {
		m.Hook, m.NotifyOn, m.IgnoreFailure, m.AlwaysRun, m.DependsOn = pipeline.HookNotify, []string{"failure"}, true, true, []string{"main"}
	})
	waits := gate("main", 0, "")
	for _, row := range []struct {
		name  string
		main  pipeline.Module
		after func(*cluster, pipeline.RunID)
		want  pipeline.RunState
	}{
		{"decision", waits, func(c *cluster, id pipeline.RunID) { c.decide(id, "main", pipeline.Approved) }, pipeline.RunSucceeded},
		{"child", nests("main"), func(c *cluster, id pipeline.RunID) { c.succeed(c.child(id, "main"), "work") }, pipeline.RunSucceeded},
		{"cancellation", waits, func(c *cluster, id pipeline.RunID) { c.cancel(id, "") }, pipeline.RunCancelled},
	} {
		t.Run(row.name, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				id := c.submit("r", one(row.main, say))
				pass(time.Second)
				row.after(c, id)
				if got := c.ends(id, row.want)["say"].State; got != pipeline.ModuleSkipped {
					t.Errorf("say is %s", got)
				}
			})
		})
	}
}
