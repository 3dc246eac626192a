package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Each failure doubles the pause, up to the limit, less up to a quarter at random.
func TestRetries_backoff(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(aModule("a"), func(m *pipeline.Module) {
			m.Retry = pipeline.Retry{Attempts: 5, Backoff: 4 * time.Second, MaxBackoff: 20 * time.Second}
		})))
		for n, longest := range []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 20 * time.Second} {
			c.fail(id, "a")
			failed := time.Now()
			c.wantWhy(id, "a", fmt.Sprintf("%d of 5 attempts failed", n+1))
			c.attempt(id, "a")
			if took := time.Since(failed); took < longest*3/4 || took > longest+100*time.Millisecond {
				t.Errorf("attempt %d came %s after the failure, want %s to %s", n+2, took, longest*3/4, longest)
			}
		}
		c.fail(id, "a")
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "a", pipeline.ModuleFailed, "exit code 1")
		if m := c.module(id, "a"); m.Failures != 5 || m.Losses != 0 {
			t.Errorf("%d failures, %d losses", m.Failures, m.Losses)
		}
	})
}

// Only exit codes that are listed are retried.
func TestRetries_exitCodes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		code  *int
		state pipeline.AttemptState
		want  bool
	}{
		{"listed", number(75), pipeline.AttemptFailed, true},
		{"another", number(1), pipeline.AttemptFailed, false},
		{"killed by a timeout", nil, pipeline.AttemptTimedOut, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				id := c.submit("r", one(with(aModule("a"), func(m *pipeline.Module) {
					m.Retry = pipeline.Retry{Attempts: 2, Backoff: time.Second, ExitCodes: []int{75}}
				})))
				c.end(id, "a", pipeline.Outcome{State: tc.state, ExitCode: tc.code, Reason: "no"})
				if !tc.want {
					c.ends(id, pipeline.RunFailed)
					c.wantAttempts(id, "a", tc.state)
					return
				}
				c.succeed(id, "a")
				c.ends(id, pipeline.RunSucceeded)
			})
		})
	}
}

func number(n int) *int { return &n }

// A backoff is in the state: the next leader keeps to it.
func TestRetries_nextLeader(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		end := c.leads()
		id := c.submit("r", one(with(aModule("a"), retried(2, time.Minute))))
		c.fail(id, "a")
		failed := time.Now()
		end()
		pass(10 * time.Second)
		c.leads()
		settled()
		if n := c.starts(id, "a"); n != 1 {
			t.Fatalf("%d starts", n)
		}
		pass(time.Minute)
		c.attempt(id, "a")
		if took := c.module(id, "a").Attempts[1].AssignedAt.Sub(failed); took < 45*time.Second || took > 61*time.Second {
			t.Errorf("repeated after %s", took)
		}
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Losses do not use up the budget of failures, nor failures that of losses.
func TestRetries_twoBudgets(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(aModule("a"), retried(2, time.Second))))
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
		c.fail(id, "a")
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
		c.fail(id, "a")
		c.ends(id, pipeline.RunFailed)
		c.wantAttempts(id, "a", pipeline.AttemptLost, pipeline.AttemptFailed, pipeline.AttemptLost, pipeline.AttemptFailed)
		if m := c.module(id, "a"); m.Failures != 2 || m.Losses != 2 {
			t.Errorf("%d failures, %d losses", m.Failures, m.Losses)
		}
	})
}

// A worker that reports no final state has failed the attempt.
func TestRetries_noFinalState(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptRunning})
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "a", pipeline.ModuleFailed, "the worker reported no final state")
	})
}

// What a failure makes of the rest of the run.
func TestFailure_rest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*pipeline.Pipeline)
		state  pipeline.RunState
		reason string
		// want has the states of the modules after the failure of bad, and of free, which
		// does not depend on it and waits for a slot.
		want map[string]pipeline.ModuleState
	}{
		{"stop", func(*pipeline.Pipeline) {}, pipeline.RunFailed, "bad failed",
			map[string]pipeline.ModuleState{"bad": "failed", "after": "skipped", "free": "skipped", "always": "succeeded"}},
		{"continue", func(p *pipeline.Pipeline) { p.OnFailure = pipeline.OnFailureContinue }, pipeline.RunFailed, "bad failed",
			map[string]pipeline.ModuleState{"bad": "failed", "after": "skipped", "free": "succeeded", "always": "succeeded"}},
		{"ignored", func(p *pipeline.Pipeline) { p.Modules[0].IgnoreFailure = true }, pipeline.RunWarnings, "",
			map[string]pipeline.ModuleState{"bad": "failed", "after": "skipped", "free": "succeeded", "always": "succeeded"}},
		{"with a message", func(p *pipeline.Pipeline) { p.Modules[0].Failure = "the tests do not pass" }, pipeline.RunFailed, "the tests do not pass",
			map[string]pipeline.ModuleState{"bad": "failed", "after": "skipped", "free": "skipped", "always": "succeeded"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
					if s.ID.Module == "bad" {
						return &pipeline.Outcome{State: pipeline.AttemptFailed, Reason: "no"}
					}
					return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
				}
				c.leads()
				p := one(with(aModule("bad"), func(m *pipeline.Module) { m.Priority = 1 }), aModule("after", "bad"), aModule("free"),
					with(aModule("always", "bad"), func(m *pipeline.Module) { m.AlwaysRun = true }))
				tc.change(&p)
				id := c.submit("r", p)
				mods := c.ends(id, tc.state)
				for name, want := range tc.want {
					if mods[name].State != want {
						t.Errorf("%s is %s (%s), want %s", name, mods[name].State, mods[name].Reason, want)
					}
				}
				if r, _ := c.run(id); r.Reason != tc.reason {
					t.Errorf("reason %q, want %q", r.Reason, tc.reason)
				}
				if tc.want["free"] == pipeline.ModuleSkipped && mods["free"].Reason != "not started because bad failed" {
					t.Errorf("free: %q", mods["free"].Reason)
				}
			})
		})
	}
}

