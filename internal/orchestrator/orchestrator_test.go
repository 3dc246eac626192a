package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// fast is a timing for tests: leases lapse while one waits.
var fast = orchestrator.Timing{Lease: 300 * time.Millisecond, Silence: time.Second, Sync: 20 * time.Millisecond, Call: time.Second}

func aModule(name string, deps ...string) pipeline.Module {
	return pipeline.Module{Name: name, Command: []string{"true"}, DependsOn: deps}
}

func layers(n, width int) pipeline.Pipeline {
	p := pipeline.Pipeline{Name: "layers"}
	var before []string
	for i := range n {
		var names []string
		for j := range width {
			m := aModule(fmt.Sprintf("m%d-%d", i, j), before...)
			p.Modules = append(p.Modules, m)
			names = append(names, m.Name)
		}
		before = names
	}
	return p
}

func TestOrchestrator_layers(t *testing.T) {
	c := newCluster(t, 2, 2, 2)
	defer c.lead(fast)()
	id := c.submit("r1", layers(10, 10))
	for name, m := range c.ends(id, pipeline.RunSucceeded) {
		if m.State != pipeline.ModuleSucceeded || len(m.Attempts) != 1 {
			t.Errorf("%s: %s with %d attempts", name, m.State, len(m.Attempts))
		}
	}
	if c.most > 6 {
		t.Errorf("%d attempts at once with 6 slots", c.most)
	}
}

func TestOrchestrator_maxParallel(t *testing.T) {
	c := newCluster(t, 4, 4)
	defer c.lead(fast)()
	p := layers(1, 40)
	p.MaxParallel = 2
	c.ends(c.submit("r1", p), pipeline.RunSucceeded)
	if c.most > 2 {
		t.Errorf("%d attempts at once, want at most 2", c.most)
	}
}

func TestOrchestrator_failureStopsTheRun(t *testing.T) {
	c := newCluster(t, 1)
	code := 3
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		if s.ID.Module == "bad" {
			return &pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "exit code 3", ExitCode: &code}
		}
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("bad"), aModule("after", "bad"), aModule("later", "after"), aModule("free")}}
	p.Modules[0].Retry = pipeline.Retry{Attempts: 3, Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond}
	p.Modules[3].DependsOn = []string{"bad2"}
	p.Modules = append(p.Modules, aModule("bad2", "bad"))
	mods := c.ends(c.submit("r1", p), pipeline.RunFailed)
	if m := mods["bad"]; m.State != pipeline.ModuleFailed || len(m.Attempts) != 3 || m.Failures != 3 {
		t.Errorf("bad: %s after %d attempts, %d failures", m.State, len(m.Attempts), m.Failures)
	}
	for name, want := range map[string]string{"after": "dependency bad failed", "later": "dependency after was skipped", "free": "dependency bad2 was skipped"} {
		if m := mods[name]; m == nil || m.State != pipeline.ModuleSkipped || m.Reason != want {
			t.Errorf("%s: %+v, want skipped, %q", name, m, want)
		}
	}
}

func TestOrchestrator_expressions(t *testing.T) {
	c := newCluster(t, 1)
	var got []string
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		if s.ID.Module == "second" {
			got = s.Command
		}
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded, Result: []byte(`{"v":"1"}`)}
	}
	defer c.lead(fast)()
	p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("first"), {Name: "second", DependsOn: []string{"first"},
		Deferred: map[string]pipeline.DeferredExpr{"command": {Source: "x"}}}}}
	mods := c.ends(c.submit("r1", p), pipeline.RunSucceeded)
	if len(got) != 2 || got[1] != `{"v":"1"}` {
		t.Errorf("second ran %q", got)
	}
	if mods["second"].Attempts[0].Evaluated != nil {
		t.Error("what was evaluated is kept after the end")
	}
	p.Modules[1].Name = "broken"
	mods = c.ends(c.submit("r2", p), pipeline.RunFailed)
	if m := mods["broken"]; m.State != pipeline.ModuleFailed || m.Reason != "expression: no such attribute" {
		t.Errorf("broken: %s, %q", m.State, m.Reason)
	}
}

func TestOrchestrator_cancel(t *testing.T) {
	c := newCluster(t, 2)
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome { return nil }
	defer c.lead(fast)()
	id := c.submit("r1", layers(2, 3))
	testutil.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.workers["w1"].held); n != 2 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	if _, err := c.propose(&fsm.Command{At: time.Now(), Cancel: &fsm.Cancel{Run: id, Reason: "enough"}}); err != nil {
		t.Fatal(err)
	}
	for name, m := range c.ends(id, pipeline.RunCancelled) {
		if m.State != pipeline.ModuleCancelled {
			t.Errorf("%s is %s", name, m.State)
		}
	}
}

// A leader that changes in the middle starts nothing twice and loses nothing.
func TestOrchestrator_terms(t *testing.T) {
	c := newCluster(t, 2, 2)
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
		<-time.After(time.Millisecond) // the work
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	end := c.lead(fast)
	id := c.submit("r1", layers(20, 10))
	for {
		r, _ := c.run(id)
		if r.State.Final() {
			break
		}
		testutil.Eventually(t, 20*time.Second, func() error {
			now, _ := c.run(id)
			if now.Done < r.Done+25 && !now.State.Final() {
				return fmt.Errorf("%d done", now.Done)
			}
			return nil
		})
		end()
		end = c.lead(fast)
	}
	end()
	seen := map[pipeline.AttemptID]int{}
	for _, w := range c.workers {
		for _, a := range w.started {
			seen[a]++
		}
	}
	for name, m := range c.ends(id, pipeline.RunSucceeded) {
		if len(m.Attempts) != 1 || seen[pipeline.AttemptID{Run: id, Module: name, Attempt: 1}] != 1 {
			t.Errorf("%s: %d attempts, %d starts: %+v", name, len(m.Attempts), seen[pipeline.AttemptID{Run: id, Module: name, Attempt: 1}], m.Attempts)
		}
	}
}

