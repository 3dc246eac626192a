package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// max_parallel bounds the modules of a run that run at once, and says so.
func TestPlanner_maxParallel(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		p := layers(1, 3)
		p.MaxParallel = 2
		id := c.submit("r", p)
		c.attempt(id, "m0-0")
		c.attempt(id, "m0-1")
		c.wantWhy(id, "m0-2", "the run has as many modules running as max_parallel allows")
		c.succeed(id, "m0-0")
		c.attempt(id, "m0-2")
		c.succeed(id, "m0-1", "m0-2")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A free slot goes to the highest priority, then to the longest path.
func TestPlanner_order(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("hog"), aModule("short"), aModule("long"), aModule("longer", "long"), aModule("urgent"), aModule("urgentAfter", "hog")))
		_ = id
		c.cancel(id, "")
		c.ends(id, pipeline.RunCancelled)

		p := one(aModule("short"), aModule("long"), aModule("after", "long"),
			with(aModule("urgent"), func(m *pipeline.Module) { m.Priority = 1 }))
		id = c.submit("r2", p)
		for _, want := range []string{"urgent", "long", "short", "after"} {
			c.attempt(id, want)
			if got := c.runningModules(id); !slices.Equal(got, []string{want}) {
				t.Errorf("%v run, want %s", got, want)
			}
			c.succeed(id, want)
		}
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A run that waits long gains priority, so that no run waits forever.
func TestPlanner_aging(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		urgent := func(i int) pipeline.RunID {
			return c.submit(fmt.Sprintf("u%02d", i), one(with(aModule("a"), func(m *pipeline.Module) { m.Priority = 2 })))
		}
		last := urgent(0)
		c.attempt(last, "a")
		slow := c.submit("slow", one(aModule("a")))
		began := time.Now()
		for i := 1; c.starts(slow, "a") == 0; i++ {
			if i > 20 {
				t.Fatal("it waits forever")
			}
			next := urgent(i)
			pass(5 * time.Second)
			c.succeed(last, "a")
			settled()
			if c.starts(next, "a") > 0 {
				last = next
			}
		}
		if waited := time.Since(began); waited < 30*time.Second {
			t.Errorf("a priority of 2 lasted for %s only", waited)
		}
		c.succeed(slow, "a")
		c.ends(slow, pipeline.RunSucceeded)
	})
}

// A module goes where its large inputs are, or waits for a slot there.
func TestPlanner_locality(t *testing.T) {
	scripted(t, []int{2, 2}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		id := c.submit("r", one(aModule("make"), aModule("use", "make"), aModule("small", "make")))
		w, _ := c.attempt(id, "make")
		c.end(id, "make", pipeline.Outcome{State: pipeline.AttemptSucceeded, Outputs: "d", OutputBytes: 1 << 30, Holders: []pipeline.NodeID{w.id}})
		for _, name := range []string{"use", "small"} {
			if got, s := c.attempt(id, name); got != w || len(s.Upstream) != 1 || !slices.Equal(s.Upstream[0].Holders, []pipeline.NodeID{w.id}) {
				t.Errorf("%s runs on %s with %+v", name, got.id, s.Upstream)
			}
		}
		if m := c.module(id, "use"); m.Attempts[0].LocalBytes < 0 {
			t.Errorf("local bytes %d", m.Attempts[0].LocalBytes)
		}
		c.succeed(id, "use", "small")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A module waits for a slot of the worker with its inputs if that is sooner.
func TestPlanner_localityWait(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)

		// Two runs teach how long hog takes.
		hog := with(aModule("hog"), func(m *pipeline.Module) { m.Priority = 1 })
		for _, id := range []string{"h1", "h2"} {
			run := c.submit(id, one(hog))
			w, s := c.attempt(run, "hog")
			began := time.Now()
			pass(4 * time.Second)
			c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptSucceeded, StartedAt: began, FinishedAt: time.Now()})
			c.ends(run, pipeline.RunSucceeded)
		}

		id := c.submit("r", one(aModule("make"), aModule("tiny"), aModule("use", "make", "tiny"), aModule("hog", "make")))
		w, _ := c.attempt(id, "make")
		c.end(id, "make", pipeline.Outcome{State: pipeline.AttemptSucceeded, Outputs: "d", OutputBytes: 4 << 30, Holders: []pipeline.NodeID{w.id}})
		got, s := c.attempt(id, "hog")
		if got != w {
			t.Fatalf("hog runs on %s", got.id)
		}
		c.started(got, s.ID)
		c.succeed(id, "tiny") // the other worker is free now
		c.wantWhy(id, "use", "waits for a slot of "+string(w.id)+", which has 4")
		c.succeed(id, "hog")
		if got, _ := c.attempt(id, "use"); got != w {
			t.Errorf("use runs on %s", got.id)
		}
		c.succeed(id, "use")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// started reports the start of an attempt's process.
