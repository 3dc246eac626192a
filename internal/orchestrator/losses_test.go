package orchestrator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// A worker is lost once its lease has expired and there is a second sign of it.
func TestLosses_signs(t *testing.T) {
	for _, tc := range []struct {
		name string
		// mute makes the worker not answer, refuse makes its port refuse, dead makes
		// gossip lose it.
		mute, refuse, dead bool
		// within and after bound when the attempt is lost, from the last answer on; 0 if
		// it never is.
		after, within time.Duration
	}{
		{"silent and gone from gossip", true, false, true, 5 * time.Second, 7 * time.Second},
		{"its port refuses", false, true, false, 5 * time.Second, 7 * time.Second},
		{"silent, but gossip sees it", true, false, false, 35 * time.Second, 40 * time.Second},
		{"gossip does not see it, but it answers", false, false, true, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
				c.leads()
				id := c.submit("r", one(aModule("a")))
				w, _ := c.attempt(id, "a")
				pass(2 * time.Second)

				c.setWorker(w.id, func(w *fakeWorker) {
					w.silent, w.mute, w.alive = tc.refuse, tc.mute, !tc.dead
				})
				c.memberChange()
				cut := time.Now()

				if tc.within == 0 {
					pass(2 * time.Minute)
					if m := c.module(id, "a"); m.Losses != 0 || len(m.Attempts) != 1 {
						t.Errorf("%d losses", m.Losses)
					}
					return
				}
				pass(tc.after - time.Second - time.Millisecond)
				if m := c.module(id, "a"); m.Losses != 0 {
					t.Errorf("lost %s after the last answer", time.Since(cut))
				}
				pass(tc.within - tc.after + time.Second)
				if m := c.module(id, "a"); m.Losses != 1 {
					t.Errorf("not lost %s after the last answer", time.Since(cut))
				}
				c.succeed(id, "a")
				c.ends(id, pipeline.RunSucceeded)
				c.wantAttempts(id, "a", pipeline.AttemptLost, pipeline.AttemptSucceeded)
			})
		})
	}
}

// A repeated module avoids the worker that lost it.
func TestLosses_avoid(t *testing.T) {
	scripted(t, []int{4, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		w, s := c.attempt(id, "a")
		if w.id != "w1" {
			t.Fatalf("first on %s", w.id)
		}
		c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptLost, Reason: "its processes are gone"})
		if w, _ := c.attempt(id, "a"); w.id != "w2" {
			t.Errorf("repeated on %s, which lost it", w.id)
		}
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// After each further loss the pause grows, and after the last the module fails.
func TestLosses_budget(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		pauses := []time.Duration{0, 2 * time.Second, 8 * time.Second, 32 * time.Second, 32 * time.Second, 32 * time.Second}
		for n := 1; n < pipeline.MaxLosses; n++ {
			c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
			if pause := pauses[n-1]; pause > 0 {
				pass(pause - time.Second)
				settled()
				if got := c.starts(id, "a"); got != n {
					t.Fatalf("%d starts %s after loss %d", got, pause-time.Second, n)
				}
				c.wantWhy(id, "a", "retrying in 1s")
			}
			c.attempt(id, "a")
		}
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "a", pipeline.ModuleFailed, "times, the last time: gone")
		if m := c.module(id, "a"); m.Losses != pipeline.MaxLosses || m.Failures != 0 {
			t.Errorf("%d losses, %d failures", m.Losses, m.Failures)
		}
	})
}

// on_lost = "fail" does not repeat what may have started.
func TestLosses_onLostFail(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(aModule("a"), func(m *pipeline.Module) { m.OnLost = pipeline.LostFail })))
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone", StartedAt: time.Now()})
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "a", pipeline.ModuleFailed, `lost, and not repeated (on_lost = "fail"): gone`)
	})
}

// on_lost = "fail" repeats what its worker is certain never to have begun.
func TestLosses_onLostFail_neverBegun(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(with(aModule("a"), atMostOnce)))
		c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "too many open files", NeverBegun: true})
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
		c.wantAttempts(id, "a", pipeline.AttemptLost, pipeline.AttemptSucceeded)
	})
}

// on_disconnect = "kill": the worker needs time to kill the attempt after its lease;
// only then is it repeated.
func TestLosses_kill(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(
			with(aModule("kill"), func(m *pipeline.Module) { m.OnDisconnect = pipeline.DisconnectKill })))
		w, _ := c.attempt(id, "kill")
		pass(1500 * time.Millisecond)
		c.silence(w.id, true, false)
		pass(7 * time.Second)
		if m := c.module(id, "kill"); m.Losses != 0 {
			t.Error("repeated while its worker may be killing it")
		}
		pass(3 * time.Second)
		if m := c.module(id, "kill"); m.Losses != 1 {
			t.Errorf("%d losses", m.Losses)
		}
	})
}

// A worker that restarted without its processes has lost its attempts.
func TestLosses_incarnation(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		c.attempt(id, "a")
		c.setWorker("w1", func(w *fakeWorker) { w.life = "-2"; clear(w.held) })
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
		c.wantAttempts(id, "a", pipeline.AttemptLost, pipeline.AttemptSucceeded)
		if got := c.module(id, "a").Attempts[0].Reason; got != "worker w1 restarted and has lost its processes" {
			t.Errorf("reason %q", got)
		}
	})
}

