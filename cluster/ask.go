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
// then. Their answer comes over mutual TLS, so that raft may rely on it.
func (c *Cluster) askLoop(ctx context.Context) error {
	const pause = 100 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.askNow:
		}
		if c.ID() != "" {
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
