// Package consensus runs one raft node: its stores on disk, its transport over
// connections that others have authenticated, bootstrap, apply, membership and
// leadership as a function.
//
// It does not depend on gossip, on the cluster's rules of membership, or on the
// meaning of the commands. Everything exported is safe for concurrent use
// unless it says otherwise.
package consensus

import (
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// FSM is the replicated state machine. One goroutine calls it.
type FSM interface {
	// ApplyBatch applies entries in order and returns a reply for each. An error
	// says that the disk did not accept them: nothing has changed, and the call is
	// repeated until it succeeds or the node is closed.
	ApplyBatch(logs []*Log) ([]any, error)
	// Snapshot captures the state; see raft.FSM.
	Snapshot() (Snapshot, error)
	// Restore replaces the state. On an error the earlier one remains.
	Restore(snapshot io.ReadCloser) error
}

// What an FSM is made of, for those that must not know raft.
type (
	// Log is one entry as the state machine is given it.
	Log = raft.Log
	// Snapshot is a state captured for writing.
	Snapshot = raft.FSMSnapshot
	// SnapshotSink is what it is written to.
	SnapshotSink = raft.SnapshotSink
)

// MaxCommand is the largest command that Apply accepts, in bytes. Larger
// entries would delay heartbeats (reliability P17, H18).
const MaxCommand = 256 << 10

// Timings are the durations that raft runs by. All nodes of a cluster use the
// same ones. A zero field means that of DefaultTimings. Over slow links Heartbeat
// and Lease are longer, see roundTrips.
type Timings struct {
	// Heartbeat is how long a follower waits for its leader, and a candidate
	// for votes, before the next election; both are stretched at random up to
	// twice as long.
	Heartbeat time.Duration
	// Lease is how long a leader that reaches no majority continues. It is
	// below Heartbeat.
	Lease time.Duration
	// Commit is how soon followers learn of a commit that nothing follows.
	Commit time.Duration
	// Stall is the maximum duration of a write to the log. After it the node
	// stops its heartbeats, so that another becomes the leader, until the write
	// has ended.
	Stall time.Duration
	// Stuck is how long a leader may commit nothing, and half of how long a
	// follower may acknowledge nothing, before its connections are made anew.
	Stuck time.Duration
	// RPC bounds one exchange between two nodes, and dialling.
	RPC time.Duration
	// Progress is how long the transfer of a snapshot may make no progress.
	Progress time.Duration
	// SnapshotInterval and SnapshotThreshold say how often and after how many
	// entries the log is compacted; Trailing is how many entries stay.
	SnapshotInterval  time.Duration
	SnapshotThreshold uint64
	Trailing          uint64
}

// DefaultTimings suit nodes in one building that are busy with their modules: a
// leader that falls silent is replaced in about a second. One whose process
// died is replaced at once, whatever these say.
func DefaultTimings() Timings {
	return Timings{Heartbeat: 500 * time.Millisecond, Lease: 250 * time.Millisecond,
		Commit: 50 * time.Millisecond, Stall: 2 * time.Second, Stuck: 5 * time.Second, RPC: 5 * time.Second, Progress: 30 * time.Second,
		SnapshotInterval: 30 * time.Second, SnapshotThreshold: 16384, Trailing: 10240}
}

// raftLease is the lease that raft itself keeps; it accepts none that is longer than
// the heartbeat timeout.
func (t Timings) raftLease() time.Duration { return min(t.Lease, t.Heartbeat) }

// withDefaults fills the zero fields from DefaultTimings.
func (t Timings) withDefaults() Timings {
	d := DefaultTimings()
	for _, f := range []struct{ got, def *time.Duration }{
		{&t.Heartbeat, &d.Heartbeat}, {&t.Lease, &d.Lease}, {&t.Commit, &d.Commit},
		{&t.Stall, &d.Stall}, {&t.Stuck, &d.Stuck}, {&t.RPC, &d.RPC}, {&t.Progress, &d.Progress}, {&t.SnapshotInterval, &d.SnapshotInterval},
	} {
		if *f.got <= 0 {
			*f.got = *f.def
		}
	}

	if t.SnapshotThreshold == 0 {
		t.SnapshotThreshold = d.SnapshotThreshold
	}

	if t.Trailing == 0 {
		t.Trailing = d.Trailing
	}

	return t
}

// Suffrage is the role of a server of the configuration.
type Suffrage string

// Voters decide, standbys only follow.
const (
	Voter   Suffrage = "voter"
	Standby Suffrage = "standby"
)

// Server is one member of raft's configuration.
type Server struct {
	ID       string   `json:"id"`
	Suffrage Suffrage `json:"suffrage"`
}

// Status is the state of a node.
type Status struct {
	// State is follower, candidate, leader or shutdown.
	State string `json:"state"`
	Term  uint64 `json:"term"`
	// Leader is the node that this one follows, "" while there is none.
	Leader    string `json:"leader,omitempty"`
	LastIndex uint64 `json:"lastIndex"`
	Commit    uint64 `json:"commitIndex"`
	Applied   uint64 `json:"appliedIndex"`
	// Configured is the index of the newest entry with a configuration that
	// this process has written or read; 0 if it has met none.
	Configured uint64 `json:"configuredIndex"`
	// Servers are the members of the latest configuration, which may not be
	// committed yet. It is empty on a node that no cluster has taken in.
	Servers []Server `json:"servers"`
}
