package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// keys records whether two modules have a key at the same time.
type keys struct {
	mu   sync.Mutex // guards following
	held map[string]string
	bad  []string
}

func (k *keys) take(s pipeline.Spec, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if other := k.held[key]; other != "" {
		k.bad = append(k.bad, fmt.Sprintf("%s and %s had %q", other, s.ID, key))
	}
	k.held[key] = s.ID.String()
}

func (k *keys) release(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, key)
}

// Modules of several runs share keys, while leaders come and go: one has a key
// at a time, and all get theirs.
func TestOrchestrator_locks(t *testing.T) {
	c := newCluster(t, 4, 4)
	k := &keys{held: map[string]string{}}
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		wants := []string{"k" + s.ID.Module[1:2]}
		if s.ID.Module[1] == '2' {
			wants = []string{"k0", "k1"}
		}
		for _, key := range wants {
			k.take(s, key)
		}
		<-time.After(200 * time.Microsecond) // the work
		for _, key := range wants {
			k.release(key)
		}
		return quick(pipeline.AttemptSucceeded)
	}
	end := c.lead(fast)
	var ids []pipeline.RunID
	for i := range 4 {
		p := layers(1, 0)
		for j := range 24 {
			m := aModule(fmt.Sprintf("m%d-%d", j%3, j))
			m.Locks = []string{fmt.Sprintf("k%d", j%3)}
			if j%3 == 2 {
				m.Locks = []string{"k0", "k1"}
			}
			m.OnDisconnect = pipeline.DisconnectKill
			p.Modules = append(p.Modules, m)
		}
		ids = append(ids, c.submit(fmt.Sprintf("r%d", i), p))
	}
	for range 3 {
		r, _ := c.run(ids[3])
		testutil.Eventually(t, 20*time.Second, func() error {
			if now, _ := c.run(ids[3]); now.Done < r.Done+4 && !now.State.Final() {
				return fmt.Errorf("%d done", now.Done)
			}
			return nil
		})
		end()
		end = c.lead(fast)
	}
	defer func() { end() }()
	for _, id := range ids {
		c.ends(id, pipeline.RunSucceeded)
	}
	if len(k.bad) > 0 {
		t.Errorf("%d times two had a key: %s", len(k.bad), k.bad[0])
	}
	_ = c.store.View(func(v *fsm.View) error {
		if l := v.Locks(); len(l) > 0 {
			t.Errorf("held at the end: %+v", l)
		}
		return nil
	})
}

// A run's time is over: what runs is stopped, what always runs still does, and
// the run has failed.
func TestOrchestrator_runTimeout(t *testing.T) {
	c := newCluster(t, 2)
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		if s.ID.Module == "forever" {
			return nil
		}
		return quick(pipeline.AttemptSucceeded)
	}
	defer c.lead(fast)()
	p := pipeline.Pipeline{Name: "p", Timeout: 300 * time.Millisecond,
		Modules: []pipeline.Module{aModule("forever"), aModule("after", "forever"), aModule("always", "after")}}
	p.Modules[2].AlwaysRun = true
	id := c.submit("r1", p)
	mods := c.ends(id, pipeline.RunFailed)
	for name, want := range map[string]pipeline.ModuleState{"forever": pipeline.ModuleCancelled, "after": pipeline.ModuleCancelled, "always": pipeline.ModuleSucceeded} {
		if mods[name].State != want {
			t.Errorf("%s is %s, want %s", name, mods[name].State, want)
		}
	}
	if r, _ := c.run(id); r.Reason != "the run exceeded its timeout of 300ms" {
		t.Errorf("reason %q", r.Reason)
	}
}

