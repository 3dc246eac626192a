package service

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusAway     = "away"
	// roleWorker is the role of a node that takes no part in raft.
	roleWorker = "worker"
	// maxDrainTime bounds the deadline of a drain.
	maxDrainTime = 30 * 24 * time.Hour
)

// ClusterMembers is what the cluster calls need of the cluster.
type ClusterMembers interface {
	Members() []cluster.Member
	Leader() (leader cluster.Member, term uint64, ok bool)
	RaftInfo() cluster.RaftInfo
}

// ClusterConfig says what Cluster is made of. All fields are needed.
type ClusterConfig struct {
	Self  pipeline.NodeID
	Name  string
	Mode  pipeline.Mode
	Slots int
	// Version is the program's.
	Version string
	State   *state.State
	Members ClusterMembers
	Keys    *keys.Keys
	// Load is how many modules run here.
	Load func() int
	// Full says why this node takes nothing new; "" if it does.
	Full func() string
	// BlobUse is how much the blobs took when they were last counted; nil if they
	// were not.
	BlobUse func() *wire.BlobUse
	// FindWorker finds an external worker by id or name.
	FindWorker func(name string) (fsm.WorkerRecord, bool)
	// Leave makes this node leave its cluster. It returns at once.
	Leave func()
}

// Cluster describes the cluster and changes its membership. It implements
// api.Cluster.
type Cluster struct {
	cfg ClusterConfig
}

// NewCluster makes a Cluster.
func NewCluster(cfg ClusterConfig) *Cluster { return &Cluster{cfg: cfg} }

// Health describes this node and what it knows of the cluster.
func (c *Cluster) Health(context.Context) wire.Health {
	now := time.Now()
	info := c.cfg.Members.RaftInfo()
	leader, _, known := c.cfg.Members.Leader()
	h := wire.Health{Status: statusHealthy, NodeID: c.cfg.Self, Node: c.cfg.Name, Mode: c.cfg.Mode, Role: roleWorker, Term: info.Term,
		CommitIndex: info.Commit, AppliedIndex: info.Applied, Voters: []string{}, Version: c.cfg.Version,
		Timestamp: now.UTC(), CurrentLoad: c.cfg.Load(), MaxLoad: c.cfg.Slots, Nonce: c.cfg.Keys.Nonce(c.cfg.Self, now), Quorum: known,
		Blobs: c.cfg.BlobUse()}
	for _, m := range c.cfg.Members.Members() {
		c.addMember(&h, m, leader.ID)
	}
	slices.Sort(h.Voters)

	switch {
	case !known:
		h.Reasons = append(h.Reasons, "no leader: this node cannot reach a majority, or an election is under way")
	case leader.ID == c.cfg.Self && !c.cfg.State.Leading():
		h.Quorum = false
		h.Reasons = append(h.Reasons, "this node was elected leader and is not ready yet")
	}
	if why := clockReason(c.cfg.Self, c.cfg.Members.Members()); why != "" {
		h.Reasons = append(h.Reasons, why)
	}
	if why := c.cfg.Full(); why != "" {
		h.Reasons = append(h.Reasons, why)
	}
	if len(h.Reasons) > 0 {
		h.Status = statusDegraded
	}
	return h
}

// clockReason names the clocks that differ from this node's. If those of most
// other nodes do, this node's is the wrong one.
func clockReason(self pipeline.NodeID, members []cluster.Member) string {
	var off []cluster.Member
	others := 0
	for _, m := range members {
		if m.ID == self || m.Status != cluster.StatusAlive {
			continue
		}
		others++
		if m.ClockAhead != 0 {
			off = append(off, m)
		}
	}
	if len(off) > 1 && 2*len(off) > others {
		return fmt.Sprintf("the clock of this node is %s that of %d of %d other nodes", aheadOf(-off[0].ClockAhead), len(off), others)
	}
	var texts []string
	for _, m := range off {
		texts = append(texts, fmt.Sprintf("the clock of %s is %s that of this node", m.Name, aheadOf(m.ClockAhead)))
	}
	return strings.Join(texts, ", ")
}

func aheadOf(d time.Duration) string {
	if d < 0 {
		return d.Abs().Round(100*time.Millisecond).String() + " behind"
	}
	return d.Round(100*time.Millisecond).String() + " ahead of"
}

// addMember counts a member in the health of this node.
func (c *Cluster) addMember(h *wire.Health, m cluster.Member, leader pipeline.NodeID) {
	if m.RaftRole == cluster.RoleLeader || m.RaftRole == cluster.RoleVoter {
		h.Voters = append(h.Voters, m.Name)
	}
	if m.ID == leader {
		h.Leader = m.Name
	}
	if m.Status == cluster.StatusAlive && m.Mode != pipeline.ModeOrchestrator && m.Slots > 0 {
		h.AvailableWorkers++
	}
	if m.ID == c.cfg.Self && m.RaftRole != cluster.RoleNone {
		h.Role = m.RaftRole
	}
}

