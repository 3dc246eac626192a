package orchestrator

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// Pending is a proposal in flight.
type Pending interface {
	// Wait blocks until the entry is applied here or its fate is decided; bounded by
	// the implementation.
	Wait() (index uint64, reply any, err error)
}

// Log is the consensus that the orchestrator proposes to.
type Log interface {
	// Propose must not block, and keeps the order of calls.
	Propose(command []byte) Pending
	// Barrier returns when everything committed before is applied here.
	Barrier(ctx context.Context) error
}

// Transport reaches workers. It is called from several goroutines; calls end with
// ctx, and repeating one is harmless.
type Transport interface {
	// Dispatch gives a worker attempts to run.
	Dispatch(ctx context.Context, worker pipeline.NodeID, in peer.DispatchRequest) (peer.DispatchResponse, error)
	// Stop asks a worker to end attempts.
	Stop(ctx context.Context, worker pipeline.NodeID, in peer.StopRequest) error
	// Sync renews a worker's lease and returns what it has.
	Sync(ctx context.Context, worker pipeline.NodeID, in peer.SyncRequest) (peer.SyncResponse, error)
}

// Members lists the members of the cluster.
type Members interface {
	// Workers lists those that run modules.
	Workers() []pipeline.Member
	// Changes returns a channel that has an element after the list may have changed,
	// until stop is called.
	Changes() (changes <-chan struct{}, stop func())
}

// Evaluate computes the deferred expressions of a module (language.Evaluate). It is
// called on the loop, unless the module's expressions are expensive.
type Evaluate func(ctx context.Context, p *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error)

// Timing has the intervals of the leader. Zero fields mean DefaultTiming's.
type Timing struct {
	// Lease is how long a worker is trusted after its last answer.
	Lease time.Duration
	// Silence after the lease is enough to declare a worker lost even if gossip sees
	// it.
	Silence time.Duration
	// Sync is the time between two comparisons with a worker.
	Sync time.Duration
	// Call bounds one call to a worker.
	Call time.Duration
	// Heartbeat is the interval expected of external workers; after three missed ones
	// they are offline.
	Heartbeat time.Duration
}

// DefaultTiming is the timing of a real cluster.
func DefaultTiming() Timing {
	return Timing{Lease: 5 * time.Second, Silence: 30 * time.Second, Sync: time.Second,
		Call: 3 * time.Second, Heartbeat: 2 * time.Second}
}

// Store is the replicated state as the leader follows it. fsm.Store implements it.
type Store interface {
	stateReader
	Subscribe() *fsm.Subscription
}

// Config is what an orchestrator needs.
type Config struct {
	Self      pipeline.NodeID
	Log       Log
	Store     Store
	Transport Transport
	Members   Members
	Evaluate  Evaluate
	// PrepareChild compiles the children of modules.
	PrepareChild PrepareChild
	// Alone is set if no other worker can join: a module that this one cannot run
	// fails at once instead of waiting.
	Alone bool
	// Vault opens what is sealed; nil if nothing is.
	Vault Vault
	// Results serves the result cache; nil disables it.
	Results Results
	// ImageDigests finds the digests of images for it; nil if there are no containers.
	ImageDigests ImageDigests
	Logger       hclog.Logger
	Timing       Timing
	// MaxLoaded is how many modules of small runs, and how many of large ones, the
	// leader holds in memory while others are parked; 0 means the default.
	MaxLoaded int
	// Now is the clock of schedules; nil means time.Now.
	Now func() time.Time
	// NodeName returns the name of a node.
	NodeName func(pipeline.NodeID) string
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Leader
	// Ended is called on the loop with each run whose end is committed, and must not
	// block; nil is called for none.
	Ended func(pipeline.RunID)
	// LastContact is when another leader's last message came to this node; zero if none did,
	// and nil if there is no other.
	LastContact func() time.Time
}
