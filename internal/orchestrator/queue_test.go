package orchestrator_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// submitTo commits a run in a concurrency group.
func (c *cluster) submitTo(group string, cancels bool, id string, p pipeline.Pipeline) pipeline.RunID {
	c.tb.Helper()
	raw, err := fsm.EncodeDefinition(&p)
	if err != nil {
		c.tb.Fatal(err)
	}
	v, err := c.propose(&fsm.Command{At: time.Now(), Submit: &fsm.Submit{Definition: raw,
		Run: pipeline.Run{ID: pipeline.RunID(id), Pipeline: p.Name, Modules: len(p.Modules), Group: group, Cancels: cancels}}})
	if err != nil || v.(fsm.SubmitResult).Err != nil {
		c.tb.Fatal(err, v)
	}
	return pipeline.RunID(id)
}

// witness notes which runs have attempts at the same time.
type witness struct {
	mu    sync.Mutex // guards following
	now   map[pipeline.RunID]int
	order []pipeline.RunID
	both  []string
}

func (w *witness) enter(id pipeline.RunID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now == nil {
		w.now = map[pipeline.RunID]int{}
	}
	if w.now[id]++; len(w.now) > 1 {
		w.both = append(w.both, fmt.Sprint(w.now))
	}
	if n := len(w.order); n == 0 || w.order[n-1] != id {
		w.order = append(w.order, id)
	}
}

func (w *witness) exit(id pipeline.RunID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[id]--; w.now[id] == 0 {
		delete(w.now, id)
	}
}

// Runs of a group go one after the other, in the order in which they came, also
// while leaders come and go.
func TestOrchestrator_group(t *testing.T) {
	c := newCluster(t, 2, 2)
	var w witness
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		w.enter(s.ID.Run)
		<-time.After(time.Millisecond)
		w.exit(s.ID.Run)
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	end := c.lead(fast)
	var ids []pipeline.RunID
	for i := range 12 {
		ids = append(ids, c.submitTo("g", false, fmt.Sprintf("r%02d", i), layers(2, 3)))
	}
	for _, i := range []int{1, 4, 7} {
		c.ends(ids[i], pipeline.RunSucceeded)
		end()
		end = c.lead(fast)
	}
	for _, id := range ids {
		c.ends(id, pipeline.RunSucceeded)
	}
	end()
	if len(w.both) > 0 {
		t.Errorf("two runs of the group at once: %v", w.both)
	}
	if got := fmt.Sprint(w.order); got != fmt.Sprint(ids) {
		t.Errorf("got %v, want them in order", got)
	}
}

func TestOrchestrator_groupWaits(t *testing.T) {
	c := newCluster(t, 4)
	hold := make(chan struct{})
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		if s.ID.Run == "first" {
			<-hold
		}
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	p := layers(1, 1)
	p.Timeout = 100 * time.Millisecond // does not count while the run waits for its turn
	first := c.submitTo("g", false, "first", layers(1, 1))
	second := c.submitTo("g", false, "second", p)
	other := c.submitTo("h", false, "other", layers(1, 1))
	c.ends(other, pipeline.RunSucceeded)
	testutil.Eventually(t, 20*time.Second, func() error {
		why, err := c.orch.Load().Waiting(context.Background(), second)
		if err != nil {
			return err
		}
		if got := why["m0-0"]; !strings.Contains(got, `waits for run first, which holds the concurrency group "g"`) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	// Cancelled before its turn, nothing of a run is started, not even what always runs.
	q := layers(1, 1)
	q.Modules[0].AlwaysRun = true
	third := c.submitTo("g", false, "third", q)
	if _, err := c.propose(&fsm.Command{At: time.Now(), Cancel: &fsm.Cancel{Run: third}}); err != nil {
		t.Fatal(err)
	}
	for name, m := range c.ends(third, pipeline.RunCancelled) {
		if m.State != pipeline.ModuleCancelled || len(m.Attempts) > 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	<-time.After(300 * time.Millisecond)
	if r, _ := c.run(second); r.State != pipeline.RunWaiting {
		t.Errorf("the second is %s: %s", r.State, r.Reason)
	}
	close(hold)
	c.ends(first, pipeline.RunSucceeded)
	c.ends(second, pipeline.RunSucceeded)
}

func TestOrchestrator_groupCancels(t *testing.T) {
	c := newCluster(t, 4)
	c.execute = func(_ *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		if s.ID.Run == "last" {
			return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
		}
		return nil // until it is stopped
	}
	defer c.lead(fast)()
	var ids []pipeline.RunID
	for i := range 4 {
		ids = append(ids, c.submitTo("g", true, fmt.Sprintf("r%d", i), layers(1, 2)))
	}
	last := c.submitTo("g", true, "last", layers(1, 2))
	c.ends(last, pipeline.RunSucceeded)
	for i, id := range ids {
		c.ends(id, pipeline.RunCancelled)
		next := "last"
		if i+1 < len(ids) {
			next = string(ids[i+1])
		}
		if r, _ := c.run(id); r.Reason != fmt.Sprintf(`run %s replaced it in the concurrency group "g"`, next) {
			t.Errorf("%s: %s", id, r.Reason)
		}
	}
}