func (c *cluster) started(w *fakeWorker, id pipeline.AttemptID) {
	c.tb.Helper()
	c.mu.Lock()
	if w.began == nil {
		w.began = map[pipeline.AttemptID]time.Time{}
	}
	w.began[id] = time.Now()
	c.mu.Unlock()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if m := c.module(id.Run, id.Module); m.Attempts[id.Attempt-1].StartedAt.IsZero() {
			return errors.New("the start is not recorded")
		}
		return nil
	})
}

// A comparison brings the start of a process whose report was lost.
func TestReconciler_start(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		w, s := c.attempt(id, "a")
		c.started(w, s.ID)
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// What is queued behind an attempt starts without a commit; its slot passes on.
func TestAhead_chain(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
			if s.ID.Module == "m00" || s.ID.Module == "m01" || s.ID.Module == "m02" {
				return quick(pipeline.AttemptSucceeded)
			}
			return nil
		}
		c.leads()
		p := pipeline.Pipeline{Name: "p"}
		for i := range 14 {
			p.Modules = append(p.Modules, aModule(fmt.Sprintf("m%02d", i)))
		}
		id := c.submit("r", p)
		c.wantModule(id, "m02", pipeline.ModuleSucceeded, "")
		settled()

		// One runs, at most eight are queued behind it on the worker.
		var queued, running []string
		_, mods := c.run(id)
		for name, m := range mods {
			if m.State != pipeline.ModuleRunning {
				continue
			}
			if a := m.Last(); a.Predecessor != nil && mods[a.Predecessor.Module].State == pipeline.ModuleRunning {
				queued = append(queued, name)
			} else {
				running = append(running, name)
			}
		}
		if len(running) != 1 || len(queued) == 0 || len(queued) > 8 {
			t.Fatalf("%v run, %v are queued", running, queued)
		}
		list, err := c.orch.Load().Workers(t.Context())
		if err != nil || list[0].CurrentLoad != 1 {
			t.Errorf("the load is %d with one slot in use, %v", list[0].CurrentLoad, err)
		}
		c.finishAll(id)
		c.ends(id, pipeline.RunSucceeded)
	})
}

// What is queued behind an attempt that fails is given back: it runs as another
// attempt and counts against no budget.
func TestAhead_giveBack(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
			if s.ID.Module == "m05" && s.ID.Attempt == 1 {
				return nil
			}
			return quick(pipeline.AttemptSucceeded)
		}
		c.leads()
		p := pipeline.Pipeline{Name: "p"}
		for i := range 12 {
			p.Modules = append(p.Modules, with(aModule(fmt.Sprintf("m%02d", i)), retried(2, time.Second)))
		}
		id := c.submit("r", p)
		w, s := c.attempt(id, "m05")
		c.mu.Lock()
		ended := len(w.ended)
		c.mu.Unlock()
		if ended < 5 {
			t.Fatalf("%d ended before m05", ended)
		}
		settled()
		c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "no"})
		given := 0
		for name, m := range c.ends(id, pipeline.RunSucceeded) {
			for _, a := range m.Attempts {
				if a.State == pipeline.AttemptCancelled {
					given++
				}
			}
			if m.Losses != 0 || m.Failures != 0 && name != "m05" {
				t.Errorf("%s: %d losses, %d failures", name, m.Losses, m.Failures)
			}
		}
		if given == 0 {
			t.Error("nothing was given back")
		}
	})
}

