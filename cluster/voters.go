package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// deadAfter is how long a node must have failed before it is replaced.
	deadAfter = 10 * time.Second
	// maxBehind is how many entries a standby may miss to be given a vote.
	maxBehind = 256
	// changeInterval is how often the leader compares raft's configuration with
	// the members although nothing has changed.
	changeInterval = time.Second
)

// voterManager is the leader's duty towards raft's configuration: it chooses which
// nodes vote and which stand by. Only the goroutine that runs manage uses it.
type voterManager struct {
	view    *view
	changes *subscribers
	log     hclog.Logger
	// clusterID is the id of this node's cluster.
	clusterID func() string
	// ask puts one of the cluster's own questions to a node.
	ask func(ctx context.Context, id, path string, out any) error

	// unseen is since when a server of raft's configuration is unknown to
	// gossip.
	unseen map[string]time.Time
}

// manage brings raft's configuration to what the members allow. It is
// level-triggered: it compares the two at the beginning of its term, at every
// change, and every second.
func (v *voterManager) manage(ctx context.Context, term uint64) error {
	node := v.view.replica.get()
	if node == nil {
		return nil
	}
	// Everything committed earlier must be applied here first: the plan starts
	// from the newest configuration.
	if err := node.Barrier(ctx); err != nil {
		return err
	}

	v.unseen = map[string]time.Time{}
	changed, stop := v.changes.add()
	defer stop()
	tick := time.NewTicker(changeInterval)
	defer tick.Stop()
	for {
		for v.improve(ctx, node, term) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// improve makes the next change. It reports whether there may be another.
func (v *voterManager) improve(ctx context.Context, node *consensus.Node, term uint64) bool {
	if ctx.Err() != nil {
		return false
	}
	in := v.planInput(node.Servers(), time.Now())
	in.caughtUp = func(id string) bool { return v.caughtUp(ctx, node, id, term) }
	s := plan(in)
	var err error
	switch s.change {
	case changeNone:
		return false
	case changeAdd:
		err = node.AddStandby(ctx, s.id, in.servers)
	case changePromote:
		if !v.allKnow(ctx, node, in) {
			return false
		}
		err = node.AddVoter(ctx, s.id, in.servers)
	case changeDemote:
		err = node.Demote(ctx, s.id, in.servers)
	case changeRemove:
		err = node.Remove(ctx, s.id, in.servers)
	case changeTransfer:
		err = node.TransferLeadership(ctx)
	}
	name := s.id
	if m, ok := v.view.gossip.Member(s.id); ok {
		name = m.Meta.Name
	}
	if err != nil {
		if ctx.Err() == nil {
			v.log.Warn("cannot change the cluster's voters", "change", s.change.String(), "node", name, "error", err)
		}
		return false
	}
	v.log.Info("changed the cluster's voters", "change", s.change.String(), "node", name, "because", s.why)
	return s.change != changeTransfer // then another node makes the next one
}

// String names the change for the log.
func (c change) String() string {
	return [...]string{"none", "standby", "voter", "voter to standby", "remove", "hand over"}[c]
}

// planInput is what the plan is made from: the members of this moment.
func (v *voterManager) planInput(servers []consensus.Server, now time.Time) planInput {
	in := planInput{self: string(v.view.self), servers: servers, nodes: map[string]candidate{}}
	clusterID := v.clusterID()
	for _, m := range v.view.gossip.Members() {
		if m.Status == gossip.Alive && m.Meta.Cluster != clusterID {
			continue // it has not joined yet
		}
		in.nodes[m.ID] = candidate{id: m.ID,
			eligible:  m.Meta.Mode == pipeline.ModeAuto || m.Meta.Mode == pipeline.ModeOrchestrator,
			alive:     m.Status == gossip.Alive,
			dead:      m.Status == gossip.Failed && now.Sub(m.Since) >= deadAfter,
			gone:      m.Status == gossip.Left || m.Meta.Leaving,
			preferred: m.Meta.Mode == pipeline.ModeOrchestrator,
		}
	}

	// A server that gossip does not know counts as dead after the same time.
	for _, s := range in.servers {
		if _, ok := in.nodes[s.ID]; ok {
			delete(v.unseen, s.ID)
			continue
		}
		since, ok := v.unseen[s.ID]
		if !ok {
			since = now
			v.unseen[s.ID] = now
		}
		in.nodes[s.ID] = candidate{id: s.ID, eligible: true, dead: now.Sub(since) >= deadAfter}
	}
	return in
}

// caughtUp asks a standby whether it follows this leader in this term and misses
// few entries.
func (v *voterManager) caughtUp(ctx context.Context, node *consensus.Node, id string, term uint64) bool {
	last := node.Status().LastIndex
	var s consensus.Status
	if err := v.ask(ctx, id, pathStatus, &s); err != nil {
		v.log.Debug("cannot ask a standby how far it is", "error", err)
		return false
	}
	return follows(s, string(v.view.self), term, last)
}

// follows reports whether a standby with this status follows the leader of the
// term and misses few of its entries up to last. An empty log never does, be
// the leader's as short as it may: a voter without a log takes it for lost.
func follows(s consensus.Status, leader string, term, last uint64) bool {
	return s.Term == term && s.Leader == leader && s.LastIndex > 0 && s.LastIndex+maxBehind >= last
}

// allKnow waits, within askTimeout, until every voter that answers has the
// present configuration in its log. Two changes in a row must not both be
// unknown to a voter: if the leader dies between them, it could refuse its vote
// to every candidate.
func (v *voterManager) allKnow(ctx context.Context, node *consensus.Node, in planInput) bool {
	now := node.Status()
	want := now.Configured
	if want == 0 {
		want = now.LastIndex
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, s := range in.servers {
		if s.Suffrage != consensus.Voter || s.ID == in.self || !in.nodes[s.ID].alive {
			continue
		}
		for {
			var status consensus.Status
			if err := v.ask(ctx, s.ID, pathStatus, &status); err != nil || status.LastIndex >= want {
				break
			}
			select {
			case <-ctx.Done():
				return false
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return ctx.Err() == nil
}
