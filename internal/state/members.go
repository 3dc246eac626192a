package state

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// shortID is how much of a node's id stands for its unknown name, in characters.
const shortID = 12

// members is what this node knows of the others. Its exported methods are those of
// State.
type members struct {
	self    pipeline.NodeID
	cluster Cluster
	// lastLeader is the leader that was known last; nil if none was.
	lastLeader atomic.Pointer[pipeline.NodeID]
}

// LeaderID is the node that leads, as far as this node knows. It may be this
// node before its orchestrator is ready. The error is pipeline.ErrNoLeader.
func (ms *members) LeaderID() (pipeline.NodeID, error) {
	m, _, ok := ms.cluster.Leader()
	if !ok {
		return "", pipeline.ErrNoLeader
	}
	if last := ms.lastLeader.Load(); last == nil || *last != m.ID {
		id := m.ID
		ms.lastLeader.Store(&id)
	}
	return m.ID, nil
}

// otherLeader is LeaderID for a node that does not lead itself. A node that was
// elected but is not ready yet has no leader to ask: ErrNoLeader.
func (ms *members) otherLeader() (pipeline.NodeID, error) {
	id, err := ms.LeaderID()
	if err == nil && id == ms.self {
		err = pipeline.ErrNoLeader
	}
	return id, err
}

// HasState reports whether the replicated state is on this node: it is on every
// node that takes part in raft.
func (ms *members) HasState() bool {
	self := ms.cluster.Self()
	return self.Mode != pipeline.ModeWorker && self.RaftRole != cluster.RoleNone
}

// Replicas lists the other nodes that are alive and have the state.
func (ms *members) Replicas() []pipeline.NodeID {
	var list []pipeline.NodeID
	for _, m := range ms.cluster.Members() {
		if m.ID != ms.self && m.Status == cluster.StatusAlive && m.RaftRole != cluster.RoleNone {
			list = append(list, m.ID)
		}
	}
	return list
}

// Relays lists the replicas that may reach a leader while this node knows none: not the
// one that led last, unless it is the only one. The others may count it as alive, and
// it would keep a call waiting if the link to it is cut.
func (ms *members) Relays() []pipeline.NodeID {
	all := ms.Replicas()
	last := ms.lastLeader.Load()
	if last == nil || len(all) < 2 {
		return all
	}
	return slices.DeleteFunc(all, func(id pipeline.NodeID) bool { return id == *last })
}

// Others lists the other nodes that are alive: those of preferred first.
func (ms *members) Others(preferred ...pipeline.NodeID) []pipeline.NodeID {
	var first, rest []pipeline.NodeID
	for _, m := range ms.cluster.Members() {
		switch {
		case m.ID == ms.self || m.Status != cluster.StatusAlive:
		case slices.Contains(preferred, m.ID):
			first = append(first, m.ID)
		default:
			rest = append(rest, m.ID)
		}
	}
	return append(first, rest...)
}

// Now is the time by the clocks of most nodes, for a time that another node
// compares with its own clock: this node's may be wrong.
func (ms *members) Now() time.Time {
	var ahead []time.Duration
	for _, m := range ms.cluster.Members() {
		if m.ID == ms.self || m.Status == cluster.StatusAlive {
			ahead = append(ahead, m.ClockAhead)
		}
	}
	slices.Sort(ahead)
	now := time.Now().UTC()
	if len(ahead) > 0 {
		now = now.Add(ahead[len(ahead)/2])
	}
	return now
}

// whileLeading gives a context that ends when the leader is lost: one that is
// stopped or cut off keeps its connections open and answers nothing.
func (ms *members) whileLeading(ctx context.Context, leader pipeline.NodeID) (watched context.Context, stop func()) {
	return ms.watch(ctx, func() bool {
		now, err := ms.LeaderID()
		return err != nil || now != leader
	})
}

// watch gives a context that ends, with errLeaderChanged, once over reports true
// after a change of members or leader.
func (ms *members) watch(ctx context.Context, over func() bool) (watched context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changes, unsubscribe := ms.cluster.Changes()
	done := make(chan struct{})
	go func() { // ends with ctx, and stop waits for it
		defer close(done)
		for {
			// Subscribed before the first look, so that no change is missed.
			if over() {
				cancel(errLeaderChanged)
				return
			}
			select {
			case <-changes:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
		unsubscribe()
	}
}

// NodeName is a node's or an external worker's name, or the beginning of its id
// if no name is known.
func (s *State) NodeName(id pipeline.NodeID) string {
	for _, m := range s.cluster.Members() {
		if m.ID == id {
			return m.Name
		}
	}

	var name string
	_ = s.store.View(func(v *fsm.View) error { // if it is closed, the id will do
		if w, ok := v.Worker(id); ok {
			name = w.Name
		}
		return nil
	})
	switch {
	case name != "":
		return name
	case id.External():
		return strings.TrimPrefix(string(id), pipeline.ExternalPrefix)
	}
	return string(id[:min(len(id), shortID)])
}