// The first cancellation spares what always runs, the second does not.
func TestOrchestrator_cancelForced(t *testing.T) {
	for _, times := range []int{1, 2} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			c := newCluster(t, 2)
			release := make(chan struct{})
			c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
				if s.ID.Module == "main" {
					return nil
				}
				if times == 1 {
					<-release
					return quick(pipeline.AttemptSucceeded)
				}
				return nil
			}
			defer c.lead(fast)()
			p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("main"), aModule("always", "main")}}
			p.Modules[1].AlwaysRun = true
			id := c.submit("r1", p)
			running := func(name string) {
				testutil.Eventually(t, 20*time.Second, func() error {
					c.mu.Lock()
					defer c.mu.Unlock()
					if !slices.ContainsFunc(c.workers["w1"].started, func(a pipeline.AttemptID) bool { return a.Module == name }) {
						return fmt.Errorf("%s is not running", name)
					}
					return nil
				})
			}
			running("main")
			for i := range times {
				if _, err := c.propose(&fsm.Command{At: time.Now(), Cancel: &fsm.Cancel{Run: id, Request: fmt.Sprint("q", i)}}); err != nil {
					t.Fatal(err)
				}
				running("always")
			}
			close(release)
			want := pipeline.ModuleSucceeded
			if times == 2 {
				want = pipeline.ModuleCancelled
			}
			mods := c.ends(id, pipeline.RunCancelled)
			if mods["main"].State != pipeline.ModuleCancelled || mods["always"].State != want {
				t.Errorf("main is %s, always is %s; want cancelled, %s", mods["main"].State, mods["always"].State, want)
			}
		})
	}
}

// The hooks of a pipeline frame its modules, and know how it went.
func TestOrchestrator_hooks(t *testing.T) {
	for _, tc := range []struct {
		bad    string
		state  pipeline.RunState
		status map[string]string // the status that each hook got; "" for one that is skipped
	}{
		{"", pipeline.RunSucceeded, map[string]string{"before": "running", "on_success": "succeeded", "on_failure": "", "after": "succeeded"}},
		{"main", pipeline.RunFailed, map[string]string{"before": "running", "on_success": "", "on_failure": "failed", "after": "failed"}},
		{"before", pipeline.RunFailed, map[string]string{"before": "running", "on_success": "", "on_failure": "failed", "after": "failed"}},
		{"on_success", pipeline.RunFailed, map[string]string{"before": "running", "on_success": "succeeded", "on_failure": "", "after": "failed"}},
	} {
		t.Run("bad "+tc.bad, func(t *testing.T) {
			c := newCluster(t, 2)
			told := map[string]string{}
			c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
				c.mu.Lock()
				told[s.ID.Module] = s.Status
				c.mu.Unlock()
				if s.ID.Module == tc.bad {
					return quick(pipeline.AttemptFailed)
				}
				return quick(pipeline.AttemptSucceeded)
			}
			defer c.lead(fast)()
			hook := func(h pipeline.Hook, deps ...string) pipeline.Module {
				m := aModule(string(h), deps...)
				m.Hook, m.AlwaysRun = h, h != pipeline.HookBefore
				return m
			}
			p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{hook("before"), aModule("main", "before"),
				hook("on_success", "before", "main"), hook("on_failure", "before", "main"), hook("after", "before", "main", "on_success", "on_failure")}}
			mods := c.ends(c.submit("r1", p), tc.state)
			for name, want := range tc.status {
				c.mu.Lock()
				got, ran := told[name]
				c.mu.Unlock()
				if got != want || ran != (want != "") {
					t.Errorf("%s ran %v with status %q, want %q", name, ran, got, want)
				}
				if want == "" && mods[name].State != pipeline.ModuleSkipped {
					t.Errorf("%s is %s, want skipped", name, mods[name].State)
				}
			}
		})
	}
}

