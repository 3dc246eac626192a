package cluster

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

// leaderAnswer is what a node says when asked who leads.
type leaderAnswer struct {
	Cluster string             `json:"cluster"`
	Leader  pipeline.NodeID    `json:"leader,omitempty"`
	Term    uint64             `json:"term"`
	Servers []consensus.Server `json:"servers,omitempty"`
}

func (c *Cluster) leaderAnswer() leaderAnswer {
	a := leaderAnswer{Cluster: c.ID()}
	if id, term, ok := c.leader(); ok {
		a.Leader, a.Term = id, term
	}
	if node, _ := c.current(); node != nil {
		a.Servers = node.Servers()
	}
	return a
}

// askSoon makes the node ask the others who leads.
func (c *Cluster) askSoon() {
	select {
	case c.askNow <- struct{}{}:
	default:
	}
}

// askLoop asks others who leads whenever that is wanted, at most every now and
// then. Their answer comes over mutual TLS, so that raft may rely on it. A node
// without a part in raft asks from time to time, too, as gossip may be late.
func (c *Cluster) askLoop(ctx context.Context) error {
	const (
		pause    = 100 * time.Millisecond
		outsider = 3 * time.Second
	)
	tick := time.NewTicker(outsider)
	defer tick.Stop()
	for {
		around := true
		select {
		case <-ctx.Done():
			return nil
		case <-c.askNow:
		case <-tick.C:
			around = !c.leaderHolds(ctx)
		}
		if around && c.ID() != "" {
			if err := c.askAround(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// leaderHolds reports whether there is no need to ask around: this node has a
// part in raft, or the one it takes for the leader says so, too.
func (c *Cluster) leaderHolds(ctx context.Context) bool {
	if c.inRaft() || c.ID() == "" {
		return true
	}
	id, term, ok := c.leader()
	if !ok {
		return false
	}
	var a leaderAnswer
	err := c.ask(ctx, string(id), "/cluster/leader", &a)
	return err == nil && a.Leader == id && a.Term == term
}

// inRaft reports whether this node is in raft's configuration, as far as it
// knows.
func (c *Cluster) inRaft() bool {
	node, _ := c.current()
	return node != nil && inServers(node.Servers(), string(c.cfg.NodeID))
}

// askAround takes the answer with the highest term of a few members.
func (c *Cluster) askAround(ctx context.Context) error {
	const enough = 5
	members := c.gossip.Members()
	sort.SliceStable(members, func(i, j int) bool { return rank(members[i]) < rank(members[j]) })
	asked := 0
	for _, m := range members {
		if m.ID == string(c.cfg.NodeID) || m.Status != gossip.Alive || m.Meta.Cluster != c.ID() || asked >= enough {
			continue
		}
		asked++
		var a leaderAnswer
		if err := c.ask(ctx, m.ID, "/cluster/leader", &a); err != nil {
			c.log.Debug("cannot ask who leads", "error", err)
			continue
		}
		if a.Cluster != c.ID() || a.Leader == "" {
			continue
		}
		if err := c.checkLost(a); err != nil {
			return err
		}
		c.mu.Lock()
		newer := a.Term > c.named.Term || a.Term == c.named.Term && a.Leader != c.named.Leader
		if newer {
			c.named = a
		}
		c.mu.Unlock()
		if newer {
			c.Refresh()
		}
	}
	return nil
}

// checkLost recognizes a voter that has lost its log. It would vote and
// acknowledge again what it has forgotten (reliability H14).
func (c *Cluster) checkLost(a leaderAnswer) error {
	node, _ := c.current()
	if node == nil || node.HasState() {
		return nil
	}
	for _, s := range a.Servers {
		if s.ID == string(c.cfg.NodeID) && s.Suffrage == consensus.Voter {
			return errors.New("this node is a voter of the cluster and has lost raft's log: remove the whole data directory; it joins as a new node then, and the old one is replaced")
		}
	}
	return nil
}