// A module that runs when another fails, and fails later, has failed; one that is
// lost then is skipped.
func TestFailure_runningModules(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("bad"), with(aModule("fails"), retried(3, time.Second)), aModule("lost"), aModule("ok")))
		for _, m := range []string{"fails", "lost", "ok"} {
			c.attempt(id, m)
		}
		c.fail(id, "bad")
		c.wantModule(id, "bad", pipeline.ModuleFailed, "")
		c.fail(id, "fails")
		c.end(id, "lost", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
		c.succeed(id, "ok")
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "fails", pipeline.ModuleFailed, "exit code 1")
		c.wantModule(id, "lost", pipeline.ModuleSkipped, "not started because bad failed")
		c.wantModule(id, "ok", pipeline.ModuleSucceeded, "")
	})
}

// The second cancellation with the same request changes nothing; one with another
// stops what always runs.
func TestCancel_twice(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("main"), with(aModule("always", "main"), func(m *pipeline.Module) { m.AlwaysRun = true }), aModule("after", "main")))
		c.attempt(id, "main")
		c.cancel(id, "q1")
		c.wantModule(id, "main", pipeline.ModuleCancelled, "enough")
		c.wantModule(id, "after", pipeline.ModuleCancelled, "the run was cancelled: enough")
		c.attempt(id, "always")

		c.cancel(id, "q1")
		pass(time.Minute)
		if got := c.runningModules(id); len(got) != 1 {
			t.Fatalf("a repeated request stopped what always runs: %v run", got)
		}
		c.cancel(id, "q2")
		c.ends(id, pipeline.RunCancelled)
		c.wantModule(id, "always", pipeline.ModuleCancelled, "")
	})
}

// A cancelled run ends as cancelled, also if its last module fails on being stopped.
func TestCancel_outcomes(t *testing.T) {
	for _, state := range []pipeline.AttemptState{pipeline.AttemptFailed, pipeline.AttemptLost, pipeline.AttemptTimedOut} {
		t.Run(string(state), func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				id := c.submit("r", one(with(aModule("a"), retried(3, time.Hour))))
				w, s := c.attempt(id, "a")
				c.setWorker(w.id, func(w *fakeWorker) { w.mute = true }) // the stop does not arrive
				c.cancel(id, "")
				c.finish(w, s.ID, &pipeline.Outcome{State: state, Reason: "no"})
				c.ends(id, pipeline.RunCancelled)
				c.wantModule(id, "a", pipeline.ModuleCancelled, "the run was cancelled: enough")
			})
		})
	}
}

// A module that waits for its backoff is cancelled at once.
func TestCancel_backoff(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(aModule("a"), retried(3, time.Hour))))
		c.fail(id, "a")
		c.wantWhy(id, "a", "retrying in")
		c.cancel(id, "")
		c.ends(id, pipeline.RunCancelled)
		c.wantAttempts(id, "a", pipeline.AttemptFailed)
		pass(2 * time.Hour)
		if n := c.starts(id, "a"); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

// A stop that got lost is asked for again by the comparison, also by the next
// leader.
func TestCancel_stopRepeated(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		end := c.leads()
		id := c.submit("r", one(aModule("a")))
		w, _ := c.attempt(id, "a")
		pass(2 * time.Second)
		c.silence(w.id, true, true)
		c.cancel(id, "")
		pass(time.Second)
		end()
		c.silence(w.id, false, true)
		c.leads()
		c.ends(id, pipeline.RunCancelled)
		c.wantModule(id, "a", pipeline.ModuleCancelled, "enough")
	})
}

// The timeout of a run counts from its start, and from its last retry.
func TestTimeout_retry(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		p := one(aModule("a"))
		p.Timeout = time.Minute
		id := c.submit("r", p)
		c.attempt(id, "a")
		pass(59 * time.Second)
		if r, _ := c.run(id); r.State != pipeline.RunRunning {
			t.Fatalf("run is %s before its timeout", r.State)
		}
		pass(2 * time.Second)
		c.ends(id, pipeline.RunFailed)
		if r, _ := c.run(id); r.Reason != "the run exceeded its timeout of 1m0s" {
			t.Errorf("reason %q", r.Reason)
		}

		c.must(&fsm.Command{Retry: &fsm.Retry{Run: id, Modules: []string{"a"}}})
		c.attempt(id, "a")
		pass(59 * time.Second)
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}
