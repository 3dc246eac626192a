package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// If no worker can join, a module that none can run fails when the run begins, before
// anything was done in vain. Otherwise it waits.
func TestHopeless(t *testing.T) {
	for _, alone := range []bool{true, false} {
		scripted(t, []int{1}, func(t *testing.T, c *cluster) {
			c.alone = alone
			c.leads()
			id := c.submit("r", one(aModule("build"), with(needs("train", "gpu"), func(m *pipeline.Module) { m.DependsOn = []string{"build"} })))
			if !alone {
				c.succeed(id, "build")
				pass(time.Hour)
				c.wantWhy(id, "train", "no worker has tag gpu")
				return
			}
			c.ends(id, pipeline.RunFailed)
			c.wantModule(id, "train", pipeline.ModuleFailed, "no worker has tag gpu")
			if n := c.starts(id, "build"); n != 0 {
				t.Errorf("build was started %d times in vain", n)
			}
		})
	}
}

// A module that is skipped needs no worker; one whose condition depends on results
// fails when it is to run.
func TestHopeless_conditions(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.alone = true
		c.evaluate = func(_ context.Context, m *pipeline.Module) *pipeline.Evaluated {
			if m.Name == "no" {
				return &pipeline.Evaluated{Skip: "its condition is false"}
			}
			return &pipeline.Evaluated{}
		}
		c.leads()
		when := func(m *pipeline.Module) {
			m.DependsOn = []string{"a"}
			m.Deferred = map[string]pipeline.DeferredExpr{"when": {Source: "module.a.result.x"}}
		}
		id := c.submit("r", one(aModule("a"), with(needs("skipped", "gpu"), func(m *pipeline.Module) { m.Skip = "left out" }),
			with(needs("after", "gpu"), func(m *pipeline.Module) { m.DependsOn = []string{"skipped"} }),
			with(needs("no", "gpu"), when), with(needs("yes", "gpu"), when)))
		c.succeed(id, "a")
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "skipped", pipeline.ModuleSkipped, "left out")
		c.wantModule(id, "after", pipeline.ModuleSkipped, "dependency skipped was skipped")
		c.wantModule(id, "no", pipeline.ModuleSkipped, "its condition is false")
		c.wantModule(id, "yes", pipeline.ModuleFailed, "no worker has tag gpu")
	})
}
