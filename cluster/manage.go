package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// deadAfter is how long a node must have failed before it is replaced.
	deadAfter = 10 * time.Second
	// nearly is how many entries a standby may lack to be given a vote.
	nearly = 256
	// leaveWait bounds the wait for the word of our leaving to go out.
	leaveWait = 3 * time.Second
)

// manage is the leader's duty towards raft's configuration. Only the leader
// changes it, level-triggered: at the beginning of its term, at every change,
// and every second.
func (c *Cluster) manage(ctx context.Context, term uint64) error {
	node, _ := c.current()
	if node == nil {
		return nil
	}
	if err := node.Barrier(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	clear(c.unseen)
	c.mu.Unlock()
	changed, stop := c.Changes()
	defer stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for c.improve(ctx, node, term) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// improve makes the next change; it reports whether there may be another.
func (c *Cluster) improve(ctx context.Context, node *consensus.Node, term uint64) bool {
	if ctx.Err() != nil {
		return false
	}
	in := c.planInput(ctx, node, term)
	s := plan(in)
	var err error
	switch s.change {
	case changeNone:
		return false
	case changeAdd:
		err = node.AddStandby(ctx, s.id, in.servers)
	case changePromote:
		if !c.allKnow(ctx, node, in) {
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
	if m, ok := c.gossip.Member(s.id); ok {
		name = m.Meta.Name
	}
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("cannot change the cluster's voters", "change", s.change.String(), "node", name, "error", err)
		}
		return false
	}
	c.log.Info("changed the cluster's voters", "change", s.change.String(), "node", name, "because", s.why)
	return true
}

// String names the change for the log.
func (c change) String() string {
	return [...]string{"none", "standby", "voter", "voter to standby", "remove", "hand over"}[c]
}

// planInput is what the plan sees now.
func (c *Cluster) planInput(ctx context.Context, node *consensus.Node, term uint64) planInput {
	in := planInput{self: string(c.cfg.NodeID), servers: node.Servers(), nodes: map[string]candidate{}}
	in.caughtUp = func(id string) bool { return c.caughtUp(ctx, node, id, term) }
	now := time.Now()
	for _, m := range c.gossip.Members() {
		if m.Status == gossip.Alive && m.Meta.Cluster != c.ID() {
			continue // fresh, and not yet one of us
		}
		in.nodes[m.ID] = candidate{id: m.ID,
			eligible:  m.Meta.Mode == pipeline.ModeAuto || m.Meta.Mode == pipeline.ModeOrchestrator,
			alive:     m.Status == gossip.Alive,
			dead:      m.Status == gossip.Failed && now.Sub(m.Since) >= deadAfter,
			gone:      m.Status == gossip.Left || m.Meta.Leaving,
			preferred: m.Meta.Mode == pipeline.ModeOrchestrator,
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range in.servers {
		if _, ok := in.nodes[s.ID]; ok {
			delete(c.unseen, s.ID)
			continue
		}
		since, ok := c.unseen[s.ID]
		if !ok {
			since = now
			c.unseen[s.ID] = now
		}
		in.nodes[s.ID] = candidate{id: s.ID, eligible: true, dead: now.Sub(since) >= deadAfter}
	}
	return in
}

// caughtUp asks a standby how far it is.
func (c *Cluster) caughtUp(ctx context.Context, node *consensus.Node, id string, term uint64) bool {
	last := node.Status().LastIndex
	var s consensus.Status
	if err := c.ask(ctx, id, "/cluster/status", &s); err != nil {
		c.log.Debug("cannot ask a standby how far it is", "error", err)
		return false
	}
	return s.Term == term && s.Leader == string(c.cfg.NodeID) && s.LastIndex+nearly >= last
}

// allKnow waits, not for long, until every voter that answers has heard of the
// configuration that is now. A leader that dies between two changes leaves no
// voter behind, then, that knows nothing of both.
func (c *Cluster) allKnow(ctx context.Context, node *consensus.Node, in planInput) bool {
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
			var v consensus.Status
			if err := c.ask(ctx, s.ID, "/cluster/status", &v); err != nil || v.LastIndex >= want {
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

// TransferLeadership hands leadership over, if this node has it and there is
// another voter. It must be the last thing before the process ends: raft may
// refuse all writes for ever afterwards (reliability H2).
func (c *Cluster) TransferLeadership(ctx context.Context) error {
	node, _ := c.current()
	if node == nil || !node.IsLeader() {
		return nil
	}
	voters := 0
	for _, s := range node.Servers() {
		if s.Suffrage == consensus.Voter {
			voters++
		}
	}
	if voters < 2 {
		return nil
	}
	return node.TransferLeadership(ctx)
}

// Leave takes this node out of the cluster for good: it says so, waits until
// the leader has taken it out of raft, which it does only where a quorum stays,
// and leaves gossip. The node's id must not be used again; Open refuses the
// folder with ErrLeft. The only node of a cluster cannot leave. Where ctx ends
// first the node stays.
func (c *Cluster) Leave(ctx context.Context) error {
	others := false
	for _, m := range c.gossip.Members() {
		others = others || m.ID != string(c.cfg.NodeID) && m.Status == gossip.Alive && m.Meta.Cluster == c.ID() && !m.Meta.Leaving
	}
	if c.ID() == "" || !others {
		return pipeline.Errorf(pipeline.Conflict, "this is the only node of its cluster: nobody could go on; stop it instead, and remove its data directory")
	}
	c.leaving.Store(true)
	c.Refresh()
	if err := c.waitRemoved(ctx); err != nil {
		c.leaving.Store(false)
		c.Refresh()
		return err
	}
	if c.cfg.Mode != pipeline.ModeWorker {
		if err := os.WriteFile(filepath.Join(c.cfg.RaftDir, leftMark), nil, 0o600); err != nil {
			return pipeline.Errorf(pipeline.Internal, "note that the node has left: %w", err)
		}
	}
	if err := c.cfg.SaveIdentity("", nil); err != nil {
		return pipeline.Errorf(pipeline.Internal, "forget the cluster: %w", err)
	}
	if err := c.gossip.Leave(leaveWait); err != nil {
		c.log.Warn("left, but perhaps not everybody knows yet", "error", err)
	}
	return nil
}

// waitRemoved waits until the leader's configuration has no more of this node,
// and everybody in gossip may know that it leaves.
func (c *Cluster) waitRemoved(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		if !first {
			if out, err := c.removed(ctx); err == nil && out {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return pipeline.Errorf(pipeline.Timeout, "the node stays: the leader could not take it out yet, perhaps because no quorum would stay: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// removed asks the leader whether this node is out of raft's configuration.
func (c *Cluster) removed(ctx context.Context) (bool, error) {
	if c.cfg.Mode == pipeline.ModeWorker {
		return true, nil
	}
	id, _, ok := c.leader()
	if !ok {
		// A node that has been taken out hears of no leader through raft.
		c.askSoon()
		return false, errors.New("no leader")
	}
	if id == c.cfg.NodeID {
		return false, nil
	}
	var a leaderAnswer
	if err := c.ask(ctx, string(id), "/cluster/leader", &a); err != nil {
		return false, err
	}
	return a.Leader == id && !inServers(a.Servers, string(c.cfg.NodeID)), nil
}
