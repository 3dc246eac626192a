package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// rollRetry is the pause after a change that could not be committed.
const rollRetry = time.Second

// RollConfig says what a Roll is made of. All fields are needed.
type RollConfig struct {
	State   *state.State
	Members func() []cluster.Member
	// Changes gives a channel that has an element after the members may have changed.
	Changes func() (changes <-chan struct{}, stop func())
	Logger  hclog.Logger
}

// Roll commits which nodes joined, were lost, returned and left, so that there are
// events of it. A member that is not listed says nothing: a node that has just started
// has not heard of all others yet.
type Roll struct{ cfg RollConfig }

// NewRoll makes a Roll.
func NewRoll(cfg RollConfig) *Roll { return &Roll{cfg} }

// Lead does the leader's duty until ctx ends.
func (r *Roll) Lead(ctx context.Context) {
	changes, stop := r.cfg.Changes()
	defer stop()
	for {
		var again <-chan time.Time
		if err := r.call(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Debug("changes of nodes were not committed", "error", err)
			again = time.After(rollRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-again:
		}
	}
}

// call commits what is different from what the state knows.
func (r *Roll) call(ctx context.Context) error {
	var known []fsm.NodeStatus
	if err := r.cfg.State.View(func(v *fsm.View) error { known = v.Nodes(); return nil }); err != nil {
		return err
	}
	var different []fsm.NodeStatus
	for _, m := range r.cfg.Members() {
		i, found := slices.BinarySearchFunc(known, m.ID, func(n fsm.NodeStatus, id pipeline.NodeID) int { return cmp.Compare(n.ID, id) })
		if !found && m.Status != cluster.StatusAlive || found && known[i].Status == m.Status {
			continue
		}
		different = append(different, fsm.NodeStatus{ID: m.ID, Name: m.Name, Status: m.Status})
	}
	if len(different) == 0 {
		return nil
	}
	_, err := r.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Nodes: &fsm.Nodes{Nodes: different[:min(len(different), fsm.MaxNodes)]}})
	return err
}
