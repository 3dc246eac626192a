package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Role is what a caller may do. Roles are ordered: a higher one may do what a
// lower one may, but for RoleWorker, which stands beside them.
type Role string

// The roles of tokens.
const (
	RoleRead   Role = "read"
	RoleSubmit Role = "submit"
	RoleWorker Role = "worker"
	RoleAdmin  Role = "admin"
)

// Subject is a verified caller.
type Subject struct {
	Name string
	Role Role
	// Worker is the outside worker that the token belongs to, where it does.
	Worker pipeline.NodeID
}

// Backend is what the API needs of its node. internal/node implements it. All
// methods are safe for concurrent use and end when their context does; errors
// carry a pipeline.Kind. Methods marked leader are only called on the leader:
// the API forwards the request there first.
type Backend interface {
	ToolBackend

	// NodeID and NodeName say who this is.
	NodeID() pipeline.NodeID
	NodeName() string
	// IsLeader says whether this node may serve the calls marked leader now.
	IsLeader() bool
	// Leader gives a transport to the leader and the base URL to use with it.
	// pipeline.ErrNoLeader where none is known.
	Leader(ctx context.Context) (http.RoundTripper, *url.URL, error)
	// Stateful gives a transport to a node that holds the replicated state, for
	// a node that does not (HasState false).
	Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error)
	HasState() bool

	Health(ctx context.Context) wire.Health
	// Authenticate finds the subject of a bearer token; kind Unauthenticated
	// where there is none. remote is the caller's address.
	Authenticate(ctx context.Context, token, remote string) (Subject, error)

	// Submit runs on the node that was asked: it checks the source, sees to the
	// copies of the workspace and commits the run. A *SourceError is an invalid
	// pipeline.
	Submit(ctx context.Context, by Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error)
	// Runs, Run: leader, or any node that has the state with stale.
	Runs(ctx context.Context, q RunQuery) (wire.RunList, error)
	// Run waits until the run's index is past afterIndex, at most wait, and
	// leaves out modules that did not change after since.
	Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error)
	// Pin keeps a run whole, or lets the limits hold for it again: leader.
	Pin(ctx context.Context, by Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error)
	// Cancel: leader.
	Cancel(ctx context.Context, by Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error)
	// Retry: leader. It makes a run that is over go on.
	Retry(ctx context.Context, by Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error)
	// Decide: leader. It takes a person's word about a module that waits for an
	// approval. The same decision again changes nothing; another one is a
	// Conflict.
	Decide(ctx context.Context, by Subject, id pipeline.RunID, module string, d pipeline.Decision, comment string) (wire.Module, error)
	// Why: leader. An empty module means all of them.
	Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error)
	// RegisterSchedule: as Submit; the same key again changes nothing. Schedules and
	// Schedule: leader, or any node that has the state with stale. The rest: leader.
	RegisterSchedule(ctx context.Context, by Subject, key string, in wire.SubmitRequest) (wire.Schedule, error)
	Schedules(ctx context.Context) (wire.ScheduleList, error)
	Schedule(ctx context.Context, name string) (wire.Schedule, error)
	ChangeSchedule(ctx context.Context, by Subject, name string, change ScheduleChange) (wire.Schedule, error)
	TriggerSchedule(ctx context.Context, by Subject, key, name string) (wire.RunCreated, error)
	// Locks: leader.
	Locks(ctx context.Context) (wire.LockList, error)
	// CacheList, CacheStats: leader, or any node that has the state with stale.
	// The list begins behind the key after. CachePrune: leader.
	CacheList(ctx context.Context, pipeline string, limit int, after pipeline.Digest) (wire.CacheList, error)
	CacheStats(ctx context.Context) (wire.CacheStats, error)
	// Estimate: leader. It says how long a run of a submission would take.
	Estimate(ctx context.Context, by Subject, in wire.SubmitRequest) (wire.Estimate, error)
	// CacheLookup: leader. It says which modules of a submission would take a
	// recorded result.
	CacheLookup(ctx context.Context, by Subject, in wire.SubmitRequest) (wire.CacheForecast, error)
	CachePrune(ctx context.Context, by Subject, in wire.CachePrune) (wire.CachePruned, error)

	// Follow sends the logs of a run (needs the state). It returns after the
	// RunEnd event, when send fails, or when ctx ends.
	Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error
	// Log opens the output of one attempt (0: the newest) from offset on; it
	// reads what is there now. size is what there is, final whether it will not
	// grow.
	Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (r io.ReadCloser, info LogInfo, err error)
	// Exec starts a process in the folder of an attempt, wherever that is, and
	// gives the stream of its wire.ExecFrames. Closing it ends the process.
	Exec(ctx context.Context, by Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error)
	// Artifacts lists outputs; OpenArtifact reads one from whichever node has it.
	Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error)
	OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (Blob, wire.Artifact, error)

	// Blobs of this node's store; OpenBlob asks peers where it lacks one and
	// local is false.
	OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (Blob, error)
	PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error
	// PutBlobPart takes what r gives of a blob of total bytes, from an offset on
	// up to its end. What arrived is kept when r breaks off; ArrivedBlobs tells
	// how much that is, of those of the blobs of which there is something.
	PutBlobPart(ctx context.Context, d pipeline.Digest, from, total int64, r io.Reader) error
	ArrivedBlobs(ctx context.Context, d []pipeline.Digest) map[pipeline.Digest]int64
	MissingBlobs(ctx context.Context, d []pipeline.Digest) ([]pipeline.Digest, error)
	// MissingOfTree tells which blobs of a tree and its files this node lacks: the
	// tree alone where it lacks that.
	MissingOfTree(ctx context.Context, tree pipeline.Digest) ([]pipeline.Digest, error)
	PutBundle(ctx context.Context, r io.Reader) (int, error)
	// Bundle brings blobs here, as far as there are copies, and gives what writes
	// those of up to wire.MaxBundledBlob bytes as a bundle.
	Bundle(ctx context.Context, d []pipeline.Digest) (func(io.Writer) error, error)

	// Execute: any node; the run of one module is placed on this node. With
	// async it returns after the commit with done false.
	Execute(ctx context.Context, by Subject, in wire.ExecuteRequest, async bool) (out wire.ExecuteResponse, done bool, err error)
	CancelExecution(ctx context.Context, by Subject, in wire.CancelExecution) error
	// Result takes the outcome of an outside worker's execution: leader.
	Result(ctx context.Context, by Subject, in wire.ExecuteResponse) (wire.ResultResponse, error)
	// Register, Heartbeat, Workers, Forget: leader.
	Register(ctx context.Context, by Subject, in wire.RegisterRequest) (wire.RegisterResponse, error)
	Heartbeat(ctx context.Context, by Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error)
	Workers(ctx context.Context) (wire.WorkerList, error)
	ForgetWorker(ctx context.Context, by Subject, id string) error

	Members(ctx context.Context) (wire.MemberList, error)
	Raft(ctx context.Context) (wire.RaftInfo, error)
	// Drain: leader. Leave: the node itself; the API forwards by name.
	Drain(ctx context.Context, by Subject, node string, in wire.DrainRequest) error
	Leave(ctx context.Context, by Subject) error
	// Node gives a transport to a member by name or id, for calls that concern
	// that very node.
	Node(ctx context.Context, name string) (http.RoundTripper, *url.URL, error)

	// Tokens: leader.
	CreateToken(ctx context.Context, by Subject, in wire.TokenRequest) (wire.TokenCreated, error)
	Tokens(ctx context.Context) (wire.TokenList, error)
	DeleteToken(ctx context.Context, by Subject, id string) error

	// SetSecret, DeleteSecret: any node; what it is told is sealed there, before
	// anything leaves it. Secrets: leader.
	SetSecret(ctx context.Context, by Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error)
	Secrets(ctx context.Context) (wire.SecretList, error)
	DeleteSecret(ctx context.Context, by Subject, name string) error
}

// RunQuery selects runs.
type RunQuery struct {
	Limit    int
	Cursor   string
	State    pipeline.RunState
	Pipeline string
}

// LogInfo says what Log found.
type LogInfo struct {
	Attempt int
	Size    int64
	Final   bool
	// Digest of the whole output, where it is final and known; "" otherwise.
	Digest pipeline.Digest
}

// Blob is an open blob: seekable, so that ranges can be served.
type Blob interface {
	io.ReadSeekCloser
	Size() int64
}

// SourceError is a refused pipeline: kind Invalid, with every mistake and its
// place. The problem document carries the diagnostics.
type SourceError = wire.SourceError
