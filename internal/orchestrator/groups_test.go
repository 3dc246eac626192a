package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// wantRun waits until a run has a state.
func (c *cluster) wantRun(id pipeline.RunID, want pipeline.RunState) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if r, _ := c.run(id); r.State != want {
			return fmt.Errorf("%s is %s, want %s", id, r.State, want)
		}
		return nil
	})
}

// Runs of a group start in the order in which they came; a cancelled one leaves the
// queue without having run, and does not let others pass.
func TestGroups_queue(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		for _, id := range []string{"r1", "r2", "r3", "r4"} {
			c.submitTo("g", false, id, one(aModule("a")))
		}
		c.attempt("r1", "a")
		c.wantWhy("r4", "a", `the run waits for run r1, which holds the concurrency group "g"`)
		c.cancel("r2", "")
		c.ends("r2", pipeline.RunCancelled)
		settled()
		if n := c.starts("r3", "a"); n != 0 {
			t.Error("r3 started while r1 runs")
		}
		c.succeed("r1", "a")
		settled()
		if n := c.starts("r3", "a"); n != 1 {
			t.Error("r3 did not start at once when r1 ended")
		}
		c.attempt("r3", "a")
		c.wantWhy("r4", "a", "waits for run r3")
		c.fail("r3", "a")
		c.succeed("r4", "a")
		c.ends("r4", pipeline.RunSucceeded)
	})
}

// The timeout of a run counts from its start, not from when it came to the queue.
func TestGroups_timeout(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		p := one(aModule("a"))
		p.Timeout = time.Minute
		c.submitTo("g", false, "r1", one(aModule("a")))
		c.submitTo("g", false, "r2", p)
		c.attempt("r1", "a")
		pass(time.Hour)
		c.wantRun("r2", pipeline.RunWaiting)
		c.succeed("r1", "a")
		c.attempt("r2", "a")
		pass(58 * time.Second)
		c.wantRun("r2", pipeline.RunRunning)
		pass(3 * time.Second)
		c.ends("r2", pipeline.RunFailed)
	})
}

// A run that waits for an approval holds its group: it has started.
func TestGroups_approval(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		c.submitTo("g", false, "r1", one(gate("ok", 0, "")))
		c.submitTo("g", false, "r2", one(aModule("a")))
		c.wantWhy("r1", "ok", "waits for approval")
		c.wantWhy("r2", "a", "waits for run r1")
		c.decide("r1", "ok", pipeline.Approved)
		c.succeed("r2", "a")
		c.ends("r2", pipeline.RunSucceeded)
	})
}

// A run that was retried goes to the end of the queue.
func TestGroups_retry(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		c.submitTo("g", false, "r1", one(aModule("a")))
		c.fail("r1", "a")
		c.ends("r1", pipeline.RunFailed)
		c.submitTo("g", false, "r2", one(aModule("a")))
		c.attempt("r2", "a")
		c.retry("r1", "a")
		c.wantWhy("r1", "a", "waits for run r2")
		c.succeed("r2", "a")
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)
	})
}

// The next leader knows the queue.
func TestGroups_nextLeader(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		end := c.leads()
		for _, id := range []string{"r1", "r2", "r3"} {
			c.submitTo("g", false, id, one(aModule("a")))
		}
		c.attempt("r1", "a")
		end()
		c.leads()
		settled()
		c.wantWhy("r3", "a", "waits for run r1")
		for _, id := range []pipeline.RunID{"r1", "r2", "r3"} {
			if n := c.starts("r3", "a"); n != 0 && id != "r3" {
				t.Error("r3 started early")
			}
			c.succeed(id, "a")
			c.ends(id, pipeline.RunSucceeded)
		}
	})
}

// scheduled registers a schedule of every minute on the bubble's clock and returns
// the first tick.
func (c *cluster) scheduled(overlap, catchUp string) time.Time {
	c.tb.Helper()
	c.register(pipeline.Schedule{Cron: []string{"* * * * *"}, Overlap: overlap, CatchUp: catchUp})
	c.planned()
	return c.schedule().Next
}

// tickRuns lists the runs of the schedule, oldest first, by minute of their tick.
func (c *cluster) tickRuns() (ids []pipeline.RunID, minutes []int) {
	_ = c.store.View(func(v *fsm.View) error {
		v.Runs(0, func(r pipeline.Run) bool {
			if r.Schedule != "" {
				ids = append([]pipeline.RunID{r.ID}, ids...)
				minutes = append([]int{r.Tick.Minute()}, minutes...)
			}
			return true
		})
		return nil
	})
	return ids, minutes
}