// What runs on the node that led before is not reported as adopted: it may be gone with it.
func TestOrchestrator_Lead_awaits(t *testing.T) {
	c := newCluster(t, 2, 2)
	release := make(chan struct{})
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
		<-release
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	end := c.lead(fast)
	id := c.submit("r1", layers(1, 4))
	testutil.Eventually(t, 20*time.Second, func() error {
		_, mods := c.run(id)
		for name, m := range mods {
			if m.State != pipeline.ModuleRunning {
				return fmt.Errorf("%s is %s", name, m.State)
			}
		}
		return nil
	})
	end()
	if _, err := c.propose(&fsm.Command{At: time.Now(), Lead: &fsm.Lead{Term: 7, Node: "w2", Name: "w2"}}); err != nil {
		t.Fatal(err)
	}

	end = c.lead(fast)
	testutil.Eventually(t, 20*time.Second, func() error {
		var last pipeline.Event
		_ = c.store.View(func(v *fsm.View) error {
			v.Events(0, func(list []pipeline.Event) bool { last = list[len(list)-1]; return true })
			return nil
		})
		if last.Type != pipeline.EventLeaderChanged || last.Node != "w1" || last.Count != 2 || last.Awaited != 2 {
			return fmt.Errorf("the last event is %+v, want w1 to have adopted 2 attempts and to wait for 2", last)
		}
		return nil
	})
	close(release)
	c.ends(id, pipeline.RunSucceeded)
	end()
}

func TestOrchestrator_lostWorker(t *testing.T) {
	c := newCluster(t, 2, 2)
	c.execute = func(w *fakeWorker, _ pipeline.Spec) *pipeline.Outcome {
		if w.id == "w2" {
			return nil
		}
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	id := c.submit("r1", layers(1, 4))
	testutil.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		w := c.workers["w2"]
		if len(w.held) == 0 {
			return fmt.Errorf("nothing on w2")
		}
		w.silent, w.alive = true, false
		return nil
	})
	mods := c.ends(id, pipeline.RunSucceeded)
	lost := 0
	for _, m := range mods {
		if len(m.Attempts) == 2 {
			lost++
			if m.Losses != 1 || m.Failures != 0 || m.Attempts[0].State != pipeline.AttemptLost || m.Attempts[1].Worker != "w1" {
				t.Errorf("%s: %+v", m.Name, m)
			}
		}
	}
	if lost == 0 {
		t.Error("nothing was lost")
	}
	// Its late outcome is kept and changes nothing.
	c.mu.Lock()
	w := c.workers["w2"]
	var late pipeline.AttemptID
	for a := range w.held {
		late = a
	}
	c.mu.Unlock()
	if ack := c.finish(w, late, &pipeline.Outcome{State: pipeline.AttemptFailed}); ack.Refused == "" {
		t.Error("a late outcome was taken")
	}
}

// quick is an attempt that took a millisecond.
func quick(state pipeline.AttemptState) *pipeline.Outcome {
	now := time.Now()
	return &pipeline.Outcome{State: state, StartedAt: now.Add(-time.Millisecond), FinishedAt: now}
}

// Short modules are queued behind those that run, and no more run at once for
// it than may.
func TestOrchestrator_queued(t *testing.T) {
	c := newCluster(t, 2, 2)
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome { return quick(pipeline.AttemptSucceeded) }
	defer c.lead(fast)()
	p := layers(1, 200)
	p.MaxParallel = 2
	queued := 0
	for _, m := range c.ends(c.submit("r1", p), pipeline.RunSucceeded) {
		if len(m.Attempts) != 1 {
			t.Errorf("%s has %d attempts, the first %s: %s", m.Name, len(m.Attempts), m.Attempts[0].State, m.Attempts[0].Reason)
		}
		if m.Attempts[0].Predecessor != nil {
			queued++
		}
	}
	if queued < 100 {
		t.Errorf("%d of 200 were queued behind another", queued)
	}
	if c.most > 2 {
		t.Errorf("%d at once, want at most 2", c.most)
	}
}

// What is queued behind an attempt that fails is given back and runs as another
// attempt, outside of both budgets.
func TestOrchestrator_givenBack(t *testing.T) {
	c := newCluster(t, 2)
	failed := map[string]bool{}
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.ID.Attempt == 1 && len(s.ID.Module)%2 == 0 && !failed[s.ID.Module] {
			failed[s.ID.Module] = true
			return quick(pipeline.AttemptFailed)
		}
		return quick(pipeline.AttemptSucceeded)
	}
	defer c.lead(fast)()
	p := layers(1, 120)
	p.MaxParallel = 2
	for i := range p.Modules {
		p.Modules[i].Retry = pipeline.Retry{Attempts: 2, Backoff: time.Millisecond, MaxBackoff: time.Millisecond}
	}
	back := 0
	for _, m := range c.ends(c.submit("r1", p), pipeline.RunSucceeded) {
		if m.Losses != 0 {
			t.Errorf("%s counts %d losses", m.Name, m.Losses)
		}
		for _, a := range m.Attempts {
			if a.State == pipeline.AttemptCancelled {
				back++
			}
		}
	}
	if back == 0 {
		t.Error("nothing was given back: the test shows nothing")
	}
	if c.most > 2 {
		t.Errorf("%d at once, want at most 2", c.most)
	}
}
