package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// What waits in all runs is listed once for each reason of a run, without what waits
// for other modules of its run; those are counted.
func TestOrchestrator_WaitingEverywhere(t *testing.T) {
	c := newCluster(t, 1)
	hold := make(chan struct{})
	c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome {
		<-hold
		return &pipeline.Outcome{State: pipeline.AttemptSucceeded}
	}
	defer c.lead(fast)()
	first := c.submitTo("", false, "first", layers(2, 5))
	p := layers(1, 1)
	p.Modules[0].Requires.Tags = []string{"gpu"}
	second := c.submitTo("", false, "second", p)

	testutil.Eventually(t, 20*time.Second, func() error {
		list, kinds, err := c.orch.Load().WaitingEverywhere(context.Background(), 10)
		if err != nil {
			return err
		}
		a, b := list[first], list[second]
		if len(a) != 1 || a[0].Kind != "slots" || a[0].Count < 1 || len(a[0].Modules) == 0 || len(a[0].Modules) > pipeline.MaxWaitingNames || a[0].Since.IsZero() {
			return fmt.Errorf("of first: %+v", a)
		}
		if len(b) != 1 || b[0].Kind != "tags" || !slices.Equal(b[0].Modules, []string{"m0-0"}) {
			return fmt.Errorf("of second: %+v", b)
		}
		if kinds["dependency"] != 5 || kinds["tags"] != 1 || kinds["slots"] != a[0].Count {
			return fmt.Errorf("kinds: %v", kinds)
		}
		if few, _, _ := c.orch.Load().WaitingEverywhere(context.Background(), 1); len(few) != 1 {
			return fmt.Errorf("with a limit of 1: %+v", few)
		}
		return nil
	})
	close(hold)
	c.ends(first, pipeline.RunSucceeded)
}
