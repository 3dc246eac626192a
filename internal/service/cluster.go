package service

import (
	"context"
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
	// Remove takes a node that has failed out of the cluster; this one leads.
	Remove(ctx context.Context, id pipeline.NodeID) error
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
	// Troubles says what else is wrong here; "" is nothing.
	Troubles func() []string
	// BlobUse is how much the blobs took when they were last counted; nil if they
	// were not.
	BlobUse func() *wire.BlobUse
	// FindWorker finds an external worker by id or name.
	FindWorker func(name string) (fsm.WorkerRecord, bool)
	// Leave makes this node leave its cluster. It returns at once.
	Leave func()
	// Leaving reports whether this node is leaving, and else why it could not; "" if
	// it was not asked to.
	Leaving func() (leaving bool, refused string)
	// Reports are those of all nodes.
	Reports func(context.Context) (wire.NodeReports, error)
}

// Cluster describes the cluster and changes its membership. It implements
// api.Cluster.
type Cluster struct {
	cfg ClusterConfig
}

// NewCluster makes a Cluster.
func NewCluster(cfg ClusterConfig) *Cluster { return &Cluster{cfg: cfg} }

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
		if hasLeft(m, records[m.ID]) {
			continue
		}
		if m.ID == leader.ID {
			out.Leader = m.Name
		}
		out.Members = append(out.Members, memberOf(m, records[m.ID]))
	}
	slices.SortFunc(out.Members, func(a, b wire.Member) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// hasLeft reports whether a member has left the cluster. A node that was paused or cut off
// meanwhile only sees that it has failed; the state knows that its copies were evacuated,
// and raft has removed it.
func hasLeft(m cluster.Member, record fsm.WorkerRecord) bool {
	return m.Status == cluster.StatusLeft || m.Status == cluster.StatusFailed && record.Evacuated && m.RaftRole == cluster.RoleNone
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
	if m.Status != cluster.StatusAlive {
		out.CurrentLoad = 0 // the node reported it before it failed
	}
	if record.AwayUntil.After(time.Now()) {
		out.AwayUntil = record.AwayUntil.UTC()
		if m.Status != cluster.StatusAlive {
			out.Status = statusAway
		}
	}
	return out
}

// HTTPAddress is the base URL of a member's HTTP port; "" if it is not known.
func HTTPAddress(m cluster.Member) string {
	if m.HTTPAddr == "" {
		return ""
	}
	if m.HTTPS {
		return "https://" + m.HTTPAddr
	}
	return "http://" + m.HTTPAddr
}

// ID is the id of the cluster.
func (c *Cluster) ID() string { return c.cfg.Members.RaftInfo().ClusterID }

// Addresses are the base URLs of the members' HTTP ports, this node's first.
func (c *Cluster) Addresses() []string {
	var own, others []string
	for _, m := range c.cfg.Members.Members() {
		switch {
		case m.Status == cluster.StatusLeft || m.HTTPAddr == "":
		case m.ID == c.cfg.Self:
			own = append(own, HTTPAddress(m))
		default:
			others = append(others, HTTPAddress(m))
		}
	}
	slices.Sort(others)
	return append(own, others...)
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

// Nodes has what each node reports about itself and the others.
func (c *Cluster) Nodes(ctx context.Context) (wire.NodeReports, error) { return c.cfg.Reports(ctx) }

// Drain stops or resumes the assignment of work to a node or an external worker.
func (c *Cluster) Drain(ctx context.Context, by api.Subject, node string, in wire.DrainRequest) error {
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
	_, err := c.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Worker: &fsm.Worker{Record: record, Only: "drain"}})
	return err
}

// removeLimit bounds the wait for raft's configuration to change.
const removeLimit = 10 * time.Second

// Remove takes a node that has failed out of the cluster.
func (c *Cluster) Remove(ctx context.Context, _ api.Subject, node string) error {
	id, name, err := c.findServer(node)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	err = c.cfg.Members.Remove(ctx, id)
	if pipeline.KindOf(err) == pipeline.Conflict {
		return pipeline.Errorf(pipeline.Conflict, "%s is alive: use `pipelined leave` with its address, or stop it first; a node counts as failed some seconds after its end", name)
	}
	if err != nil {
		return err
	}

	known := false
	_ = c.cfg.State.View(func(v *fsm.View) error { // if it is closed, the record stays, and does no harm
		_, known = v.Worker(id)
		return nil
	})
	if !known {
		return nil
	}
	_, err = c.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Delete: true}})
	if pipeline.KindOf(err) == pipeline.NotFound {
		return nil // another call was faster
	}
	return err
}

// findServer finds a member, or a server of raft's configuration that no node has
// seen since it started.
func (c *Cluster) findServer(node string) (pipeline.NodeID, string, error) {
	m, err := findMember(c.cfg.Members.Members(), node)
	if err == nil {
		return m.ID, m.Name, nil
	}
	for _, s := range c.cfg.Members.RaftInfo().Servers {
		id := pipeline.NodeID(s.ID)
		if name := c.cfg.State.NodeName(id); s.ID == node || name == node {
			return id, name, nil
		}
	}
	return "", "", err
}

// Leave makes this node leave its cluster soon after the call.
func (c *Cluster) Leave(context.Context, api.Subject) error {
	if len(c.cfg.State.Others()) == 0 {
		return pipeline.Errorf(pipeline.Conflict, "%s is the only node of its cluster that answers, so the cluster would end: stop it instead, or start over with another data directory", c.cfg.Name)
	}
	c.cfg.Leave()
	return nil
}
