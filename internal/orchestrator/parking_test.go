package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// nowhere makes a module fit no worker.
func nowhere(m *pipeline.Module) { m.Requires.Tags = []string{"nobody"} }

// crowd submits n runs of six modules each, which take ten places of the model.
func (c *cluster) crowd(n int, change func(*pipeline.Module)) (ids []pipeline.RunID) {
	for i := range n {
		var list []pipeline.Module
		for j := range 6 {
			list = append(list, with(aModule(fmt.Sprintf("m%d", j)), change))
		}
		ids = append(ids, c.submit(fmt.Sprintf("r%02d", i), one(list...)))
	}
	return ids
}

// A run starts although more modules of its submitter than the leader looks at fit no
// worker; another's starts at once, and so does everybody's under the next leader.
func TestParking_hopelessCrowd(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		end := c.leads()
		ids := c.crowd(20, nowhere)
		settled()
		c.wantWhy(ids[0], "m0", "no worker")
		if why := c.why(ids[19]); why["m0"] != "" || why[""] == "" {
			t.Errorf("the last run waits because of %q", why)
		}

		other := c.submitAs("other", one(aModule("a")), pipeline.Run{Submitter: "other"})
		settled()
		c.succeed(other, "a")
		c.ends(other, pipeline.RunSucceeded)

		mine := c.submit("mine", one(aModule("a"), aModule("b", "a")))
		pass(20 * time.Second)
		settled()
		c.succeed(mine, "a")
		settled()

		end()
		c.leads()
		settled()
		c.succeed(mine, "b")
		c.ends(mine, pipeline.RunSucceeded)
	})
}

// Runs that wait for a busy slot keep their place: they start in the order in which
// they came, and all of them end.
func TestParking_order(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		c.leads()
		ids := c.crowd(8, func(*pipeline.Module) {})
		for _, id := range ids {
			pass(5 * time.Second)
			settled()
			for range 6 {
				list := c.runningModules(id)
				if len(list) == 0 {
					t.Fatalf("run %s has not started in its turn", id)
				}
				c.succeed(id, list[0])
				settled()
			}
			c.ends(id, pipeline.RunSucceeded)
		}
	})
}

// However full the model is, a run that is cancelled ends, and another submitter's
// comes in, also if the cancelled ones wait for room themselves.
func TestParking_full(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		c.leads()
		ids := c.crowd(8, func(m *pipeline.Module) { m.AlwaysRun = m.Name == "m5" })
		settled()
		c.cancel(ids[5], "x")
		c.wantModule(ids[5], "m0", pipeline.ModuleCancelled, "")
		c.cancel(ids[6], "x")
		c.cancel(ids[7], "x")
		settled()
		c.wantModule(ids[7], "m0", pipeline.ModuleWaiting, "")

		other := c.submitAs("other", one(aModule("a")), pipeline.Run{Submitter: "other"})
		settled()
		if why := c.why(other); why[""] != "" {
			t.Errorf("the first run of another submitter waits because of %q", why)
		}
	})
}

// Whatever happens to a parked run happens at once: a cancellation, a decision, a
// deadline.
func TestParking_changed(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		c.leads()
		asked := c.submit("asked", one(gate("ok", 0, "")))
		late := c.submit("late", one(gate("ok", 10*time.Minute, "")))
		settled()
		ids := c.crowd(20, nowhere)
		pass(5 * time.Minute)

		c.decide(asked, "ok", pipeline.Approved)
		c.cancel(ids[3], "x")
		c.cancel(ids[17], "y")
		pass(time.Second)
		settled()
		for id, want := range map[pipeline.RunID]pipeline.RunState{asked: pipeline.RunSucceeded, ids[3]: pipeline.RunCancelled, ids[17]: pipeline.RunCancelled} {
			if r, _ := c.run(id); r.State != want {
				t.Errorf("run %s is %s, want %s", id, r.State, want)
			}
		}

		pass(5 * time.Minute)
		settled()
		if r, _ := c.run(late); r.State != pipeline.RunFailed || r.FinishedAt.Sub(r.SubmittedAt).Round(5*time.Second) != 10*time.Minute {
			t.Errorf("run %s is %s, ended after %s", late, r.State, r.FinishedAt.Sub(r.SubmittedAt))
		}

		for _, id := range ids {
			c.cancel(id, "all")
		}
		pass(5 * time.Second)
		for _, id := range ids {
			c.ends(id, pipeline.RunCancelled)
		}
	})
}

// Parked runs of a concurrency group follow each other at once.
func TestParking_group(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		c.leads()
		var ids []pipeline.RunID
		for i := range 6 {
			ids = append(ids, c.submitTo("g", false, fmt.Sprintf("g%d", i), one(aModule("a"))))
		}
		c.crowd(20, nowhere)
		pass(time.Minute)
		for _, id := range ids {
			settled()
			c.succeed(id, "a")
			c.ends(id, pipeline.RunSucceeded)
		}
	})
}

// The outcome of an attempt that was given up is kept also if it comes when its run is
// parked.
func TestParking_lateOutcome(t *testing.T) {
	scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
		c.loaded = 30
		c.leads()
		once := func(m *pipeline.Module) { m.OnLost, m.IgnoreFailure = pipeline.LostFail, true }
		id := c.submit("r", one(with(aModule("a"), once), gate("ok", 0, "")))
		w, s := c.attempt(id, "a")
		c.silence(w.id, true, false)
		c.memberChange()
		pass(10 * time.Second)
		c.wantModule(id, "a", pipeline.ModuleFailed, "lost")

		c.crowd(60, nowhere)
		pass(10 * time.Second)
		if why := c.why(id); why[""] == "" {
			t.Fatalf("the run is not parked: %q", why)
		}
		c.finish(w, s.ID, &pipeline.Outcome{State: pipeline.AttemptSucceeded})
		c.wantAttempts(id, "a", pipeline.AttemptSuperseded)
	})
}

// why is what the leader says about a run.
func (c *cluster) why(id pipeline.RunID) map[string]string {
	c.tb.Helper()
	why, err := c.orch.Load().Waiting(c.ctx, id)
	if err != nil {
		c.tb.Fatal(err)
	}
	return why
}