// What a list of an earlier module's result becomes is committed once: leaders
// that change in the middle evaluate nothing again and run each instance once.
func TestOrchestrator_expand(t *testing.T) {
	c := newCluster(t, 2, 2)
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		<-time.After(200 * time.Microsecond) // the work
		return quick(pipeline.AttemptSucceeded)
	}
	evaluations := 0
	c.evaluate = func(_ context.Context, m *pipeline.Module) *pipeline.Evaluated {
		if !m.Dynamic {
			return &pipeline.Evaluated{}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		evaluations++
		e := &pipeline.Evaluated{Expanded: true}
		for i := range 100 {
			e.Instances = append(e.Instances, pipeline.Instance{Key: fmt.Sprint(i)})
		}
		return e
	}
	end := c.lead(fast)
	p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("first"), aModule("many", "first"), aModule("last", "many")}}
	p.Modules[1].Dynamic = true
	p.Modules[1].Deferred = map[string]pipeline.DeferredExpr{"for_each": {Source: "x"}}
	id := c.submit("r1", p)
	for _, n := range []int{10, 60} {
		testutil.Eventually(t, 20*time.Second, func() error {
			if now, _ := c.run(id); now.Done < n {
				return fmt.Errorf("%d done", now.Done)
			}
			return nil
		})
		end()
		end = c.lead(fast)
	}
	defer func() { end() }()
	mods := c.ends(id, pipeline.RunSucceeded)
	if len(mods) != 103 {
		t.Fatalf("%d modules, want 103", len(mods))
	}
	for name, m := range mods {
		want := 1
		if name == "many" {
			want = 0
		}
		if len(m.Attempts) != want || m.State != pipeline.ModuleSucceeded {
			t.Errorf("%s is %s after %d attempts", name, m.State, len(m.Attempts))
		}
	}
	last := mods["last"].Attempts[0].AssignedAt
	for i := range 100 {
		if m := mods[fmt.Sprintf("many[%d]", i)]; m.FinishedAt.After(last) {
			t.Errorf("last was assigned before %s ended", m.Name)
		}
	}
	if evaluations != 1 {
		t.Errorf("the list was evaluated %d times", evaluations)
	}
}

// notFailed returns a module that runs if nothing it depends on failed.
func notFailed(name string, deps ...string) pipeline.Module {
	return with(aModule(name, deps...), func(m *pipeline.Module) { m.RunIf = pipeline.RunIfNotFailed })
}

// How a module was skipped does not depend on which of its dependencies ended first,
// and the next leader knows it too.
func TestRunIf_order(t *testing.T) {
	for _, succeeds := range []bool{true, false} {
		scripted(t, []int{4}, func(t *testing.T, c *cluster) {
			end := c.leads()
			id := c.submit("r", pipeline.Pipeline{Name: "p", OnFailure: pipeline.OnFailureContinue, Modules: []pipeline.Module{
				with(aModule("off"), func(m *pipeline.Module) { m.Skip = "when is false" }),
				aModule("slow"),
				aModule("between", "off", "slow"),
				notFailed("last", "between"),
				notFailed("ready", "off"),
			}})
			c.attempt(id, "slow")
			c.succeed(id, "ready")
			c.wantWhy(id, "between", "waits for slow")

			if !succeeds {
				c.fail(id, "slow")
				c.wantModule(id, "between", pipeline.ModuleSkipped, "dependency slow failed")
				c.wantModule(id, "last", pipeline.ModuleSkipped, "dependency between was skipped because of a failure")
				c.ends(id, pipeline.RunFailed)
				return
			}

			c.succeed(id, "slow")
			c.wantModule(id, "between", pipeline.ModuleSkipped, "dependency off was skipped")
			c.attempt(id, "last")
			end()
			c.leads()
			c.succeed(id, "last")
			c.ends(id, pipeline.RunSucceeded)
		})
	}
}

// Neither a cancelled run nor one that has stopped starts such a module.
func TestRunIf_cancelled(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		modules := []pipeline.Module{
			with(aModule("off"), func(m *pipeline.Module) { m.Skip = "when is false" }),
			aModule("bad"), aModule("slow"), notFailed("last", "off", "slow"),
		}
		c.submit("r1", pipeline.Pipeline{Name: "p", Modules: modules})
		c.attempt("r1", "slow")
		c.cancel("r1", "")
		c.ends("r1", pipeline.RunCancelled)
		c.wantModule("r1", "last", pipeline.ModuleCancelled, "the run was cancelled")

		c.submit("r2", pipeline.Pipeline{Name: "p", Modules: modules})
		c.fail("r2", "bad")
		c.succeed("r2", "slow")
		c.ends("r2", pipeline.RunFailed)
		c.wantModule("r2", "last", pipeline.ModuleSkipped, "not started because bad failed")
	})
}

