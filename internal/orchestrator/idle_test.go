package orchestrator_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

// TestLead_idle: a leader without work commits nothing, however many finished runs
// there are and whether or not the oldest is pinned. The limits of what is kept are
// applied elsewhere, with the configured numbers.
func TestLead_idle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const runs = 10_002
		c := newCluster(t, 1)
		var entries []*raft.Log
		add := func(cmd *fsm.Command) {
			b, err := fsm.Encode(cmd)
			if err != nil {
				t.Fatal(err)
			}
			c.log.index++
			entries = append(entries, &raft.Log{Index: c.log.index, Term: 1, Type: raft.LogCommand, Data: b})
		}
		for i := range runs {
			id := pipeline.RunID(fmt.Sprintf("run-%05d", i))
			add(&fsm.Command{Submit: &fsm.Submit{Run: pipeline.Run{ID: id, Pipeline: "p"}}})
			add(&fsm.Command{Batch: &fsm.Batch{Runs: []fsm.RunEnd{{Run: id, State: pipeline.RunSucceeded}}}})
		}
		add(&fsm.Command{Pin: &fsm.Pin{Run: "run-00000", Pinned: true}})
		c.store.ApplyBatch(entries)
		if r, _ := c.run("run-00000"); !r.Pinned || !r.State.Final() {
			t.Fatalf("the oldest run is %+v", r)
		}
		defer c.lead(orchestrator.Timing{})()
		pass(time.Second) // the election is one entry
		before := c.store.Index()
		pass(time.Minute) // everything periodic has happened

		if now := c.store.Index(); now != before {
			t.Errorf("%d entries were committed", now-before)
		}
		left := 0
		if err := c.store.View(func(v *fsm.View) error {
			v.Runs(0, func(pipeline.Run) bool { left++; return true })
			return nil
		}); err != nil || left != runs {
			t.Errorf("%d of %d runs are left, %v", left, runs, err)
		}
	})
}
