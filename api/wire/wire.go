// Package wire holds the JSON documents of the HTTP protocol. They are shared
// by the server (api), the typed client (api/client) and the command line;
// field names are the contract of docs/http.md. It holds data only.
package wire

import (
	"encoding/json"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// TimeOf is nil for a time that is not set.
func TimeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Problem is an RFC 9457 problem document. Kind carries pipeline.Kind across
// the network.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Kind      string `json:"kind"`
	RequestID string `json:"requestId,omitempty"`
	// Diagnostics are the findings in a refused pipeline, one a mistake.
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
}

// Diagnostic is one mistake in a pipeline's source.
type Diagnostic struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	EndColumn  int    `json:"endColumn,omitempty"`
	Summary    string `json:"summary"`
	Detail     string `json:"detail,omitempty"`
	SourceLine string `json:"sourceLine,omitempty"`
}

// SubmitRequest asks for a run of a pipeline. It goes to POST /api/v1/runs
// with an optional Idempotency-Key header.
type SubmitRequest struct {
	Source   string `json:"source"`
	FileName string `json:"fileName"`
	// Workspace is the digest of a tree whose blobs were sent before; empty
	// if no files go along.
	Workspace pipeline.Digest   `json:"workspace,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	// Env is kept for env_from; modules do not see it otherwise.
	Env map[string]string `json:"env,omitempty"`
	Git *pipeline.Git     `json:"git,omitempty"`
	// Targets, Tags and Skip select modules: with Targets or Tags the run has
	// those and what they need; Skip names modules that are skipped.
	Targets []string `json:"targets,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Skip    []string `json:"skip,omitempty"`
	// Cache is "" (modules with cache = true take cached results and record
	// theirs), "refresh" (they take none) or "off" (neither).
	Cache string `json:"cache,omitempty"`
	// Trace is the trace that the submission is part of. It goes in headers, as the
	// standard says: traceparent, tracestate, baggage.
	Trace pipeline.TraceContext `json:"-"`
}

// RunCreated answers a submission, once the run is committed.
type RunCreated struct {
	ID     pipeline.RunID `json:"id"`
	Number uint64         `json:"number"`
	// Repeated is set if the idempotency key was known and nothing was made.
	Repeated bool `json:"repeated,omitempty"`
}

// Run is a run with its modules, as GET /api/v1/runs/{id} gives it.
type Run struct {
	RunSummary
	// File is the pipeline's file as the submitter named it.
	File    string   `json:"file,omitempty"`
	Modules []Module `json:"modules"`
	// Index is the raft index of the newest change in the answer; ask with
	// ?index=N&wait=30s to be answered when there is a newer one, and with
	// ?since=N to get only the modules that changed after N.
	Index uint64 `json:"index"`
}