// Members lists the nodes, by name.
func (c *Cluster) Members(context.Context) (wire.MemberList, error) {
	out := wire.MemberList{ClusterID: c.cfg.Members.RaftInfo().ClusterID, Members: []wire.Member{}}
	records := map[pipeline.NodeID]fsm.WorkerRecord{}
	err := c.cfg.State.View(func(v *fsm.View) error {
		for _, w := range v.Workers() {
			records[w.ID] = w
		}
		return nil
	})
	if err != nil {
		return out, err
	}

	leader, _, _ := c.cfg.Members.Leader()
	for _, m := range c.cfg.Members.Members() {
		if m.ID == leader.ID {
			out.Leader = m.Name
		}
		out.Members = append(out.Members, memberOf(m, records[m.ID]))
	}
	slices.SortFunc(out.Members, func(a, b wire.Member) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// memberOf is what the API shows of a member. A node that said that it restarts
// is away, not failed, until its time is up.
func memberOf(m cluster.Member, record fsm.WorkerRecord) wire.Member {
	out := wire.Member{ID: m.ID, Name: m.Name, Addr: hostOf(m.Addr), HTTP: HTTPAddress(m), Peer: m.PeerAddr, Gossip: m.Addr,
		Mode: m.Mode, Status: m.Status, Role: m.RaftRole, Draining: record.Draining, Version: m.Version,
		MaxLoad: m.Slots, CurrentLoad: m.Load, ClockAheadSeconds: m.ClockAhead.Seconds()}
	if m.RaftRole == cluster.RoleNone {
		out.Role = roleWorker
	}
	if record.AwayUntil.After(time.Now()) {
		out.AwayUntil = record.AwayUntil.UTC()
		if m.Status != cluster.StatusAlive {
			out.Status = statusAway
		}
	}
	return out
}

// HTTPAddress is the base URL of a member's HTTP port.
func HTTPAddress(m cluster.Member) string {
	if m.HTTPS {
		return "https://" + m.HTTPAddr
	}
	return "http://" + m.HTTPAddr
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Raft describes the consensus group.
func (c *Cluster) Raft(context.Context) (wire.RaftInfo, error) {
	info := c.cfg.Members.RaftInfo()
	leader, _, _ := c.cfg.Members.Leader()
	out := wire.RaftInfo{Term: info.Term, CommitIndex: info.Commit, AppliedIndex: info.Applied, LastIndex: info.LastIndex,
		Leader: c.cfg.State.NodeName(leader.ID), State: info.State, Servers: []wire.RaftServer{}}
	addresses := map[pipeline.NodeID]string{}
	for _, m := range c.cfg.Members.Members() {
		addresses[m.ID] = m.PeerAddr
	}

	for _, s := range info.Servers {
		id := pipeline.NodeID(s.ID)
		out.Servers = append(out.Servers, wire.RaftServer{ID: id, Name: c.cfg.State.NodeName(id), Address: addresses[id],
			Suffrage: string(s.Suffrage), Leader: id == leader.ID})
	}
	return out, nil
}

// Drain stops or resumes the assignment of work to a node or an external worker.
func (c *Cluster) Drain(ctx context.Context, _ api.Subject, node string, in wire.DrainRequest) error {
	if in.DeadlineSeconds < 0 || in.DeadlineSeconds > maxDrainTime.Seconds() {
		return pipeline.Errorf(pipeline.Invalid, "deadlineSeconds %g: expected 0, which waits without a bound, to 30 days", in.DeadlineSeconds)
	}
	record := fsm.WorkerRecord{Draining: !in.Off}
	if in.DeadlineSeconds > 0 && !in.Off {
		record.DrainDeadline = c.cfg.State.Now().Add(time.Duration(in.DeadlineSeconds * float64(time.Second)))
	}

	fresh := c.cfg.State.Fresh(ctx) // an external worker may have registered a moment ago
	if m, err := findMember(c.cfg.Members.Members(), node); err == nil {
		record.ID, record.Name = m.ID, m.Name
	} else if w, ok := c.cfg.FindWorker(node); ok {
		record.ID, record.Name = w.ID, w.Name
	} else {
		return state.Missing(err, fresh)
	}
	_, err := c.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: record, Only: "drain"}})
	return err
}

// Leave makes this node leave its cluster soon after the call.
func (c *Cluster) Leave(context.Context, api.Subject) error {
	if len(c.cfg.State.Others()) == 0 {
		return pipeline.Errorf(pipeline.Conflict, "%s is the only node of its cluster that answers, so the cluster would end: stop it instead, or start over with another data directory", c.cfg.Name)
	}
	c.cfg.Leave()
	return nil
}