// A leader that takes over in the middle of a chain keeps it.
func TestAhead_nextLeader(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
			if s.ID.Module < "m03" {
				return quick(pipeline.AttemptSucceeded)
			}
			return nil
		}
		end := c.leads()
		p := pipeline.Pipeline{Name: "p"}
		for i := range 10 {
			p.Modules = append(p.Modules, aModule(fmt.Sprintf("m%02d", i)))
		}
		id := c.submit("r", p)
		c.attempt(id, "m03")
		settled()
		end()
		c.leads()
		pass(2 * time.Second)
		list, err := c.orch.Load().Workers(t.Context())
		if err != nil || len(list) != 1 || list[0].CurrentLoad != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		c.finishAll(id)
		for name, m := range c.ends(id, pipeline.RunSucceeded) {
			if len(m.Attempts) != 1 {
				t.Errorf("%s has %d attempts", name, len(m.Attempts))
			}
		}
	})
}

// finishAll lets all attempts of a run succeed from now on.
func (c *cluster) finishAll(run pipeline.RunID) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		r, mods := c.run(run)
		for name, m := range mods {
			if m.State != pipeline.ModuleRunning {
				continue
			}
			c.mu.Lock()
			var w *fakeWorker
			id := pipeline.AttemptID{Run: run, Module: name, Attempt: m.Last().Number}
			for _, x := range c.workers {
				if s, ok := x.held[id]; ok && x.ended[id] == "" && (s.Predecessor == nil || x.ended[*s.Predecessor] != "") {
					w = x
				}
			}
			c.mu.Unlock()
			if w != nil {
				c.finish(w, id, quick(pipeline.AttemptSucceeded))
			}
		}
		if !r.State.Final() {
			return fmt.Errorf("run is %s", r.State)
		}
		return nil
	})
}

// A secret that is not there fails the module before it runs; the dispatched
// specification holds those that are.
func TestVault(t *testing.T) {
	secret := func(name string, names ...string) pipeline.Module {
		return with(aModule(name), func(m *pipeline.Module) { m.Secrets = names })
	}
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		v := &fakeVault{secrets: map[string]string{"A": "1"}}
		c.vault = v
		c.leads()
		bad := c.submit("bad", one(secret("m", "A", "B")))
		c.ends(bad, pipeline.RunFailed)
		c.wantModule(bad, "m", pipeline.ModuleFailed, "secret B is not set")
		c.wantAttempts(bad, "m")

		good := c.submit("good", one(secret("m", "A"), aModule("plain")))
		if _, s := c.attempt(good, "m"); s.Secrets["A"] != "1" || !s.Private || !slices.Equal(s.Mask, []string{"hidden"}) {
			t.Errorf("m gets %+v", s)
		}
		if _, s := c.attempt(good, "plain"); s.Private || len(s.Secrets) != 0 || len(s.Mask) == 0 {
			t.Errorf("plain gets %+v", s)
		}
		c.succeed(good, "m", "plain")
		c.ends(good, pipeline.RunSucceeded)

		v.err = errors.New("the cluster key is another one")
		broken := c.submit("broken", one(secret("m", "A")))
		c.ends(broken, pipeline.RunFailed)
		c.wantModule(broken, "m", pipeline.ModuleFailed, "not started: the cluster key is another one")
		c.wantAttempts(broken, "m", pipeline.AttemptFailed)
	})
}

// What was made of a sensitive variable for a module is masked in what depends on it,
// directly or not, also after a change of leader, and in nothing else.
func TestVault_derived(t *testing.T) {
	sensitive := func(name string, deps ...string) pipeline.Module {
		return with(aModule(name, deps...), func(m *pipeline.Module) { m.Sensitive = true })
	}
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.vault = &fakeVault{derived: map[string]string{"first": "of first", "second": "of second", "other": "of other"}}
		end := c.leads()
		p := one(sensitive("first"), sensitive("second", "first"), aModule("plain", "second"), sensitive("other"), aModule("apart"))
		p.Scope.Sensitive = []string{"s"}
		run := c.submit("r", p)
		want := func(module string, masked ...string) {
			t.Helper()
			if _, s := c.attempt(run, module); !slices.Equal(s.Mask, append([]string{"hidden"}, masked...)) {
				t.Errorf("%s: masked %q", module, s.Mask)
			}
		}
		want("first")
		want("other")
		want("apart")
		c.succeed(run, "first")
		want("second", "of first")
		end()
		c.leads()
		c.succeed(run, "second")
		want("plain", "of second", "of first")
		c.succeed(run, "plain", "other", "apart")
		c.ends(run, pipeline.RunSucceeded)
	})
}

