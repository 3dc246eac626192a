package node

import (
	"context"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// backend is the node as the API sees it.
type backend Node

func (b *backend) node() *Node { return (*Node)(b) }

// IsLeader says whether the orchestrator runs here and is ready.
func (b *backend) IsLeader() bool { return b.orch.Leading() }

// HasState says whether the replicated state is here: it is on every node that
// takes part in raft.
func (b *backend) HasState() bool { return b.state.HasState() }

// Leader gives a way to the leader's peer port.
func (b *backend) Leader(context.Context) (http.RoundTripper, *url.URL, error) {
	n := b.node()
	id, err := n.state.LeaderID()
	if err != nil {
		return nil, nil, err
	}
	if id == n.id {
		return nil, nil, pipeline.ErrNoLeader // elected, not ready yet
	}
	return n.wayTo(id)
}

// Stateful gives a way to a node that holds the state.
func (b *backend) Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	n := b.node()
	if rt, u, err := b.Leader(ctx); err == nil {
		return rt, u, nil
	}
	for _, m := range n.cluster.Members() {
		if m.ID != n.id && m.Status == cluster.StatusAlive && m.RaftRole != cluster.RoleNone {
			return n.wayTo(m.ID)
		}
	}
	return nil, nil, pipeline.ErrNoLeader
}

// Node gives a way to a member, by name or id.
func (b *backend) Node(_ context.Context, name string) (http.RoundTripper, *url.URL, error) {
	n := b.node()
	m, err := n.findMember(name)
	if err != nil {
		return nil, nil, err
	}
	return n.wayTo(m.ID)
}

func (n *Node) wayTo(id pipeline.NodeID) (http.RoundTripper, *url.URL, error) {
	c, base, err := n.cluster.Client(id)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(base)
	return c.Transport, u, err
}

func (n *Node) findMember(name string) (cluster.Member, error) {
	var names []string
	var found []cluster.Member
	for _, m := range n.cluster.Members() {
		if string(m.ID) == name || m.Name == name {
			found = append(found, m)
		}
		names = append(names, m.Name)
	}
	switch {
	case len(found) == 0:
		return cluster.Member{}, pipeline.Errorf(pipeline.NotFound, "no node %q here: there are %s", name, strings.Join(names, ", "))
	case len(found) > 1:
		return cluster.Member{}, pipeline.Errorf(pipeline.Conflict, "%d nodes are called %q: use the node's id", len(found), name)
	}
	return found[0], nil
}

// Health says how this node is.
func (b *backend) Health(context.Context) wire.Health {
	n := b.node()
	info := n.cluster.RaftInfo()
	h := wire.Health{Status: "healthy", NodeID: n.id, Node: n.cfg.Name, Mode: n.cfg.Mode, Role: "worker", Term: info.Term,
		CommitIndex: info.Commit, AppliedIndex: info.Applied, Voters: []string{}, Version: n.cfg.Version,
		Timestamp: time.Now().UTC(), CurrentLoad: n.worker.Load(), MaxLoad: n.cfg.Slots, Nonce: n.keys.Nonce(n.id, time.Now())}
	lead, _, known := n.cluster.Leader()
	leader := lead.ID
	for _, m := range n.cluster.Members() {
		if m.RaftRole == cluster.RoleLeader || m.RaftRole == cluster.RoleVoter {
			h.Voters = append(h.Voters, m.Name)
		}
		if m.ID == leader {
			h.Leader = m.Name
		}
		if m.Status == cluster.StatusAlive && m.Mode != pipeline.ModeOrchestrator && m.Slots > 0 {
			h.AvailableWorkers++
		}
		if m.ID == n.id && m.RaftRole != cluster.RoleNone {
			h.Role = m.RaftRole
		}
	}
	sort.Strings(h.Voters)
	h.Quorum = known
	if !known {
		h.Status, h.Reasons = "degraded", append(h.Reasons, "no leader: this node cannot reach a majority, or an election is under way")
	} else if leader == n.id && !n.orch.Leading() {
		h.Quorum = false
		h.Status, h.Reasons = "degraded", append(h.Reasons, "the leader is taking up its duty")
	}
	if why := n.fabric.disk.Reason(); why != "" {
		h.Status, h.Reasons = "degraded", append(h.Reasons, why)
	}
	if u := n.fabric.collector.Usage(); u != nil {
		h.Blobs = &wire.BlobUse{Blobs: u.Blobs, Bytes: u.Bytes, At: u.At}
	}
	return h
}

// Members lists the nodes.
func (b *backend) Members(context.Context) (wire.MemberList, error) {
	n := b.node()
	out := wire.MemberList{ClusterID: n.cluster.RaftInfo().ClusterID, Members: []wire.Member{}}
	kept := map[pipeline.NodeID]fsm.WorkerRecord{}
	err := n.store.View(func(v *fsm.View) error {
		for _, w := range v.Workers() {
			kept[w.ID] = w
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	lead, _, _ := n.cluster.Leader()
	leader := lead.ID
	for _, m := range n.cluster.Members() {
		scheme := "http://"
		if m.HTTPS {
			scheme = "https://"
		}
		x := wire.Member{ID: m.ID, Name: m.Name, Addr: hostOf(m.Addr), HTTP: scheme + m.HTTPAddr, Peer: m.PeerAddr, Gossip: m.Addr,
			Mode: m.Mode, Status: m.Status, Role: m.RaftRole, Draining: kept[m.ID].Draining, Version: m.Version,
			MaxLoad: m.Slots, CurrentLoad: m.Load}
		if m.RaftRole == cluster.RoleNone {
			x.Role = "worker"
		}
		if a := kept[m.ID].AwayUntil; a.After(time.Now()) {
			x.AwayUntil = a.UTC()
			if m.Status != cluster.StatusAlive {
				x.Status = "away"
			}
		}
		if m.ID == leader {
			out.Leader = m.Name
		}
		out.Members = append(out.Members, x)
	}
	sort.Slice(out.Members, func(i, j int) bool { return out.Members[i].Name < out.Members[j].Name })
	return out, nil
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return strings.Trim(addr[:i], "[]")
	}
	return addr
}

// Raft says where raft stands.
func (b *backend) Raft(context.Context) (wire.RaftInfo, error) {
	n := b.node()
	info := n.cluster.RaftInfo()
	lead, _, _ := n.cluster.Leader()
	leader := lead.ID
	out := wire.RaftInfo{Term: info.Term, CommitIndex: info.Commit, AppliedIndex: info.Applied, LastIndex: info.LastIndex,
		Leader: n.state.NodeName(leader), State: info.State, Servers: []wire.RaftServer{}}
	addr := map[pipeline.NodeID]string{}
	for _, m := range n.cluster.Members() {
		addr[m.ID] = m.PeerAddr
	}
	for _, s := range info.Servers {
		id := pipeline.NodeID(s.ID)
		out.Servers = append(out.Servers, wire.RaftServer{ID: id, Name: n.state.NodeName(id), Address: addr[id], Suffrage: string(s.Suffrage), Leader: id == leader})
	}
	return out, nil
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
