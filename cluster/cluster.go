// Package cluster joins gossip and consensus: which nodes are here, which decide,
// and how they reach each other. It turns gossip's membership into raft's
// configuration, keeps the cluster's identity, owns the peer port and the keys.
//
// It must not know what the commands it applies mean, nor import raft or
// memberlist itself. Everything exported is safe for concurrent use.
package cluster

import (
	"context"
	"net/http"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

// Config is what a node needs to be part of a cluster.
type Config struct {
	// NodeID is this node's, random, one per data directory and never reused.
	NodeID pipeline.NodeID
	// Name is what people call the node.
	Name string
	// HostNames are the names by which clients reach the node; its certificate has
	// them, besides its addresses.
	HostNames []string
	// Version of the program; the other nodes see it.
	Version string
	// ClusterID is the remembered cluster, "" on a node without state.
	ClusterID string
	// Key is the cluster key, 32 bytes; KeyName is where it comes from, for
	// messages, and may be "".
	Key     []byte
	KeyName string
	// Mode is the node's part. Standalone refuses every other node.
	Mode pipeline.Mode
	// BindAddr is the IP to listen on, AdvertiseAddr the one that others use; ""
	// means BindAddr.
	BindAddr, AdvertiseAddr string
	// GossipPort and PeerPort: 0 takes a free one.
	GossipPort, PeerPort int
	// Join are hosts (host or host:port of gossip) of the cluster to join.
	// Own addresses among them are ignored.
	Join []string
	// Expect is how many fresh nodes must see each other before one of them
	// begins the cluster; 0 means that Join decides.
	Expect int
	// RaftDir is the directory of raft's log and snapshots, created if missing.
	RaftDir string
	// CheckLog examines raft's log in a process of its own after an unclean end,
	// see consensus.Config.Check; nil leaves that out.
	CheckLog func(dir string) error
	// RaftRepaired is called when something in RaftDir was found damaged and the rest of
	// it makes up for that, see consensus.Config.Repaired; nil leaves it out.
	RaftRepaired func(found, how string)
	// RememberedPeers are gossip addresses of former members, tried first.
	RememberedPeers []string
	// RememberedJoin are hosts that Join named at an earlier start. They are looked up
	// again while none of the members is found.
	RememberedJoin []string
	// FSM is the replicated state machine, empty at Open: log and snapshots
	// are replayed into it. Nodes of mode worker need none.
	FSM consensus.FSM
	// Logger takes the messages of this package.
	Logger hclog.Logger
	// Timings of raft; the zero value means consensus.DefaultTimings.
	Timings consensus.Timings
	// Empty reports whether the state holds no runs, schedules or secrets, so
	// that a cluster of one may yield to the one that Join names. nil means
	// never.
	Empty func() bool
	// SaveIdentity makes the cluster id and the gossip addresses of the
	// members durable before it returns.
	SaveIdentity func(clusterID string, peers []string) error
	// Meta returns what others should know of this node; see Refresh. It must
	// return at once.
	Meta func() Meta
	// RaftMetrics and GossipMetrics measure; nil measures nothing.
	RaftMetrics   *metrics.Raft
	GossipMetrics *metrics.Gossip
	// PeerHandler serves node-to-node HTTP; paths below /cluster/ are the
	// cluster's own. PeerFrom returns the sender.
	PeerHandler http.Handler
}

// Meta is the part of a member's description that the node itself supplies.
type Meta struct {
	// Slots is how many modules it runs at most, Load how many it runs now.
	Slots, Load int
	// Incarnation identifies the process of its keeper.
	Incarnation string
	// HTTPAddr is host:port of its public HTTP port.
	HTTPAddr string
	// HTTPS reports that the HTTP port speaks TLS.
	HTTPS bool
	// Draining nodes take no new work.
	Draining bool
}

// The states of a member as gossip sees it. Failed and left members stay in
// the list for a while.
const (
	StatusAlive  = pipeline.MemberAlive
	StatusFailed = pipeline.MemberFailed
	StatusLeft   = pipeline.MemberLeft
)

// The roles of a member in raft.
const (
	RoleLeader  = "leader"
	RoleVoter   = "voter"
	RoleStandby = "standby"
	RoleNone    = "none"
)

// Member is one node of the cluster as this node knows it. RaftRole is one of
// the Role constants.
type Member = pipeline.Member

// Peer is the node at the other end of a connection to the peer port, as its
// certificate says.
type Peer struct {
	ID   pipeline.NodeID
	Mode pipeline.Mode
	Name string
}

// Content is a state to restore.
type Content = consensus.Content

// RaftInfo is what `/api/v1/raft` shows.
type RaftInfo struct {
	consensus.Status
	ClusterID string `json:"clusterId"`
}

// LeadFunc is the leader's duty for one term. It must end soon after ctx is
// done; the next term begins only when it has returned.
type LeadFunc = func(ctx context.Context, term uint64) error
