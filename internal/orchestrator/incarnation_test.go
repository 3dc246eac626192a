package orchestrator_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

// A worker whose keeper was started anew refuses what is meant for the former
// one. It says so with the answer to the dispatch, and with its report, whichever
// comes first: the next attempt is meant for the new one, and no second one is lost.
func TestOrchestrator_keeperStartedAnew(t *testing.T) {
	c := newCluster(t, 1)
	c.execute = func(w *fakeWorker, s pipeline.Spec) *pipeline.Outcome {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.life = "-2"
		if s.Incarnation != "i-w1-2" {
			return &pipeline.Outcome{State: pipeline.AttemptLost, Reason: "started anew"}
		}
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(orchestrator.Timing{Sync: time.Hour})()
	mods := c.ends(c.submit("r", pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "a", Command: []string{"true"}}}}), pipeline.RunSucceeded)
	if m := mods["a"]; m.Losses != 1 {
		t.Errorf("lost %d times", m.Losses)
	}
}
