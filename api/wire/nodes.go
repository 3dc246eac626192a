package wire

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// NodeReports answers GET /api/v1/nodes: what each node reports about itself and about
// the others.
type NodeReports struct {
	Nodes []NodeReport `json:"nodes"`
	// Findings are sentences on connections that do not work.
	Findings []string `json:"findings"`
}

// NodeReport is what one node reports.
type NodeReport struct {
	ID   pipeline.NodeID `json:"id"`
	Name string          `json:"name"`
	// Missing is why the node did not report; then there is nothing else.
	Missing   string     `json:"missing,omitempty"`
	StartedAt time.Time  `json:"startedAt,omitzero"`
	Disk      *DiskSpace `json:"disk,omitempty"`
	// GossipHealth is 0 for a node whose probes and answers are in time.
	GossipHealth int `json:"gossipHealth,omitempty"`
	// Lag is how many entries of the log a follower has not acknowledged, as the leader
	// knows it; nil if this is no follower. Lags is what the leader reports, by id.
	Lag  *uint64                    `json:"lag,omitempty"`
	Lags map[pipeline.NodeID]uint64 `json:"-" cbor:"lags,omitempty"`
	Sees []Sight                    `json:"sees,omitempty"`
	// Commits are of the entries that this node, which leads, proposed in the last
	// seconds; nil if there were none.
	Commits *CommitTimes `json:"commits,omitempty"`
	// UnderReplicated is how many blobs have fewer copies than wanted, as far as this
	// node knows. The leader compares everything.
	UnderReplicated int `json:"underReplicated,omitempty"`
}

// CommitTimes are how long entries took from their proposal until they were committed
// and applied.
type CommitTimes struct {
	Count         int     `json:"count"`
	MedianSeconds float64 `json:"medianSeconds"`
	P99Seconds    float64 `json:"p99Seconds"`
}

// DiskSpace is that of the disk with the data directory.
type DiskSpace struct {
	FreeBytes  uint64 `json:"freeBytes"`
	TotalBytes uint64 `json:"totalBytes"`
	// BlobBytes is what blobs take, when they were last counted; 0 if they were not.
	BlobBytes int64 `json:"blobBytes,omitempty"`
}

// Sight is how a node sees another one, without a third between them.
type Sight struct {
	Node string `json:"node"`
	// Status is alive or failed by the gossip of this node; silent, if others say that
	// the node is alive and it does not answer this one; new, if it is not known yet.
	Status string `json:"status"`
	// RoundTripSeconds is that of the last probe.
	RoundTripSeconds float64 `json:"roundTripSeconds,omitempty"`
	// Hears is set if packets of the node arrive.
	Hears bool `json:"hears,omitempty"`
}

// The states of a Sight besides those of a member.
const (
	SightSilent = "silent"
	SightNew    = "new"
)

// RunningList answers GET /api/v1/running: the attempts that are assigned or run, the
// oldest first.
type RunningList struct {
	Running []Running `json:"running"`
	// More counts those that the answer leaves out: it has 1000 at most.
	More int `json:"more,omitempty"`
}

// Running is an attempt under way.
type Running struct {
	Run      pipeline.RunID `json:"run"`
	Number   uint64         `json:"number"`
	Pipeline string         `json:"pipeline"`
	Module   string         `json:"module"`
	Attempt  int            `json:"attempt"`
	Node     string         `json:"node"`
	// AssignedAt is when it was given to the node; StartedAt is unset until it begins.
	AssignedAt time.Time  `json:"assignedAt"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
}

// WaitingList answers GET /api/v1/waiting: what waits for something else than other
// modules of its run. Modules of a run that wait for the same are one entry.
type WaitingList struct {
	Waiting []Waiting `json:"waiting"`
	// Modules is how many modules wait, by kind; those that wait for other modules are
	// counted as dependency.
	Modules map[string]int `json:"modules"`
}

// Waiting is a module, or several that wait for the same.
type Waiting struct {
	Run      pipeline.RunID `json:"run"`
	Number   uint64         `json:"number"`
	Pipeline string         `json:"pipeline"`
	pipeline.Waiting
}
