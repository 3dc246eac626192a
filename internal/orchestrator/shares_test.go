package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// A module of a submitter who has nothing running gets the next free slot, however
// many runs of another wait, and however long they have.
func TestShares_newcomer(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		for i := range 60 {
			c.submitAs(fmt.Sprintf("many%02d", i), one(aModule("a"), aModule("b")), pipeline.Run{Submitter: "many"})
		}
		pass(time.Minute) // what waits has aged
		one := c.submitAs("one", one(aModule("a")), pipeline.Run{Submitter: "one"})
		settled()

		var first pipeline.RunID
		for i := range 60 {
			if id := pipeline.RunID(fmt.Sprintf("many%02d", i)); len(c.runningModules(id)) > 0 {
				first = id
				break
			}
		}
		c.succeed(first, c.runningModules(first)[0])
		c.attempt(one, "a")
		c.succeed(one, "a")
		c.ends(one, pipeline.RunSucceeded)
	})
}

// Between submitters a higher priority goes first, until the other has waited long.
func TestShares_priorityAges(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		urgent := func(m *pipeline.Module) { m.Priority = 2 }
		var modules []pipeline.Module
		for i := range 9 {
			modules = append(modules, with(aModule(fmt.Sprintf("u%d", i)), urgent))
		}
		ops := c.submitAs("ops", one(modules...), pipeline.Run{Submitter: "ops"})
		c.attempt(ops, "u0")
		dev := c.submitAs("dev", one(aModule("a")), pipeline.Run{Submitter: "dev"})
		for i := range 9 {
			pass(10 * time.Second)
			settled()
			if len(c.runningModules(dev)) > 0 {
				if i < 3 {
					t.Errorf("placed after %d s, before modules of a higher priority", 10*i)
				}
				return
			}
			c.succeed(ops, c.runningModules(ops)[0])
		}
		t.Error("a module of a low priority was not placed within 90 s")
	})
}

// Many runs of a submitter get no more slots than one run of another.
func TestShares_even(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		blocker := c.submitAs("z", one(aModule("a"), aModule("b"), aModule("c"), aModule("d")), pipeline.Run{Submitter: "z"})
		c.attempt(blocker, "d")
		for i := range 10 {
			c.submitAs(fmt.Sprintf("many%d", i), one(aModule("a")), pipeline.Run{Submitter: "many"})
		}
		single := c.submitAs("one", one(aModule("a"), aModule("b"), aModule("c")), pipeline.Run{Submitter: "one"})
		settled()
		c.succeed(blocker, "a", "b", "c", "d")
		settled()
		if n := len(c.runningModules(single)); n != 2 {
			t.Errorf("%d of 4 slots for a submitter with one run, want 2", n)
		}
	})
}
