package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// nests returns a module that runs a pipeline of one module, work.
func nests(name string, deps ...string) pipeline.Module {
	return pipeline.Module{Name: name, DependsOn: deps, Child: &pipeline.Child{Name: "inner", File: "inner.hcl"}}
}

// prepareChild compiles nothing: the name of the child follows from the module's.
func (c *cluster) prepareChild(_ context.Context, parent pipeline.Run, _ *pipeline.Pipeline, m *pipeline.Module, _ *pipeline.Evaluated) (pipeline.Run, []byte, error) {
	c.mu.Lock()
	c.prepared++
	id, fail := fmt.Sprintf("%s-%s-%d", parent.ID, m.Name, c.prepared), c.failPrepare
	if fail != nil && pipeline.KindOf(fail) == pipeline.Unavailable {
		c.failPrepare = nil // once
	}
	c.mu.Unlock()
	def := one(aModule("work"))
	def.Name = "inner"
	raw, err := fsm.EncodeDefinition(&def)
	return pipeline.Run{ID: pipeline.RunID(id), Pipeline: "inner", Modules: 1}, raw, errors.Join(fail, err)
}

// child waits for the live child of a module.
func (c *cluster) child(run pipeline.RunID, module string) (id pipeline.RunID) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		rec := c.module(run, module)
		x := rec.LiveChild()
		if x == nil {
			return fmt.Errorf("%s has no live child: %+v", module, rec)
		}
		id = x.Run
		return nil
	})
	return id
}

// wantRuns checks how many runs there are.
func (c *cluster) wantRuns(n int) {
	c.tb.Helper()
	got := 0
	_ = c.store.View(func(v *fsm.View) error {
		v.Runs(0, func(pipeline.Run) bool { got++; return true })
		return nil
	})
	if got != n {
		c.tb.Errorf("%d runs, want %d", got, n)
	}
}

// A module with a child takes no slot. Its child is made once, and its end comes through,
// whichever leaders there are between.
func TestChild(t *testing.T) {
	for _, during := range []string{"no change", "begin", "middle", "end"} {
		t.Run(during, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				end := c.leads()
				change := func(when string) {
					if during == when {
						end()
						pass(time.Minute)
						c.leads()
					}
				}
				id := c.submit("r", one(aModule("build"), nests("deploy", "build"), aModule("after", "deploy")))
				c.succeed(id, "build")
				change("begin")
				child := c.child(id, "deploy")
				c.attempt(child, "work")
				change("middle")
				c.end(child, "work", pipeline.Outcome{State: pipeline.AttemptSucceeded, Result: []byte(`{"a":1}`)})
				change("end")
				c.succeed(id, "after")
				mods := c.ends(id, pipeline.RunSucceeded)
				if m := mods["deploy"]; string(m.Result) != `{"work":{"a":1}}` || len(m.Attempts) != 0 || len(m.Children) != 1 {
					t.Errorf("deploy is %+v with the result %s", m, m.Result)
				}
				c.wantRuns(2)
			})
		})
	}
}

// The fate of the proposal is unknown: whether it was applied or not, there is one child.
func TestChild_unknown(t *testing.T) {
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprint(applied), func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				c.log.loseBatches(1, applied)
				id := c.submit("r", one(nests("deploy")))
				c.succeed(c.child(id, "deploy"), "work")
				c.ends(id, pipeline.RunSucceeded)
				c.wantRuns(2)
			})
		})
	}
}

func TestChild_failure(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(nests("deploy"), retried(2, time.Minute)), aModule("after", "deploy")))
		first := c.child(id, "deploy")
		c.fail(first, "work")
		c.wantWhy(id, "deploy", "retrying in ")
		pass(2 * time.Minute)
		second := c.child(id, "deploy")
		c.fail(second, "work")
		mods := c.ends(id, pipeline.RunFailed)
		if m := mods["deploy"]; m.State != pipeline.ModuleFailed || m.Reason != "run 3 failed: work failed: exit code 1" || len(m.Children) != 2 || first == second {
			t.Errorf("deploy is %s because %q, with %d children", m.State, m.Reason, len(m.Children))
		}
		if m := mods["after"]; m.State != pipeline.ModuleSkipped || m.Reason != "dependency deploy failed" {
			t.Errorf("after is %s because %q", m.State, m.Reason)
		}
	})
}

