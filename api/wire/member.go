package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Member is a node of the cluster. Times are RFC 3339.
type Member struct {
	ID   pipeline.NodeID `json:"id"`
	Name string          `json:"name"`
	// Addr is the host; the ports follow.
	Addr   string        `json:"addr"`
	HTTP   string        `json:"http"`
	Peer   string        `json:"peer"`
	Gossip string        `json:"gossip"`
	Mode   pipeline.Mode `json:"mode"`
	// Status is alive, suspect, failed, left or away.
	Status string `json:"status"`
	// Role is leader, voter, standby, worker.
	Role        string    `json:"role"`
	Draining    bool      `json:"draining,omitempty"`
	Version     string    `json:"version,omitempty"`
	MaxLoad     int       `json:"maxLoad"`
	CurrentLoad int       `json:"currentLoad"`
	AwayUntil   time.Time `json:"awayUntil,omitzero"`
	// ClockAheadSeconds is by how much its clock is ahead of that of the node that
	// answers, negative if it is behind; absent below one second.
	ClockAheadSeconds float64 `json:"clockAheadSeconds,omitempty"`
}

// MemberList answers GET /api/v1/members.
type MemberList struct {
	ClusterID string   `json:"clusterId"`
	Leader    string   `json:"leader"`
	Members   []Member `json:"members"`
}

// DrainRequest goes to POST /api/v1/members/{name}/drain.
type DrainRequest struct {
	Off bool `json:"off,omitempty"`
	// DeadlineSeconds after which what still runs is stopped and repeated
	// elsewhere; 0 waits without a limit.
	DeadlineSeconds float64 `json:"deadlineSeconds,omitempty"`
}

// RaftInfo answers GET /api/v1/raft.
type RaftInfo struct {
	Term         uint64       `json:"term"`
	CommitIndex  uint64       `json:"commitIndex"`
	AppliedIndex uint64       `json:"appliedIndex"`
	LastIndex    uint64       `json:"lastIndex"`
	Leader       string       `json:"leader"`
	State        string       `json:"state"`
	Servers      []RaftServer `json:"servers"`
}

// RaftServer is one server of raft's configuration.
type RaftServer struct {
	ID       pipeline.NodeID `json:"id"`
	Name     string          `json:"name"`
	Address  string          `json:"address"`
	Suffrage string          `json:"suffrage"` // voter or standby
	Leader   bool            `json:"leader,omitempty"`
}