// deferred returns a module with an expression of results.
func deferred(name string, deps ...string) pipeline.Module {
	return with(aModule(name, deps...), func(m *pipeline.Module) {
		m.Deferred = map[string]pipeline.DeferredExpr{"command": {Source: "x"}}
	})
}

// A deferred expression may skip its module, and an expensive one is evaluated
// outside of the loop, which continues meanwhile.
func TestDeferred(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.evaluate = func(ctx context.Context, m *pipeline.Module) *pipeline.Evaluated {
			switch m.Name {
			case "skips":
				return &pipeline.Evaluated{Skip: "when is false"}
			case "slow":
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
			}
			return &pipeline.Evaluated{Command: []string{"evaluated"}, Env: map[string]string{"X": "1"}}
		}
		c.leads()
		slow := deferred("slow", "a")
		slow.Expensive = true
		id := c.submit("r", one(aModule("a"), deferred("skips", "a"), slow, aModule("b", "a")))
		c.succeed(id, "a")
		c.wantModule(id, "skips", pipeline.ModuleSkipped, "when is false")
		c.wantWhy(id, "slow", "its expressions are being evaluated")
		c.succeed(id, "b")
		if _, s := c.attempt(id, "slow"); !slices.Equal(s.Command, []string{"evaluated"}) || s.Env["X"] != "1" {
			t.Errorf("slow runs %q with %v", s.Command, s.Env)
		}
		c.succeed(id, "slow")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A module that is repeated runs with the same values; they are committed with the
// assignment.
func TestDeferred_sameValues(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		n := 0
		c.evaluate = func(context.Context, *pipeline.Module) *pipeline.Evaluated {
			n++
			return &pipeline.Evaluated{Command: []string{fmt.Sprint(n)}}
		}
		end := c.leads()
		id := c.submit("r", one(aModule("a"), with(deferred("b", "a"), retried(3, time.Second))))
		c.succeed(id, "a")
		c.attempt(id, "b")
		end()
		c.leads()
		c.fail(id, "b")
		if _, s := c.attempt(id, "b"); !slices.Equal(s.Command, []string{"1"}) {
			t.Errorf("repeated with %q", s.Command)
		}
		c.succeed(id, "b")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// An estimate plays the run on the workers that there are.
func TestEstimate(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		p := one(aModule("a"), aModule("b", "a"), aModule("c"), needs("gpu", "gpu"),
			with(aModule("off"), func(m *pipeline.Module) { m.Skip = "when is false" }))
		e, err := c.orch.Load().Estimate(t.Context(), pipeline.Run{ID: "x", Pipeline: "p", Modules: len(p.Modules)}, &p)
		if err != nil || e.Known || len(e.CriticalPath) != 0 {
			t.Errorf("with no history: %+v, %v", e, err)
		}
		if e.Modules[3].Waits != "no worker has tag gpu (there is none)" || e.Modules[0].Waits != "" {
			t.Errorf("%+v", e.Modules)
		}

		for name, took := range map[string]time.Duration{"a": 10 * time.Second, "b": 20 * time.Second, "c": 5 * time.Second} {
			run := c.submit("h"+name, one(aModule(name)))
			w, s := c.attempt(run, name)
			now := time.Now()
			c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptSucceeded, StartedAt: now.Add(-took), FinishedAt: now})
			c.ends(run, pipeline.RunSucceeded)
		}
		p = one(aModule("a"), aModule("b", "a"), aModule("c"))
		e, err = c.orch.Load().Estimate(t.Context(), pipeline.Run{ID: "x", Pipeline: "p", Modules: len(p.Modules)}, &p)
		if err != nil || !e.Known || e.Seconds != 30 || e.CriticalPathSeconds != 30 || !slices.Equal(e.CriticalPath, []string{"a", "b"}) {
			t.Errorf("%+v, %v", e, err)
		}
		if b := e.Modules[1]; b.StartSeconds != 10 || b.EndSeconds != 30 || b.ExpectedSeconds != 20 || b.Succeeded != 1 || b.Worker == "" {
			t.Errorf("b: %+v", b)
		}
		if n := c.starts("x", "a"); n != 0 {
			t.Error("an estimate ran something")
		}
	})
}