// A worker that announced its absence keeps its attempts until then.
func TestLosses_away(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		w, _ := c.attempt(id, "a")
		c.must(&fsm.Command{Worker: &fsm.Worker{Only: "away", Record: fsm.WorkerRecord{ID: w.id, AwayUntil: time.Now().Add(time.Minute)}}})
		c.silence(w.id, true, false)
		pass(55 * time.Second)
		if m := c.module(id, "a"); m.Losses != 0 {
			t.Error("lost while its worker is away")
		}
		pass(10 * time.Second)
		if m := c.module(id, "a"); m.Losses != 1 {
			t.Error("not lost after the absence")
		}
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A new leader grants each worker a fresh lease, also one that is no member.
func TestLosses_freshLease(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		end := c.leads()
		id := c.submit("r", one(aModule("a")))
		w, _ := c.attempt(id, "a")
		end()

		c.mu.Lock()
		delete(c.workers, w.id)
		c.mu.Unlock()
		c.leads()
		pass(4 * time.Second)
		if m := c.module(id, "a"); m.Losses != 0 {
			t.Error("lost within the lease that the new leader grants")
		}
		pass(4 * time.Second)
		if m := c.module(id, "a"); m.Losses != 1 {
			t.Error("an attempt on a worker that is no member is not lost")
		}
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// The outcome of an attempt that was declared lost is recorded and changes nothing,
// and the worker is asked to stop what still runs.
func TestLosses_lateOutcome(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		old, s := c.attempt(id, "a")
		pass(1500 * time.Millisecond)
		c.silence(old.id, true, false)
		pass(7 * time.Second)
		c.attempt(id, "a")
		c.setWorker(old.id, func(w *fakeWorker) { w.silent, w.alive = false, true })
		c.memberChange()

		// It is back: the comparison stops the superseded attempt.
		testutil.Eventually(t, 20*time.Second, func() error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(old.stopped) == 0 || slices.ContainsFunc(old.stopped, func(id pipeline.AttemptID) bool { return id != s.ID }) {
				return fmt.Errorf("stopped %v", old.stopped)
			}
			return nil
		})
		settled()
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
		if m := c.module(id, "a"); m.Losses != 1 || m.Attempts[1].State != pipeline.AttemptSucceeded {
			t.Errorf("%+v", m)
		}
	})
}

// A dispatch whose answer is lost is repeated and starts nothing twice.
func TestLosses_dispatchRepeated(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(aModule("a")))
		c.wantModule(id, "a", pipeline.ModuleRunning, "")
		pass(3 * time.Second)
		if n := c.starts(id, "a"); n != 0 {
			t.Fatalf("%d starts on a deaf worker", n)
		}
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = false })
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
		if n := c.starts(id, "a"); n != 1 {
			t.Errorf("%d starts", n)
		}
		c.wantAttempts(id, "a", pipeline.AttemptSucceeded)
	})
}

// A dependency whose outputs are on no node runs again, and then its dependent.
func TestLosses_outputs(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("make"), aModule("other"), aModule("use", "make", "other")))
		c.succeed(id, "make", "other")
		c.end(id, "use", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "its inputs are gone", LostOutputs: []string{"make"}})

		c.wantModule(id, "make", pipeline.ModuleRunning, "")
		c.wantWhy(id, "use", "waits for make")
		c.succeed(id, "make")
		c.succeed(id, "use")
		c.ends(id, pipeline.RunSucceeded)
		c.wantAttempts(id, "make", pipeline.AttemptSucceeded, pipeline.AttemptSucceeded)
		c.wantAttempts(id, "other", pipeline.AttemptSucceeded)
		c.wantAttempts(id, "use", pipeline.AttemptLost, pipeline.AttemptSucceeded)
	})
}

// What runs on a worker after the deadline of its drain is stopped and runs
// elsewhere; it counts as lost, not as cancelled.
func TestDrain_deadline(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a")))
		w, _ := c.attempt(id, "a")
		c.must(&fsm.Command{Worker: &fsm.Worker{Only: "drain", Record: fsm.WorkerRecord{ID: w.id, Draining: true,
			DrainDeadline: time.Now().Add(10 * time.Second)}}})
		c.wantStatus(w.id, pipeline.WorkerDraining)
		pass(9 * time.Second)
		c.mu.Lock()
		early := len(w.stopped)
		c.mu.Unlock()
		if early != 0 {
			t.Error("stopped before the deadline")
		}
		pass(2 * time.Second)
		if other, _ := c.attempt(id, "a"); other == w {
			t.Error("it runs on the draining worker again")
		}
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
		c.wantAttempts(id, "a", pipeline.AttemptLost, pipeline.AttemptSucceeded)
	})
}

// A draining worker gets nothing new and keeps what it has.
func TestDrain(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		id := c.submit("r", one(aModule("a"), aModule("b", "a")))
		c.attempt(id, "a")
		drain := func(on bool) {
			c.must(&fsm.Command{Worker: &fsm.Worker{Only: "drain", Record: fsm.WorkerRecord{ID: "w1", Draining: on}}})
		}
		drain(true)
		pass(time.Hour)
		c.succeed(id, "a")
		c.wantWhy(id, "b", "the only worker (w1) is draining")
		drain(false)
		c.succeed(id, "b")
		c.ends(id, pipeline.RunSucceeded)
	})
}