// wantTickRuns waits until the schedule has made this many runs.
func (c *cluster) wantTickRuns(n int) []pipeline.RunID {
	c.tb.Helper()
	var ids []pipeline.RunID
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if ids, _ = c.tickRuns(); len(ids) != n {
			return fmt.Errorf("%d runs, want %d", len(ids), n)
		}
		return nil
	})
	return ids
}

// What overlap makes of a tick whose predecessor still runs.
func TestSchedules_overlap(t *testing.T) {
	for _, tc := range []struct {
		overlap string
		// started is how many runs have started after three ticks.
		started, made int
		skipped       uint64
	}{
		{pipeline.OverlapAllow, 3, 3, 0},
		{pipeline.OverlapQueue, 1, 3, 0},
		{pipeline.OverlapSkip, 1, 1, 2},
	} {
		t.Run(tc.overlap, func(t *testing.T) {
			scripted(t, []int{8}, func(t *testing.T, c *cluster) {
				c.leads()
				first := c.scheduled(tc.overlap, pipeline.CatchUpNone)
				pass(time.Until(first) + 2*time.Minute + 2*time.Second)
				ids := c.wantTickRuns(tc.made)
				settled()
				started := 0
				for _, id := range ids {
					started += c.starts(id, "m0-0")
				}
				if started != tc.started || c.schedule().Skipped != tc.skipped {
					t.Errorf("%d started, %d ticks skipped; want %d, %d", started, c.schedule().Skipped, tc.started, tc.skipped)
				}
				for _, id := range ids {
					c.succeed(id, "m0-0")
					c.ends(id, pipeline.RunSucceeded)
				}
			})
		})
	}
}

// What catch_up makes of ticks that no leader decided in time.
func TestSchedules_catchUp(t *testing.T) {
	for _, tc := range []struct {
		catchUp string
		made    int
		skipped uint64
	}{
		{pipeline.CatchUpNone, 0, 5},
		{pipeline.CatchUpLast, 1, 4},
		{pipeline.CatchUpAll, 5, 0},
	} {
		t.Run(tc.catchUp, func(t *testing.T) {
			scripted(t, []int{8}, func(t *testing.T, c *cluster) {
				end := c.leads()
				c.register(pipeline.Schedule{Cron: []string{"*/10 * * * *"}, Overlap: pipeline.OverlapAllow, CatchUp: tc.catchUp})
				c.planned()
				first := c.schedule().Next
				end()
				pass(time.Until(first) + 45*time.Minute) // five ticks, the last five minutes ago
				c.leads()
				c.wantTickRuns(tc.made)
				settled()
				if got := c.schedule().Skipped; got != tc.skipped {
					t.Errorf("%d ticks skipped, want %d", got, tc.skipped)
				}
				pass(6 * time.Minute) // the next one is on time
				c.wantTickRuns(tc.made + 1)
			})
		})
	}
}

// A paused schedule makes no runs, and skips what is due meanwhile without catching
// up; a removed one makes none either.
func TestSchedules_pauseAndRemove(t *testing.T) {
	scripted(t, []int{8}, func(t *testing.T, c *cluster) {
		c.leads()
		first := c.scheduled(pipeline.OverlapAllow, pipeline.CatchUpAll)
		pass(time.Until(first) + time.Second)
		c.wantTickRuns(1)
		c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.SchedulePause})
		pass(time.Hour)
		c.wantTickRuns(1)
		c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleResume})
		c.planned()
		pass(time.Minute + time.Second)
		c.wantTickRuns(2)
		c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleRemove})
		pass(time.Hour)
		c.wantTickRuns(2)
	})
}

// A decision that could not be proposed is made again.
func TestSchedules_proposalFails(t *testing.T) {
	scripted(t, []int{8}, func(t *testing.T, c *cluster) {
		c.leads()
		first := c.scheduled(pipeline.OverlapAllow, pipeline.CatchUpNone)
		c.log.setFail(pipeline.ErrUnknownOutcome)
		pass(time.Until(first) + 5*time.Second)
		c.wantTickRuns(0)
		c.log.setFail(nil)
		ids := c.wantTickRuns(1)
		if r, _ := c.run(ids[0]); !r.Tick.Equal(first) {
			t.Errorf("the run is of %s, want %s", r.Tick, first)
		}
	})
}
