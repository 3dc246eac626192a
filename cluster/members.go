package cluster

import (
	"context"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const gossipLeft = gossip.Left

// Members are all nodes that this one knows of, itself included, by id. Those
// that failed or left stay for a while.
func (c *Cluster) Members() []Member {
	roles := c.roles()
	known := c.gossip.Members()
	out := make([]Member, 0, len(known))
	for _, m := range known {
		out = append(out, c.member(m, roles))
	}
	return out
}

// Member finds a node by id.
func (c *Cluster) Member(id pipeline.NodeID) (Member, bool) {
	m, ok := c.gossip.Member(string(id))
	if !ok {
		return Member{}, false
	}
	return c.member(m, c.roles()), true
}

// Self is this node as the others are told.
func (c *Cluster) Self() Member {
	if m, ok := c.Member(c.cfg.NodeID); ok {
		return m
	}
	// Before gossip has started.
	a := c.Addresses()
	return c.member(gossip.Member{ID: string(c.cfg.NodeID), Addr: a.Gossip, IP: c.advertise(), Meta: c.gossip.Meta()}, c.roles())
}

// roles are what this node's raft knows: nil where it knows nothing and gossip
// has to tell.
func (c *Cluster) roles() map[string]string {
	node, _ := c.current()
	if node == nil {
		return nil
	}
	servers := node.Servers()
	if !inServers(servers, string(c.cfg.NodeID)) {
		return nil
	}
	leader, _, _ := node.Leader()
	out := make(map[string]string, len(servers))
	for _, s := range servers {
		switch {
		case s.Suffrage == consensus.Standby:
			out[s.ID] = RoleStandby
		case s.ID == leader:
			out[s.ID] = RoleLeader
		default:
			out[s.ID] = RoleVoter
		}
	}
	return out
}

func inServers(servers []consensus.Server, id string) bool {
	for _, s := range servers {
		if s.ID == id {
			return true
		}
	}
	return false
}

func (c *Cluster) member(m gossip.Member, roles map[string]string) Member {
	out := Member{ID: pipeline.NodeID(m.ID), Name: m.Meta.Name, Addr: m.Addr, PeerAddr: m.PeerAddr(),
		HTTPAddr: m.Meta.HTTPAddr, HTTPS: m.Meta.HTTPS, Mode: m.Meta.Mode, Slots: m.Meta.Slots, Load: m.Meta.Load,
		Incarnation: m.Meta.Incarnation, Draining: m.Meta.Draining, Leaving: m.Meta.Leaving, Version: m.Meta.Version,
		Status: StatusAlive, RaftRole: m.Meta.Role}
	switch m.Status {
	case gossip.Failed:
		out.Status = StatusFailed
	case gossip.Left:
		out.Status = StatusLeft
	}
	if roles != nil {
		out.RaftRole = roles[m.ID]
	}
	if out.RaftRole == "" {
		out.RaftRole = RoleNone
	}
	return out
}

// Leader is the member that leads, and its term, as far as this node knows. A
// node with a part in raft asks its own raft; the others go by what the leader
// tells through gossip and by what members answer.
func (c *Cluster) Leader() (m Member, term uint64, ok bool) {
	id, term, ok := c.leader()
	if !ok {
		return Member{}, 0, false
	}
	if m, ok = c.Member(id); !ok {
		m = Member{ID: id, RaftRole: RoleLeader}
	}
	return m, term, true
}

func (c *Cluster) leader() (pipeline.NodeID, uint64, bool) {
	var own uint64
	if node, _ := c.current(); node != nil && inServers(node.Servers(), string(c.cfg.NodeID)) {
		id, term, ok := node.Leader()
		if ok {
			return pipeline.NodeID(id), term, true
		}
		// Without a leader of its own a node that was replaced meanwhile may
		// still hear of a later one.
		own = term
	}
	var best pipeline.NodeID
	var term uint64
	for _, m := range c.gossip.Members() {
		if m.Meta.Role == RoleLeader && m.Status == gossip.Alive && m.Meta.Term > term && m.ID != string(c.cfg.NodeID) {
			best, term = pipeline.NodeID(m.ID), m.Meta.Term
		}
	}
	c.mu.Lock()
	named := c.named
	c.mu.Unlock()
	if named.Leader != "" && named.Term > term && named.Leader != c.cfg.NodeID {
		best, term = named.Leader, named.Term
	}
	if best == "" || term <= own {
		return "", 0, false
	}
	return best, term, true
}

// IsLeader reports whether this node believes to lead.
func (c *Cluster) IsLeader() bool {
	node, _ := c.current()
	return node != nil && node.IsLeader()
}

// Changes gives a channel, with room for one poke, that is poked whenever
// members or leader may have changed, and a function that ends it.
func (c *Cluster) Changes() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	c.mu.Lock()
	c.subs[ch] = struct{}{}
	c.mu.Unlock()
	return ch, func() {
		c.mu.Lock()
		delete(c.subs, ch)
		c.mu.Unlock()
	}
}

func (c *Cluster) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Refresh makes the cluster ask Config.Meta again and tell the others: at once
// where draining, incarnation or address changed, within about a second where
// it is only the load. It returns at once and may be called at every change.
func (c *Cluster) Refresh() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// Lead runs f whenever this node leads; see consensus.Node.Lead. It returns
// when ctx is done or the cluster closed.
func (c *Cluster) Lead(ctx context.Context, f LeadFunc) error {
	for {
		node, changed := c.current()
		if node != nil {
			if err := node.Lead(ctx, f); ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-c.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Apply proposes a command; see consensus.Node.Apply.
func (c *Cluster) Apply(ctx context.Context, cmd []byte) (index uint64, resp any, err error) {
	node, _ := c.current()
	if node == nil {
		return 0, nil, pipeline.ErrNotLeader
	}
	return node.Apply(ctx, cmd)
}

// ApplyAsync proposes a command without waiting; see consensus.Node.ApplyAsync.
func (c *Cluster) ApplyAsync(cmd []byte) *consensus.Future {
	node, _ := c.current()
	if node == nil {
		return consensus.Refused(pipeline.ErrNotLeader)
	}
	return node.ApplyAsync(cmd)
}

// Barrier waits until all that was committed before is applied here.
func (c *Cluster) Barrier(ctx context.Context) error {
	node, _ := c.current()
	if node == nil {
		return pipeline.ErrNotLeader
	}
	return node.Barrier(ctx)
}

// VerifyLeader asks a majority whether this node still leads.
func (c *Cluster) VerifyLeader(ctx context.Context) error {
	node, _ := c.current()
	if node == nil {
		return pipeline.ErrNotLeader
	}
	return node.VerifyLeader(ctx)
}

// RaftInfo is this node's view of raft; on a node without raft only the leader
// and the cluster are filled in.
func (c *Cluster) RaftInfo() RaftInfo {
	info := RaftInfo{ClusterID: c.ID()}
	if node, _ := c.current(); node != nil {
		info.Status = node.Status()
	}
	if info.Leader == "" {
		id, term, _ := c.leader()
		info.Leader, info.Term = string(id), max(term, info.Term)
	}
	return info
}