// With on_failure = "cancel" a failure stops what runs, but for what always runs, and
// the next leader continues it.
func TestOnFailure_cancel(t *testing.T) {
	scripted(t, []int{8, 8}, func(t *testing.T, c *cluster) {
		c.setWorker("w2", func(w *fakeWorker) { w.tags = []string{"far"} })
		end := c.leads()
		always := func(m *pipeline.Module) { m.AlwaysRun = true }
		id := c.submit("r", pipeline.Pipeline{Name: "p", OnFailure: pipeline.OnFailureCancel, Modules: []pipeline.Module{
			with(aModule("warning"), func(m *pipeline.Module) { m.IgnoreFailure = true }),
			aModule("bad"), aModule("sibling"), with(aModule("far"), func(m *pipeline.Module) { m.Requires.Tags = []string{"far"} }),
			aModule("done"), with(aModule("watch"), always),
			aModule("next", "sibling"), with(aModule("tidy", "sibling"), always),
		}})
		for _, m := range []string{"sibling", "far", "watch"} {
			w, s := c.attempt(id, m)
			c.started(w, s.ID)
		}
		c.succeed(id, "done")
		c.fail(id, "warning") // it changes nothing
		settled()
		if n := len(c.runningModules(id)); n != 4 {
			t.Fatalf("%v run after a failure that is ignored", c.runningModules(id))
		}

		c.silence("w2", true, true)
		c.fail(id, "bad")
		c.wantModule(id, "sibling", pipeline.ModuleCancelled, "cancelled because bad failed")
		c.wantAttempts(id, "sibling", pipeline.AttemptCancelled)
		c.wantModule(id, "next", pipeline.ModuleSkipped, "")
		c.succeed(id, "tidy")
		if got := c.runningModules(id); !slices.Equal(got, []string{"far", "watch"}) {
			t.Fatalf("%v run", got)
		}

		end()
		c.leads()
		c.silence("w2", false, true)
		c.wantModule(id, "far", pipeline.ModuleCancelled, "cancelled because bad failed")
		c.succeed(id, "watch")
		c.ends(id, pipeline.RunFailed)
		if r, _ := c.run(id); r.Reason != "bad failed" {
			t.Errorf("the run failed because %q", r.Reason)
		}
		c.wantModule(id, "done", pipeline.ModuleSucceeded, "")
	})
}

// What is behind a module that waits goes by that module, and not by an approval before
// it, also for the next leader.
func TestRunIf_approvalBefore(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		end := c.leads()
		id := c.submit("r", pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{
			with(aModule("ask"), func(m *pipeline.Module) { m.Approval = &pipeline.Approval{Message: "go?"} }),
			notFailed("next", "ask"),
			aModule("last", "next"),
		}})
		c.wantWhy(id, "ask", "waits for approval")
		end()
		c.leads()
		c.decide(id, "ask", pipeline.Skipped)
		c.succeed(id, "next")
		c.succeed(id, "last")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Of a block with max_parallel as many instances run as it says, under every leader, and
// other modules are not held up. Instances that come of a result count too.
func TestMaxParallel_instances(t *testing.T) {
	scripted(t, []int{4, 4}, func(t *testing.T, c *cluster) {
		end := c.leads()
		p := pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{aModule("free")}}
		for i := range 4 {
			p.Modules = append(p.Modules, with(aModule(fmt.Sprintf("m[%d]", i)), func(m *pipeline.Module) { m.Of, m.MaxParallel = "m", 2 }))
		}
		c.submit("r1", p)
		c.submit("r2", p)
		runs := func(run pipeline.RunID, want ...string) {
			t.Helper()
			settled()
			if got := c.runningModules(run); !slices.Equal(got, want) {
				t.Fatalf("%v of %s run, want %v", got, run, want)
			}
		}
		c.attempt("r1", "m[1]")
		c.attempt("r2", "m[1]")
		runs("r1", "free", "m[0]", "m[1]")
		runs("r2", "free", "m[0]", "m[1]") // the limit is that of one run
		c.wantWhy("r1", "m[3]", "as many instances of m are running as its max_parallel allows: 2")

		end()
		c.leads()
		c.wantWhy("r1", "m[3]", "as many instances of m are running as its max_parallel allows: 2")
		runs("r1", "free", "m[0]", "m[1]")
		c.succeed("r1", "m[1]")
		c.attempt("r1", "m[2]")
		runs("r1", "free", "m[0]", "m[2]")
		c.succeed("r1", "free", "m[0]", "m[2]", "m[3]")
		c.ends("r1", pipeline.RunSucceeded)
	})
}