// RunSummary is a run as lists show it.
type RunSummary struct {
	ID          pipeline.RunID    `json:"id"`
	Number      uint64            `json:"number"`
	Pipeline    string            `json:"pipeline"`
	State       pipeline.RunState `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Submitter   string            `json:"submitter,omitempty"`
	SubmittedAt time.Time         `json:"submittedAt"`
	StartedAt   *time.Time        `json:"startedAt,omitempty"`
	FinishedAt  *time.Time        `json:"finishedAt,omitempty"`
	// IdleSeconds is how long the run had finished before it was retried; it is no
	// part of how long the run took.
	IdleSeconds float64         `json:"idleSeconds,omitempty"`
	Workspace   pipeline.Digest `json:"workspace,omitempty"`
	// Schedule is the schedule that the run is of, Tick when it was due (nil if
	// it was triggered by hand). Group is its concurrency group.
	Schedule string     `json:"schedule,omitempty"`
	Tick     *time.Time `json:"tick,omitempty"`
	Group    string     `json:"group,omitempty"`
	// ModuleCount and ModulesDone count over the whole run; a block that became
	// instances does not count beside them.
	ModuleCount int `json:"moduleCount"`
	ModulesDone int `json:"modulesDone"`
	// Git are the facts of the commit at submission; nil if there was none.
	Git *pipeline.Git `json:"git,omitempty"`
	// Pinned runs are kept whole whatever the limits say.
	Pinned bool `json:"pinned,omitempty"`
	// ArtifactsGone and LogsGone: a limit let them go.
	ArtifactsGone bool `json:"artifactsGone,omitempty"`
	LogsGone      bool `json:"logsGone,omitempty"`
}

// Took is how long the run took, or has taken at a time.
func (r *RunSummary) Took(now time.Time) time.Duration {
	if r.FinishedAt != nil {
		now = *r.FinishedAt
	}
	return max(0, now.Sub(r.SubmittedAt)-time.Duration(r.IdleSeconds*float64(time.Second)))
}

// Module is a module of a run.
type Module struct {
	Name string `json:"name"`
	// Of is the block that the module is an instance of (matrix, for_each).
	Of        string               `json:"of,omitempty"`
	State     pipeline.ModuleState `json:"state"`
	Reason    string               `json:"reason"`
	Worker    string               `json:"worker"`
	DependsOn []string             `json:"dependsOn,omitempty"`
	// Line is where the module is written in the run's file.
	Line     int             `json:"line,omitempty"`
	Result   json.RawMessage `json:"result"`
	ExitCode *int            `json:"exitCode"`
	Outputs  []string        `json:"outputs"`
	// OutputBytes is the size of all outputs.
	OutputBytes int64 `json:"outputBytes,omitempty"`
	// StartedAt and FinishedAt are of the deciding attempt; DurationSeconds
	// lies between them.
	StartedAt       *time.Time `json:"startedAt,omitempty"`
	FinishedAt      *time.Time `json:"finishedAt,omitempty"`
	DurationSeconds float64    `json:"durationSeconds,omitempty"`
	// ExpectedSeconds is how long earlier runs say that a module takes that has not
	// ended; unset if there were none.
	ExpectedSeconds float64    `json:"expectedSeconds,omitempty"`
	NotBefore       *time.Time `json:"notBefore,omitempty"`
	// Approval is of a module that waits for a person.
	Approval *Approval `json:"approval,omitempty"`
	Attempts []Attempt `json:"attempts"`
	// Tests is what it reported of its tests, by the reports block; nil if nothing.
	Tests *ModuleTests `json:"tests,omitempty"`
	// Warnings say what of it could not be read, such as a report of tests.
	Warnings []string `json:"warnings,omitempty"`
	// CachedFrom says whose cached result a cached module has.
	CachedFrom *CachedFrom `json:"cachedFrom,omitempty"`
}

// Last is the newest attempt; nil if there is none.
func (m *Module) Last() *Attempt {
	if len(m.Attempts) == 0 {
		return nil
	}
	return &m.Attempts[len(m.Attempts)-1]
}

// CachedFrom names the attempt that produced a cached result.
type CachedFrom = pipeline.CachedFrom

// Attempt is one try of a module. Worker is a node name.
type Attempt struct {
	Number     int                   `json:"number"`
	Worker     string                `json:"worker"`
	State      pipeline.AttemptState `json:"state"`
	Reason     string                `json:"reason"`
	ExitCode   *int                  `json:"exitCode"`
	AssignedAt *time.Time            `json:"assignedAt,omitempty"`
	StartedAt  *time.Time            `json:"startedAt"`
	FinishedAt *time.Time            `json:"finishedAt"`
	LogSize    int64                 `json:"logSize"`
	// Replicas says on how many nodes log and outputs were at commit.
	Replicas int `json:"replicas,omitempty"`
	// LocalBytes is how many bytes more of its inputs the worker had than another
	// that had less to do, if that decided where it went.
	LocalBytes int64 `json:"localBytes,omitempty"`
}

// RunList answers GET /api/v1/runs?limit=N&cursor=C&state=S&pipeline=P, newest
// first. Cursor is empty on the last page.
type RunList struct {
	Runs   []RunSummary `json:"runs"`
	Cursor string       `json:"cursor,omitempty"`
}

// CancelRequest goes to POST /api/v1/runs/{id}/cancel. The answer is the run's
// RunSummary.
type CancelRequest struct {
	Reason string `json:"reason,omitempty"`
	// Request is an id of the caller's choice. A second cancellation with another
	// one stops what runs on cancel too (always_run).
	Request string `json:"request,omitempty"`
}

// RetryRequest goes to POST /api/v1/runs/{id}/retry: the run resumes with what
// did not succeed, or, with From, with these modules and all that depends on
// them. The answer is the run's RunSummary.
type RetryRequest struct {
	From []string `json:"from,omitempty"`
	// Request is an id of the caller's choice, or the call's Idempotency-Key: the
	// same one again changes nothing.
	Request string `json:"request,omitempty"`
}

// Why explains a run, or one module of it.
type Why struct {
	Run    RunSummary  `json:"run"`
	Module []WhyModule `json:"modules"`
}

// WhyModule says why a module is where it is: a sentence for each fact.
type WhyModule struct {
	Name    string               `json:"name"`
	State   pipeline.ModuleState `json:"state"`
	Because []string             `json:"because"`
}

// LockList answers GET /api/v1/locks: the keys of not_in_parallel that are held
// or waited for.
type LockList struct {
	Locks []Lock `json:"locks"`
}

// Lock and LockUser are the read models of the same names.
type (
	Lock     = pipeline.Lock
	LockUser = pipeline.LockUser
)

// LogEvent is one piece of output in a followed log (the data of a
// server-sent event). Text holds whole or partial lines; bytes that are no
// UTF-8 arrive as U+FFFD there and exactly in Raw.
type LogEvent struct {
	Module  string `json:"module"`
	Attempt int    `json:"attempt"`
	// Offset of the first byte of the piece in the attempt's output.
	Offset int64  `json:"offset"`
	Text   string `json:"text,omitempty"`
	Raw    []byte `json:"raw,omitempty"`
	// Time is when the piece was written, by its worker's clock, if the
	// request wants times; as exact as pipeline.LogMarks is.
	Time time.Time `json:"time,omitzero"`
	// End is set on the last event of an attempt; State is how it ended.
	End   bool                  `json:"end,omitempty"`
	State pipeline.AttemptState `json:"state,omitempty"`
	// RunEnd is set on the last event of a run's stream: all logs were sent.
	RunEnd bool              `json:"runEnd,omitempty"`
	Run    pipeline.RunState `json:"run,omitempty"`
}

// LogPosition says how much of a module's output a follower has.
type LogPosition struct {
	Attempt int   `json:"attempt"`
	Offset  int64 `json:"offset"`
	// Ended is set if the follower has seen the attempt's End.
	Ended bool `json:"ended,omitempty"`
}

// FollowRequest goes to POST /api/v1/runs/{id}/logs: server-sent LogEvents of
// all modules (or of Modules), from Positions on, until the run has ended and
// every log was sent.
type FollowRequest struct {
	Modules   []string               `json:"modules,omitempty"`
	Positions map[string]LogPosition `json:"positions,omitempty"`
	// Follow false: what is there now, then the end.
	Follow bool `json:"follow"`
	// Lines, if above 0, begins each module with the last so many lines of its
	// newest attempt. A position that is behind an attempt's beginning wins.
	Lines int `json:"lines,omitempty"`
	// Since leaves out what was written before that time.
	Since time.Time `json:"since,omitzero"`
	// Times wants pieces that have a Time.
	Times bool `json:"times,omitempty"`
}

// Artifact is one output file of a module.
type Artifact struct {
	Module string          `json:"module"`
	Path   string          `json:"path"`
	Size   int64           `json:"size"`
	Mode   uint32          `json:"mode"`
	Digest pipeline.Digest `json:"digest,omitempty"`
	Link   string          `json:"link,omitempty"`
}

// ArtifactList answers GET /api/v1/runs/{id}/artifacts[?module=M].
type ArtifactList struct {
	Artifacts []Artifact `json:"artifacts"`
}

// MissingRequest asks which blobs are missing on the node: POST /api/v1/blobs/missing.
// Instead of digests it may name one tree: then the answer lists that if it
// is missing, else those of its files' blobs that are.
type MissingRequest struct {
	Digests []pipeline.Digest `json:"digests,omitempty"`
	Tree    pipeline.Digest   `json:"tree,omitempty"`
}

// MissingResponse lists them.
type MissingResponse struct {
	Missing []pipeline.Digest `json:"missing"`
	// Arrived has, for missing blobs of which an upload was cut, how many
	// bytes are here: PUT with Content-Range continues from there.
	Arrived map[pipeline.Digest]int64 `json:"arrived,omitempty"`
}

// BundleRequest asks for many small blobs at once: POST /api/v1/blobs/get. The
// answer is a bundle as blob.ReadBundle reads it. Blobs that no node has, and
// those of more than MaxBundledBlob bytes, are not in it.
type BundleRequest struct {
	Digests []pipeline.Digest `json:"digests"`
}

const (
	// MaxBundledBlobs is how many blobs one BundleRequest may name.
	MaxBundledBlobs = 1000
	// MaxBundledBlob is how long a blob in the answer may be, in bytes.
	MaxBundledBlob = 256 << 10
)

// BundleResponse answers POST /api/v1/blobs, a bundle as blob.WriteBundle
// makes it, once all its blobs are durable here.
type BundleResponse struct {
	Stored int `json:"stored"`
}

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

// TokenRequest goes to POST /api/v1/tokens; TokenCreated answers, and is the
// only time that the token itself is seen.
type TokenRequest struct {
	Name       string  `json:"name,omitempty"`
	Role       string  `json:"role"`
	TTLSeconds float64 `json:"ttlSeconds,omitempty"`
	// Untrusted, with the role submit: no other submission reads what runs of this
	// token leave in caches.
	Untrusted bool `json:"untrusted,omitempty"`
	// Uses, with the roles submit and worker, is how many runs the token may begin, or
	// workers may register with it; 0 is any number.
	Uses int `json:"uses,omitempty"`
	WorkerScope
}

// WorkerScope is what a token of the role worker admits. Tags are what its workers
// may claim, Pipelines are patterns of the pipelines whose modules they get; without
// any, that is every one. Secrets admits modules that have secrets.
type WorkerScope struct {
	Tags      []string `json:"tags,omitempty"`
	Pipelines []string `json:"pipelines,omitempty"`
	Secrets   bool     `json:"secrets,omitempty"`
}

// TokenCreated is a new token.
type TokenCreated struct {
	TokenInfo
	Token string `json:"token"`
}

// TokenInfo is what is kept of a token.
type TokenInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	Untrusted bool       `json:"untrusted,omitempty"`
	// Used of Uses are taken; without Uses there is no bound.
	Uses int `json:"uses,omitempty"`
	Used int `json:"used,omitempty"`
	// SignIn is set for the token of a browser that signed in.
	SignIn bool `json:"signIn,omitempty"`
	WorkerScope
}

// SecretRequest goes to PUT /api/v1/secrets/{name}. No answer ever holds the
// value.
type SecretRequest struct {
	Value string `json:"value"`
}

// SecretInfo describes a secret, without its value. Unmasked says that its value is too
// short to be masked in output.
type SecretInfo struct {
	Name     string    `json:"name"`
	SetAt    time.Time `json:"setAt"`
	SetBy    string    `json:"setBy,omitempty"`
	Unmasked bool      `json:"unmasked,omitempty"`
}

// SecretList answers GET /api/v1/secrets.
type SecretList struct {
	Secrets []SecretInfo `json:"secrets"`
}

// TokenList answers GET /api/v1/tokens.
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"`
}
