package cluster

import (
	"sync/atomic"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
)

// announcer keeps what gossip says of this node up to date. Its refresh and
// leaving are safe for concurrent use; the loop alone publishes.
type announcer struct {
	cfg      *Config
	peerPort int
	gossip   description
	replica  *replica
	// yields reports whether this node gives up its own cluster for another.
	yields func(*consensus.Node, []consensus.Server) bool
	// wake makes the loop publish.
	wake    chan struct{}
	leaving atomic.Bool
}

// describe is the node's description, without what raft and the cluster add.
func (a *announcer) describe() gossip.Meta {
	m := gossip.Meta{Name: a.cfg.Name, Version: a.cfg.Version, Mode: a.cfg.Mode, PeerPort: a.peerPort, Role: RoleNone}
	if a.cfg.Meta != nil {
		d := a.cfg.Meta()
		m.Slots, m.Load, m.Incarnation = d.Slots, d.Load, d.Incarnation
		m.HTTPAddr, m.HTTPS, m.Draining = d.HTTPAddr, d.HTTPS, d.Draining
	}
	return m
}

// publish brings the description up to date: at once if anything but the load
// has changed.
func (a *announcer) publish() error {
	now := a.describe()
	if node := a.replica.get(); node != nil {
		servers := a.replica.servers()
		for _, s := range servers {
			if s.ID == a.replica.self {
				now.Role = string(s.Suffrage)
			}
		}
		if id, term, ok := node.Leader(); ok && id == a.replica.self && node.IsLeader() {
			now.Role, now.Term = RoleLeader, term
		}
		now.Yields = a.yields(node, servers)
	}
	now.Leaving = a.leaving.Load()

	// The founder owns the other fields, and may have changed them meanwhile.
	keep := func(m gossip.Meta) gossip.Meta {
		out := now
		out.Cluster, out.Expect, out.Sees, out.Pledge = m.Cluster, m.Expect, m.Sees, m.Pledge
		return out
	}
	old := a.gossip.Meta()
	old.Load = now.Load
	return a.gossip.UpdateMeta(keep(old) != old, func(m *gossip.Meta) { *m = keep(*m) })
}

// refresh makes the loop publish. It returns at once.
func (a *announcer) refresh() { poke(a.wake) }

// setLeaving announces that the node leaves permanently, or that it stays.
func (a *announcer) setLeaving(on bool) {
	a.leaving.Store(on)
	a.refresh()
}
