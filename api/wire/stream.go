package wire

import "github.com/pipelined/pipelined/pipeline"

// The types of events of GET /api/v1/stream, besides EventBye and EventError.
const (
	// EventNode says which node serves the stream: a StreamNode.
	EventNode = "node"
	// EventRuns has runs that changed: a StreamRuns.
	EventRuns = "runs"
	// EventRun has changes of one run: a StreamRun.
	EventRun = "run"
	// EventCluster has the members: a StreamCluster.
	EventCluster = "cluster"
)

// StreamNode is sent first, and when it changes. Without a Leader, what follows may
// be behind: the node is cut off from the cluster, or an election is under way.
type StreamNode struct {
	Node   string `json:"node"`
	Leader string `json:"leader"`
}

// StreamRuns has the runs that changed. With Reset they are the newest ones, and what
// was known before is void.
type StreamRuns struct {
	Index   uint64           `json:"index"`
	Reset   bool             `json:"reset,omitempty"`
	Runs    []RunSummary     `json:"runs"`
	Removed []pipeline.RunID `json:"removed,omitempty"`
}

// StreamRun has a run with those of its modules that changed, without DependsOn. With
// Reset it has all of them.
type StreamRun struct {
	Index uint64     `json:"index"`
	Reset bool       `json:"reset,omitempty"`
	Run   RunSummary `json:"run"`
	// Variables and Sensitive are those of the run, with Reset.
	Variables map[string]string `json:"variables,omitempty"`
	Sensitive []string          `json:"sensitive,omitempty"`
	Modules   []Module          `json:"modules"`
	// Waiting says why modules that could start do not, of those for which that
	// changed; "" if there is no reason any more. The name "" stands for all modules
	// that have no reason of their own.
	Waiting map[string]string `json:"waiting,omitempty"`
	// Gone is set if the run does not exist, or no more; nothing follows for it.
	Gone bool `json:"gone,omitempty"`
}

// StreamCluster describes the nodes, at most once a second.
type StreamCluster struct {
	Index   uint64     `json:"index"`
	Health  Health     `json:"health"`
	Members MemberList `json:"members"`
	Raft    RaftInfo   `json:"raft"`
}
