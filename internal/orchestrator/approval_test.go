package orchestrator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// gate returns a module that waits for an approval.
func gate(name string, timeout time.Duration, onTimeout string, deps ...string) pipeline.Module {
	return pipeline.Module{Name: name, DependsOn: deps, Approval: &pipeline.Approval{Message: "go?", Timeout: timeout, OnTimeout: onTimeout}}
}

func (c *cluster) decide(run pipeline.RunID, module string, d pipeline.Decision) {
	c.tb.Helper()
	reason := "approved by ann"
	if d == pipeline.Rejected {
		reason = "rejected by ann"
	}
	c.must(&fsm.Command{Decide: &fsm.Decide{Run: run, Module: module, Decision: d, By: "ann", Reason: reason}})
}

// A decision ends the wait, whatever node leads then, and needs no worker.
func TestApproval_decision(t *testing.T) {
	for _, tc := range []struct {
		decision pipeline.Decision
		module   pipeline.ModuleState
		run      pipeline.RunState
	}{
		{pipeline.Approved, pipeline.ModuleSucceeded, pipeline.RunSucceeded},
		{pipeline.Rejected, pipeline.ModuleFailed, pipeline.RunFailed},
	} {
		t.Run(string(tc.decision), func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
					return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
				}
				end := c.leads()
				id := c.submit("r", one(aModule("build"), gate("ok", 0, "", "build"), aModule("ship", "ok")))
				c.wantWhy(id, "ok", "waits for approval: go?")
				c.wantWhy(id, "ship", "waits for ok")
				end()
				c.leads()
				c.wantWhy(id, "ok", "waits for approval: go?")
				pass(time.Hour)

				c.decide(id, "ok", tc.decision)
				mods := c.ends(id, tc.run)
				if m := mods["ok"]; m.State != tc.module || len(m.Attempts) != 0 {
					t.Errorf("ok is %s with %d attempts", m.State, len(m.Attempts))
				}
				if tc.run == pipeline.RunFailed && mods["ship"].State != pipeline.ModuleSkipped {
					t.Errorf("ship is %s", mods["ship"].State)
				}
			})
		})
	}
}

// The deadline decides as on_timeout says, at its time, also for a leader that
// comes later.
func TestApproval_timeout(t *testing.T) {
	for _, tc := range []struct {
		onTimeout string
		late      bool
		module    pipeline.ModuleState
		run       pipeline.RunState
		reason    string
	}{
		{"", false, pipeline.ModuleFailed, pipeline.RunFailed, "not approved within 10m0s"},
		{pipeline.TimeoutReject, true, pipeline.ModuleFailed, pipeline.RunFailed, "not approved within 10m0s"},
		{pipeline.TimeoutApprove, false, pipeline.ModuleSucceeded, pipeline.RunSucceeded, "approved by on_timeout: no decision within 10m0s"},
		{pipeline.TimeoutSkip, true, pipeline.ModuleSkipped, pipeline.RunSucceeded, "not approved within 10m0s"},
	} {
		t.Run(tc.onTimeout, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				end := c.leads()
				began := time.Now()
				id := c.submit("r", one(gate("ok", 10*time.Minute, tc.onTimeout)))
				c.wantWhy(id, "ok", "waits for approval")
				pass(10*time.Minute - 2*time.Second)
				if m := c.module(id, "ok"); m.State.Final() {
					t.Fatal("decided before the deadline")
				}
				if tc.late {
					end()
					pass(time.Hour)
					c.leads()
				}
				m := c.ends(id, tc.run)["ok"]
				if m.State != tc.module || m.Reason != tc.reason {
					t.Errorf("ok is %s because %q", m.State, m.Reason)
				}
				if took := m.FinishedAt.Sub(began).Round(time.Second); took != 10*time.Minute {
					t.Errorf("decided at %s, want the deadline", took)
				}
				var result struct {
					Approved bool   `json:"approved"`
					By       string `json:"approved_by"`
				}
				if err := json.Unmarshal(m.Result, &result); err != nil {
					t.Fatal(err)
				}
				if result.Approved != (tc.onTimeout == pipeline.TimeoutApprove) {
					t.Errorf("result %s", m.Result)
				}
			})
		})
	}
}

// Of a decision and the deadline the first counts.
func TestApproval_first(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(gate("ok", time.Minute, pipeline.TimeoutReject), aModule("ship", "ok")))
		c.wantWhy(id, "ok", "waits for approval")
		pass(59 * time.Second)
		c.decide(id, "ok", pipeline.Approved)
		pass(time.Hour)
		c.succeed(id, "ship")
		c.ends(id, pipeline.RunSucceeded)
		c.wantModule(id, "ok", pipeline.ModuleSucceeded, "approved by ann")
	})
}

// A cancelled run does not wait for approvals.
func TestApproval_cancel(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(gate("ok", time.Hour, pipeline.TimeoutApprove), aModule("ship", "ok")))
		c.wantWhy(id, "ok", "waits for approval")
		c.cancel(id, "")
		c.ends(id, pipeline.RunCancelled)
		c.wantModule(id, "ok", pipeline.ModuleCancelled, "enough")
	})
}

// The message of an approval may be an expression of results.
func TestApproval_message(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.evaluate = func(context.Context, *pipeline.Module) *pipeline.Evaluated {
			return &pipeline.Evaluated{Message: "ship version 7?"}
		}
		c.leads()
		m := gate("ok", 0, "", "build")
		m.Deferred = map[string]pipeline.DeferredExpr{pipeline.DeferredMessage: {Source: "x"}}
		id := c.submit("r", one(aModule("build"), m))
		c.succeed(id, "build")
		c.wantWhy(id, "ok", "waits for approval: ship version 7?")
		c.decide(id, "ok", pipeline.Approved)
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Several approvals of one run are decided independently.
func TestApproval_several(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(gate("a", time.Minute, pipeline.TimeoutSkip), gate("b", 0, ""), gate("c", 0, ""), aModule("after", "b")))
		c.wantWhy(id, "c", "waits for approval")
		c.decide(id, "b", pipeline.Approved)
		c.succeed(id, "after")
		c.wantModule(id, "a", pipeline.ModuleWaiting, "")
		pass(2 * time.Minute)
		c.wantModule(id, "a", pipeline.ModuleSkipped, "")
		c.wantModule(id, "c", pipeline.ModuleWaiting, "")
		c.decide(id, "c", pipeline.Approved)
		c.ends(id, pipeline.RunSucceeded)
	})
}
