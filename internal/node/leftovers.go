package node

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// reasonProcessKilled is why a run ends that an earlier process left unfinished.
const reasonProcessKilled = "its process was killed"

// leftovers are the runs that an earlier process of an embedded node left.
type leftovers struct {
	cluster *cluster.Cluster
	state   *fsm.Store
}

// before wraps the duty of the leader: before its first term begins, the leftovers
// are cancelled, cleanup included. It must come before the orchestrator reads the
// state, which would resume them: their modules, those with always_run included,
// belong to a process that is gone, and would end with this one in the middle.
func (l leftovers) before(lead cluster.LeadFunc) cluster.LeadFunc {
	done := false // Lead never calls it twice at once
	return func(ctx context.Context, term uint64) error {
		if !done {
			if err := l.abandon(ctx); err != nil {
				return err
			}
			done = true
		}
		return lead(ctx, term)
	}
}

// abandon cancels every unfinished run, twice: the second cancellation also ends
// modules with always_run.
func (l leftovers) abandon(ctx context.Context) error {
	if err := l.cluster.Barrier(ctx); err != nil {
		return err
	}

	var left []pipeline.RunID
	err := l.state.View(func(v *fsm.View) error {
		for _, r := range v.Active() {
			left = append(left, r.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}

	for _, id := range left {
		for range 2 {
			raw, err := fsm.Encode(&fsm.Command{At: time.Now().UTC(),
				Cancel: &fsm.Cancel{Run: id, Reason: reasonProcessKilled, Request: service.RandomHex(16)}})
			if err != nil {
				return err
			}
			if _, _, err := l.cluster.Apply(ctx, raw); err != nil {
				return err
			}
		}
	}
	return nil
}
