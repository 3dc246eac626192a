package orchestrator_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// backfill begins a backfill of n ticks of two seconds from noon on.
func (c *cluster) backfill(id string, n, parallel int) {
	c.tb.Helper()
	c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleBackfill, Backfill: &fsm.Backfill{ID: id, From: noon, Next: noon,
		To: noon.Add(time.Duration(n-1) * 2 * time.Second), Total: n, Parallel: parallel}})
}

func (c *cluster) filled() {
	c.tb.Helper()
	testutil.Eventually(c.tb, 30*time.Second, func() error {
		if b := c.schedule().Backfill; b.Active() {
			return fmt.Errorf("the backfill has not ended: %+v", b)
		}
		return nil
	})
}

// A backfill makes a run for each tick of its interval, whose modules see the tick, and
// no more of them at once than it may.
func TestOrchestrator_backfill(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Hour)}
	c := newCluster(t, 4)
	c.now = clock.now
	var mu sync.Mutex
	var most, now int
	seen := map[string]int{}
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		mu.Lock()
		now++
		most = max(most, now)
		seen[s.Tick]++
		mu.Unlock()
		defer func() { mu.Lock(); now--; mu.Unlock() }()
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapSkip, CatchUp: pipeline.CatchUpNone, Timezone: "Asia/Kolkata"})
	c.planned()
	c.backfill("a", 20, 3)
	c.filled()

	c.wantTicks(noon, 20)
	if most > 3 || len(seen) != 20 || seen["2026-06-01T17:30:38+05:30"] != 1 {
		t.Errorf("%d ran at once; the ticks were %v", most, seen)
	}
	if b := c.schedule().Backfill; b.Made != 20 || b.Succeeded != 20 || b.Had+b.Failed != 0 {
		t.Errorf("got %+v", b)
	}

	// The same interval, and ten ticks more.
	c.backfill("b", 30, 5)
	c.filled()
	c.wantTicks(noon, 30)
	if b := c.schedule().Backfill; b.Made != 10 || b.Had != 20 {
		t.Errorf("got %+v", b)
	}
}

// Leaders come and go during a backfill, and proposals whose fate is not known are made
// again: each tick has one run.
func TestOrchestrator_backfillThroughLeaders(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Hour)}
	c := newCluster(t, 4)
	c.now = clock.now
	end := c.lead(fast)
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapSkip, CatchUp: pipeline.CatchUpNone})
	c.planned()
	c.backfill("a", 60, 2)
	for i := range 5 {
		testutil.Eventually(t, 30*time.Second, func() error {
			if b := c.schedule().Backfill; b.Made < 10*(i+1) {
				return fmt.Errorf("%d runs were made", b.Made)
			}
			return nil
		})
		c.log.mu.Lock()
		c.log.forget = true
		c.log.mu.Unlock()
		end()
		end = c.lead(fast)
	}
	c.filled()
	end()
	c.wantTicks(noon, 60)
	if b := c.schedule().Backfill; b.Made != 60 || b.Succeeded != 60 {
		t.Errorf("got %+v", b)
	}
}

// A backfill goes on when the runs of one that was stopped have finished.
func TestOrchestrator_backfillAfterStopped(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Hour)}
	c := newCluster(t, 4)
	c.now = clock.now
	finish := make(chan struct{})
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
		<-finish
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapSkip, CatchUp: pipeline.CatchUpNone})
	c.planned()
	c.backfill("a", 2, 2)
	testutil.Eventually(t, 30*time.Second, func() error {
		if b := c.schedule().Backfill; b.Made < 2 {
			return fmt.Errorf("%d runs were made", b.Made)
		}
		return nil
	})

	c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleBackfillStop})
	c.backfill("b", 4, 1)
	close(finish)
	c.filled()
	c.wantTicks(noon, 4)
	if b := c.schedule().Backfill; b.Made != 2 || b.Had != 2 || b.Succeeded != 2 {
		t.Errorf("got %+v", b)
	}
}

// A backfill leaves the ticks that the schedule has not decided yet to the schedule.
func TestOrchestrator_backfillUpToNow(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Millisecond)}
	c := newCluster(t, 4)
	c.now = clock.now
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapAllow, CatchUp: pipeline.CatchUpAll})
	c.planned()
	c.backfill("a", 3, 3)
	c.wantTicks(noon, 1)
	clock.add(4 * time.Second)
	c.filled()
	c.wantTicks(noon, 3)
	if b := c.schedule().Backfill; b.Made != 1 || b.Had != 2 {
		t.Errorf("got %+v", b)
	}
}
