package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

// memberList is the part of gossip that lists members.
type memberList interface {
	// Members are all that are known, by id.
	Members() []gossip.Member
	Member(id string) (gossip.Member, bool)
}

// description is the part of gossip that publishes this node's description.
type description interface {
	Meta() gossip.Meta
	UpdateMeta(urgent bool, change func(*gossip.Meta)) error
}

// view is the membership as this node sees it: who gossip says is here, which
// part each takes in raft, and who leads. It is safe for concurrent use.
type view struct {
	self    pipeline.NodeID
	gossip  memberList
	replica *replica
	// remembered is what is known of a node since before this one started.
	remembered func(id string) bookEntry

	mu sync.Mutex // guards following
	// named is the leader that a member has named over the peer port.
	named leaderAnswer
}

// all are the members that this node knows of, by id. A server of raft that gossip does
// not know, since it failed before this node started, is one that has failed.
func (v *view) all() []Member {
	roles := v.roles()
	known := v.gossip.Members()
	out := make([]Member, 0, len(known))
	for _, m := range known {
		out = append(out, describeMember(m, roles))
	}
	for id := range roles {
		if _, ok := v.gossip.Member(id); !ok && id != string(v.self) {
			out = append(out, v.absent(id, roles))
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// member finds a node by id.
func (v *view) member(id pipeline.NodeID) (Member, bool) {
	roles := v.roles()
	if m, ok := v.gossip.Member(string(id)); ok {
		return describeMember(m, roles), true
	}
	if roles[string(id)] == "" || id == v.self {
		return Member{}, false
	}
	return v.absent(string(id), roles), true
}

// absent describes a server of raft that gossip does not know.
func (v *view) absent(id string, roles map[string]string) Member {
	e := v.remembered(id)
	return Member{ID: pipeline.NodeID(id), Name: cmp.Or(e.Name, fmt.Sprintf("%.12s", id)), PeerAddr: e.Addr, Mode: pipeline.ModeAuto,
		Status: StatusFailed, RaftRole: roles[id]}
}

// company reports whether another node is alive.
func (v *view) company() bool {
	for _, m := range v.gossip.Members() {
		if m.Status == gossip.Alive && m.ID != string(v.self) {
			return true
		}
	}
	return false
}

// roles are the parts in raft by node, as this node's raft knows them. It is nil
// if raft has not taken this node in: then only gossip can say.
func (v *view) roles() map[string]string {
	node := v.replica.get()
	if node == nil {
		return nil
	}
	servers := v.replica.servers()
	if !inServers(servers, string(v.self)) {
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

// describeMember joins what gossip and raft know of a node.
func describeMember(m gossip.Member, roles map[string]string) Member {
	out := Member{
		ID: pipeline.NodeID(m.ID), Name: m.Meta.Name, Addr: m.Addr, PeerAddr: m.PeerAddr(),
		HTTPAddr: m.Meta.HTTPAddr, HTTPS: m.Meta.HTTPS, Mode: m.Meta.Mode, Slots: m.Meta.Slots, Load: m.Meta.Load,
		Incarnation: m.Meta.Incarnation, Draining: m.Meta.Draining, Leaving: m.Meta.Leaving, Version: m.Meta.Version,
		Status: StatusAlive, RaftRole: m.Meta.Role,
	}
	if m.Status == gossip.Alive && m.ClockAhead.Abs() > pipeline.MaxClockSkew {
		out.ClockAhead = m.ClockAhead
	}
	switch m.Status {
	case gossip.Failed:
		out.Status = StatusFailed
	case gossip.Left:
		out.Status = StatusLeft
		if roles[m.ID] != "" { // it ended after it announced that it leaves, before it was removed
			out.Status = StatusFailed
		}
	}

	if roles != nil {
		out.RaftRole = roles[m.ID]
	}
	if out.RaftRole == "" {
		out.RaftRole = RoleNone
	}
	return out
}

// leader is the node that leads, and its term, as far as this node knows. A
// node with a part in raft asks its own raft; the others go by what the leader
// reports through gossip and by what members answer.
func (v *view) leader() (pipeline.NodeID, uint64, bool) {
	var own uint64
	if node := v.replica.get(); node != nil && v.replica.configured() {
		id, term, ok := node.Leader()
		if ok {
			return pipeline.NodeID(id), term, true
		}
		// A node without a leader may have been replaced meanwhile: it can still
		// learn of a leader of a later term.
		own = term
	}

	var best pipeline.NodeID
	var term uint64
	for _, m := range v.gossip.Members() {
		if m.Meta.Role == RoleLeader && m.Status == gossip.Alive && m.Meta.Term > term && m.ID != string(v.self) {
			best, term = pipeline.NodeID(m.ID), m.Meta.Term
		}
	}

	if named := v.namedLeader(); named.Leader != "" && named.Term > term && named.Leader != v.self {
		best, term = named.Leader, named.Term
	}
	if best == "" || term <= own {
		return "", 0, false
	}
	return best, term, true
}

// namedLeader is the leader that a member has named, "" for none.
func (v *view) namedLeader() leaderAnswer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.named
}

// name keeps the answer of a member. It reports whether that is news: a later
// term, or another leader of the same one.
func (v *view) name(a leaderAnswer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.Term < v.named.Term || a.Term == v.named.Term && a.Leader == v.named.Leader {
		return false
	}
	v.named = a
	return true
}

// unname forgets the leader that was named: it was that of another cluster, or leads no
// longer.
func (v *view) unname() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.named = leaderAnswer{}
}

// gossipAddrs are the gossip addresses of the others, those with a part in raft
// first, and of each the newest first.
func (v *view) gossipAddrs() []string {
	members := v.gossip.Members()
	sort.SliceStable(members, func(i, j int) bool { return rank(members[i]) < rank(members[j]) })
	var out []string
	for _, m := range members {
		if m.ID != string(v.self) && m.Status != gossip.Left {
			out = append(append(out, m.Elsewhere...), m.Addr)
		}
	}
	return out[:min(len(out), maxRemembered)]
}
