package orchestrator_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// What failed before a retry and is not retried stops nothing, also under the next
// leader; what fails in the retry does.
func TestRetry_earlierFailure(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		end := c.leads()
		id := c.submit("r", one(aModule("good"), aModule("next", "good"), aModule("bad", "next"), aModule("late", "next", "bad")))
		c.succeed(id, "good", "next")
		c.fail(id, "bad")
		c.ends(id, pipeline.RunFailed)

		c.retry(id, "good", "next")
		c.attempt(id, "good")
		end()
		end = c.leads()
		c.succeed(id, "good", "next")
		c.ends(id, pipeline.RunFailed)
		c.wantAttempts(id, "good", pipeline.AttemptSucceeded, pipeline.AttemptSucceeded)
		c.wantAttempts(id, "next", pipeline.AttemptSucceeded, pipeline.AttemptSucceeded)
		c.wantAttempts(id, "bad", pipeline.AttemptFailed)

		c.retry(id, "good", "next")
		c.fail(id, "good")
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "next", pipeline.ModuleSkipped, "dependency good failed")
		end()
	})
}

// Modules that were cancelled and not retried leave the run cancelled.
func TestRetry_cancelled(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a"), aModule("b", "a")))
		c.succeed(id, "a")
		c.attempt(id, "b")
		c.cancel(id, "")
		c.ends(id, pipeline.RunCancelled)
		c.retry(id, "a")
		c.succeed(id, "a")
		c.ends(id, pipeline.RunCancelled)
	})
}

// A module waits for an approval that a retry asks for again, although what lies
// between has succeeded and is not retried; a rejection stops it.
func TestRetry_approvalAskedAgain(t *testing.T) {
	for decision, want := range map[pipeline.Decision]pipeline.RunState{pipeline.Approved: pipeline.RunSucceeded, pipeline.Rejected: pipeline.RunFailed} {
		t.Run(string(decision), func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				gate := with(aModule("gate"), func(m *pipeline.Module) { m.Command, m.Approval = nil, &pipeline.Approval{Message: "Go?"} })
				id := c.submit("r", one(gate, aModule("prepare", "gate"), aModule("deploy", "prepare")))
				decide := func(d pipeline.Decision) {
					c.wantWhy(id, "gate", "waits for approval")
					settled()
					c.must(&fsm.Command{Decide: &fsm.Decide{Run: id, Module: "gate", Decision: d, By: "sam"}})
				}
				decide(pipeline.Approved)
				c.succeed(id, "prepare", "deploy")
				c.ends(id, pipeline.RunSucceeded)

				c.retry(id, "gate", "deploy")
				c.wantWhy(id, "deploy", "waits for gate")
				pass(time.Minute)
				if n := c.starts(id, "deploy"); n != 1 {
					t.Errorf("deploy ran again without an approval")
				}
				decide(decision)
				if decision == pipeline.Approved {
					c.succeed(id, "deploy")
				}
				c.ends(id, want)
				c.wantAttempts(id, "prepare", pipeline.AttemptSucceeded)
			})
		})
	}
}
