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

// noon is when the clocks of the tests begin.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// fakeClock is a clock that a test sets.
type fakeClock struct {
	mu sync.Mutex // guards following
	at time.Time
}

func (f *fakeClock) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *fakeClock) add(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = f.at.Add(d)
}

// register registers a schedule of every two seconds.
func (c *cluster) register(s pipeline.Schedule) {
	c.tb.Helper()
	if s.Cron == nil {
		s.Cron = []string{"*/2 * * * * *"}
	}
	p := layers(1, 1)
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleRegister, Definition: raw, Record: fsm.ScheduleRecord{Schedule: s, Modules: 1}})
}

func (c *cluster) change(op *fsm.ScheduleChange) {
	c.tb.Helper()
	v, err := c.propose(&fsm.Command{At: time.Now(), Schedule: op})
	if err != nil || v.(fsm.FireResult).Err != nil {
		c.tb.Fatal(err, v)
	}
}

// planned waits until the next tick of the schedule is set.
func (c *cluster) planned() {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if c.schedule().Next.IsZero() {
			return fmt.Errorf("the next tick is not known")
		}
		return nil
	})
}

func (c *cluster) schedule() (rec fsm.ScheduleRecord) {
	_ = c.store.View(func(v *fsm.View) error { rec, _ = v.Schedule("s"); return nil })
	return rec
}

// ticks gives the ticks that have a run which is over, oldest first.
func (c *cluster) ticks() (out []time.Time) {
	_ = c.store.View(func(v *fsm.View) error {
		v.Runs(0, func(r pipeline.Run) bool {
			if r.State.Final() {
				out = append([]time.Time{r.Tick}, out...)
			}
			return true
		})
		return nil
	})
	return out
}

// wantTicks waits until exactly the ticks from one on have runs that are over.
func (c *cluster) wantTicks(from time.Time, n int) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		if got := len(c.ticks()); got < n {
			return fmt.Errorf("%d ticks have runs that are over, want %d", got, n)
		}
		return nil
	})
	for i, at := range c.ticks() {
		if want := from.Add(time.Duration(i) * 2 * time.Second); !at.Equal(want) || i >= n {
			c.tb.Fatalf("run %d of %d is for %s, want %s", i+1, n, at, want)
		}
	}
}

func TestOrchestrator_schedule(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Millisecond)}
	c := newCluster(t, 4)
	c.now = clock.now
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapAllow, CatchUp: pipeline.CatchUpNone})
	c.planned()
	for i := range 5 {
		clock.add(2 * time.Second)
		c.wantTicks(noon.Add(2*time.Second), i+1)
	}
	c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.SchedulePause})
	clock.add(time.Hour)
	c.change(&fsm.ScheduleChange{Name: "s", Do: fsm.ScheduleResume})
	c.planned()
	clock.add(2 * time.Second)
	testutil.Eventually(t, 20*time.Second, func() error {
		if got := c.schedule(); got.Fired != 6 {
			return fmt.Errorf("%d ticks made runs", got.Fired)
		}
		return nil
	})
	if rec := c.schedule(); rec.Skipped != 0 || !rec.Last.Equal(noon.Add(time.Hour+12*time.Second)) {
		t.Errorf("what was due while it was paused was not passed over: %+v", rec)
	}
}

// Leaders come and go while ticks pass: each has one run.
func TestOrchestrator_scheduleThroughLeaders(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Millisecond)}
	c := newCluster(t, 4)
	c.now = clock.now
	end := c.lead(fast)
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapQueue, CatchUp: pipeline.CatchUpAll})
	c.planned()
	n := 0
	for range 6 {
		end()
		for range 3 { // no leader
			clock.add(2 * time.Second)
			n++
		}
		end = c.lead(fast)
		clock.add(2 * time.Second)
		n++
		c.wantTicks(noon.Add(2*time.Second), n)
	}
	end()
}

// A proposal whose fate is not known is made again and takes effect once.
func TestOrchestrator_scheduleUnknownOutcome(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Millisecond)}
	c := newCluster(t, 4)
	c.now = clock.now
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapAllow, CatchUp: pipeline.CatchUpAll})
	c.planned()
	for i := range 10 {
		c.log.mu.Lock()
		c.log.forget = true
		c.log.mu.Unlock()
		clock.add(2 * time.Second)
		testutil.Eventually(t, 20*time.Second, func() error {
			c.log.mu.Lock()
			defer c.log.mu.Unlock()
			if c.log.forget {
				return fmt.Errorf("nothing was proposed")
			}
			return nil
		})
		clock.add(time.Millisecond)
		c.wantTicks(noon.Add(2*time.Second), i+1)
	}
	if rec := c.schedule(); rec.Fired != 10 || rec.Skipped != 0 {
		t.Errorf("got %+v", rec)
	}
}

func TestOrchestrator_scheduleSkips(t *testing.T) {
	clock := &fakeClock{at: noon.Add(time.Millisecond)}
	c := newCluster(t, 4)
	c.now = clock.now
	hold := make(chan struct{})
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
		<-hold
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	c.register(pipeline.Schedule{Overlap: pipeline.OverlapSkip, CatchUp: pipeline.CatchUpLast})
	c.planned()
	for i := range 3 {
		clock.add(2 * time.Second)
		testutil.Eventually(t, 20*time.Second, func() error {
			if rec := c.schedule(); rec.Fired != 1 || int(rec.Skipped) != i {
				return fmt.Errorf("%d made runs, %d were skipped; want 1 and %d", rec.Fired, rec.Skipped, i)
			}
			return nil
		})
	}
	close(hold)
	c.wantTicks(noon.Add(2*time.Second), 1)
}
