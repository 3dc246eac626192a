package faults

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// moveInterval is the time between two moves: far less than gossip needs to accept a
// member at another address.
const moveInterval = 3 * time.Second

// Nodes that move to new addresses one soon after another find each other without -join:
// all of three, killed or stopped; all of three twice; and both of two.
func TestMove_oneAfterAnother(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes, rounds int
		end           func(*harness.Node)
	}{
		"killed":  {3, 1, (*harness.Node).Kill},
		"stopped": {3, 1, (*harness.Node).Term},
		"twice":   {3, 2, (*harness.Node).Kill},
		"of two":  {2, 1, (*harness.Node).Kill},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, tc.nodes)
			x := newCaller(t, c)
			id, a := x.submit(c.Leader(), pausedPipeline, "")
			if id == "" {
				t.Fatalf("submit: %d %s", a.status, a.body)
			}
			for round := range tc.rounds {
				for i, n := range c.Nodes {
					tc.end(n)
					n.Move(10*(round+1) + i)
					n.Start()
					<-time.After(moveInterval)
				}
			}
			began := time.Now()
			c.Whole()
			t.Logf("whole %s after the last move", time.Since(began).Round(100*time.Millisecond))
			if r, err := c.Run(id); err != nil || r.State != pipeline.RunSucceeded && r.State != pipeline.RunRunning {
				t.Errorf("the run from before: %v, %v", r.State, err)
			}
		})
	}
}