// No more instances of a block have children than its max_parallel allows, also while one
// is repeated, and under another leader.
func TestChild_maxParallel(t *testing.T) {
	for _, change := range []bool{false, true} {
		scripted(t, []int{4}, func(t *testing.T, c *cluster) {
			end := c.leads()
			var list []pipeline.Module
			for i := range 4 {
				m := with(nests(fmt.Sprintf("d%d", i)), retried(2, time.Minute))
				m.Of, m.MaxParallel = "d", 2
				list = append(list, m)
			}
			id := c.submit("r", one(append(list, nests("other"))...))
			c.succeed(c.child(id, "other"), "work")
			first, second := c.child(id, "d0"), c.child(id, "d1")
			c.attempt(second, "work")
			c.wantWhy(id, "d2", "as many instances of d are running as its max_parallel allows: 2")
			if change {
				end()
				pass(time.Minute)
				c.leads()
			}
			c.wantRuns(4)

			c.fail(first, "work") // the next one has its place while it waits
			third := c.child(id, "d2")
			c.wantRuns(5)
			c.succeed(second, "work")
			fourth := c.child(id, "d3")
			pass(2 * time.Minute)
			c.wantRuns(6)
			c.wantWhy(id, "d0", "as many instances of d are running")
			c.succeed(third, "work")
			c.succeed(c.child(id, "d0"), "work")
			c.succeed(fourth, "work")
			c.ends(id, pipeline.RunSucceeded)
			c.wantRuns(7)
		})
	}
}

// A cancelled run waits for its children, which are cancelled with it.
func TestChild_cancel(t *testing.T) {
	for _, change := range []bool{false, true} {
		scripted(t, []int{2}, func(t *testing.T, c *cluster) {
			end := c.leads()
			id := c.submit("r", one(nests("deploy"), with(nests("clean"), func(m *pipeline.Module) { m.AlwaysRun = true })))
			child, clean := c.child(id, "deploy"), c.child(id, "clean")
			c.attempt(child, "work")
			c.attempt(clean, "work")
			if change {
				end()
			}
			c.must(&fsm.Command{Cancel: &fsm.Cancel{Run: id, Reason: "enough"}})
			if change {
				c.leads()
			}
			c.ends(child, pipeline.RunCancelled)
			c.wantModule(id, "deploy", pipeline.ModuleCancelled, "enough")
			c.succeed(clean, "work")
			c.ends(id, pipeline.RunCancelled)
			c.wantModule(id, "clean", pipeline.ModuleSucceeded, "")
		})
	}
}

// With on_failure = "cancel" the failure of a module stops the children of the others.
func TestChild_sibling(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		p := one(nests("deploy"), aModule("test"))
		p.OnFailure = pipeline.OnFailureCancel
		id := c.submit("r", p)
		child := c.child(id, "deploy")
		c.attempt(child, "work")
		c.fail(id, "test")
		c.ends(child, pipeline.RunCancelled)
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "deploy", pipeline.ModuleCancelled, "cancelled because test failed")
	})
}

// A run that does not start anything after a failure does not repeat a child either.
func TestChild_stopped(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(nests("deploy"), retried(5, time.Second)), aModule("test")))
		child := c.child(id, "deploy")
		c.attempt(child, "work")
		c.fail(id, "test")
		c.fail(child, "work")
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "deploy", pipeline.ModuleFailed, "work failed: exit code 1")
		c.wantRuns(2)
	})
}

// What cannot be compiled fails; what could not be compiled just now is tried again.
func TestChild_mistake(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		c.setFailPrepare(pipeline.Errorf(pipeline.Unavailable, "no helper"))
		id := c.submit("r", one(nests("deploy")))
		c.succeed(c.child(id, "deploy"), "work")
		c.ends(id, pipeline.RunSucceeded)

		c.setFailPrepare(pipeline.Errorf(pipeline.Invalid, "inner.hcl:3: odd"))
		id = c.submit("s", one(nests("deploy")))
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "deploy", pipeline.ModuleFailed, "inner.hcl:3: odd")
	})
}

func (c *cluster) setFailPrepare(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failPrepare = err
}

// Runs that wait for their children make room for others, and come back.
func TestChild_parked(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 12
		c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
			return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
		}
		c.leads()
		var ids []pipeline.RunID
		for i := range 6 {
			ids = append(ids, c.submit(fmt.Sprintf("r%d", i), one(nests("deploy"), aModule("after", "deploy"))))
		}
		pass(time.Minute)
		for _, id := range ids {
			c.ends(id, pipeline.RunSucceeded)
		}
		c.wantRuns(12)
	})
}
