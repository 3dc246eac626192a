// Package apitest has a backend for tests of the API and of what speaks to it:
// every method is a field that a test sets, and one that it did not set answers
// with kind Internal and the method's name.
package apitest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Backend has the interfaces of package api, made of functions. The zero value is a leader with
// state that knows no token. It is safe for concurrent use as far as its
// functions are; they must be set before it is used.
type Backend struct {
	ID   pipeline.NodeID
	Name string
	// Follower and Stateless turn off what the zero value is.
	Follower, Stateless atomic.Bool
	// Subjects are the callers by token.
	Subjects map[string]api.Subject

	ScheduleFuncs
	ToolFuncs

	LeaderFunc, StatefulFunc func(context.Context) (http.RoundTripper, *url.URL, error)
	NodeFunc                 func(context.Context, string) (http.RoundTripper, *url.URL, error)
	HealthFunc               func(context.Context) wire.Health
	AuthenticateFunc         func(context.Context, string, string) (api.Subject, error)
	SubmitFunc               func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error)
	RunsFunc                 func(context.Context, api.RunQuery) (wire.RunList, error)
	RunFunc                  func(context.Context, pipeline.RunID, uint64, time.Duration, uint64) (wire.Run, error)
	PinFunc                  func(context.Context, api.Subject, pipeline.RunID, bool) (wire.RunSummary, error)
	CancelFunc               func(context.Context, api.Subject, pipeline.RunID, wire.CancelRequest) (wire.RunSummary, error)
	DecideFunc               func(context.Context, api.Subject, pipeline.RunID, string, pipeline.Decision, string) (wire.Module, error)
	RetryFunc                func(context.Context, api.Subject, pipeline.RunID, wire.RetryRequest) (wire.RunSummary, error)
	WhyFunc                  func(context.Context, pipeline.RunID, string) (wire.Why, error)
	LocksFunc                func(context.Context) (wire.LockList, error)
	CacheListFunc            func(context.Context, string, int, pipeline.Digest) (wire.CacheList, error)
	CacheStatsFunc           func(context.Context) (wire.CacheStats, error)
	EstimateFunc             func(context.Context, api.Subject, wire.SubmitRequest) (wire.Estimate, error)
	CacheLookupFunc          func(context.Context, api.Subject, wire.SubmitRequest) (wire.CacheForecast, error)
	CachePruneFunc           func(context.Context, api.Subject, wire.CachePrune) (wire.CachePruned, error)
	FollowFunc               func(context.Context, pipeline.RunID, wire.FollowRequest, func(wire.LogEvent) error) error
	LogFunc                  func(context.Context, pipeline.RunID, string, int, int64) (io.ReadCloser, api.LogInfo, error)
	ExecFunc                 func(context.Context, api.Subject, pipeline.RunID, string, wire.ExecRequest) (io.ReadWriteCloser, error)
	ArtifactsFunc            func(context.Context, pipeline.RunID, string) (wire.ArtifactList, error)
	OpenArtifactFunc         func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error)
	OpenBlobFunc             func(context.Context, pipeline.Digest, bool) (api.Blob, error)
	PutBlobFunc              func(context.Context, pipeline.Digest, io.Reader) error
	PutBlobPartFunc          func(context.Context, pipeline.Digest, int64, int64, io.Reader) error
	ArrivedBlobsFunc         func(context.Context, []pipeline.Digest) map[pipeline.Digest]int64
	MissingBlobsFunc         func(context.Context, []pipeline.Digest) ([]pipeline.Digest, error)
	MissingOfTreeFunc        func(context.Context, pipeline.Digest) ([]pipeline.Digest, error)
	PutBundleFunc            func(context.Context, io.Reader) (int, error)
	BundleFunc               func(context.Context, []pipeline.Digest) (func(io.Writer) error, error)
	ExecuteFunc              func(context.Context, api.Subject, wire.ExecuteRequest, bool) (wire.ExecuteResponse, bool, error)
	CancelExecutionFunc      func(context.Context, api.Subject, wire.CancelExecution) error
	ResultFunc               func(context.Context, api.Subject, wire.ExecuteResponse) (wire.ResultResponse, error)
	RegisterFunc             func(context.Context, api.Subject, wire.RegisterRequest) (wire.RegisterResponse, error)
	HeartbeatFunc            func(context.Context, api.Subject, wire.HeartbeatRequest) (wire.HeartbeatResponse, error)
	WorkersFunc              func(context.Context) (wire.WorkerList, error)
	ForgetWorkerFunc         func(context.Context, api.Subject, string) error
	MembersFunc              func(context.Context) (wire.MemberList, error)
	RaftFunc                 func(context.Context) (wire.RaftInfo, error)
	DrainFunc                func(context.Context, api.Subject, string, wire.DrainRequest) error
	LeaveFunc                func(context.Context, api.Subject) error
	CreateTokenFunc          func(context.Context, api.Subject, wire.TokenRequest) (wire.TokenCreated, error)
	TokensFunc               func(context.Context) (wire.TokenList, error)
	DeleteTokenFunc          func(context.Context, api.Subject, string) error
	SetSecretFunc            func(context.Context, api.Subject, string, wire.SecretRequest) (wire.SecretInfo, error)
	SecretsFunc              func(context.Context) (wire.SecretList, error)
	DeleteSecretFunc         func(context.Context, api.Subject, string) error
}

// Configure sets what a server needs of a node to this one.
func (b *Backend) Configure(cfg *api.Config) {
	cfg.NodeID, cfg.NodeName = b.NodeID(), b.NodeName()
	cfg.Router, cfg.Auth, cfg.Runs, cfg.Logs, cfg.Artifacts, cfg.Blobs, cfg.Cache, cfg.RemoteCache = b, b, b, b, b, b, b, b
	cfg.Schedules, cfg.Secrets, cfg.Tokens, cfg.Cluster, cfg.Executions, cfg.Workers, cfg.Sessions = b, b, b, b, b, b, b
}

func unset(method string) error {
	return pipeline.Errorf(pipeline.Internal, "apitest: %s is not set", method)
}

// Bytes is a blob in memory.
func Bytes(b []byte) api.Blob { return blob{bytes.NewReader(b)} }

type blob struct{ *bytes.Reader }

func (b blob) Size() int64  { return b.Reader.Size() }
func (b blob) Close() error { return nil }

// The methods of the interfaces of package api.

func (b *Backend) NodeID() pipeline.NodeID {
	if b.ID == "" {
		return "id-" + pipeline.NodeID(b.NodeName())
	}
	return b.ID
}

func (b *Backend) NodeName() string {
	if b.Name == "" {
		return "n1"
	}
	return b.Name
}

func (b *Backend) IsLeader() bool { return !b.Follower.Load() }
func (b *Backend) HasState() bool { return !b.Stateless.Load() }

func (b *Backend) Leader(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if b.LeaderFunc == nil {
		return nil, nil, pipeline.ErrNoLeader
	}
	return b.LeaderFunc(ctx)
}

func (b *Backend) Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if b.StatefulFunc == nil {
		return nil, nil, pipeline.ErrNoLeader
	}
	return b.StatefulFunc(ctx)
}

func (b *Backend) Node(ctx context.Context, name string) (http.RoundTripper, *url.URL, error) {
	if b.NodeFunc == nil {
		return nil, nil, pipeline.Errorf(pipeline.NotFound, "node %s: there is none", name)
	}
	return b.NodeFunc(ctx, name)
}

func (b *Backend) Health(ctx context.Context) wire.Health {
	if b.HealthFunc == nil {
		return wire.Health{Status: "healthy", NodeID: b.NodeID(), Node: b.NodeName(), Leader: "n1", Role: "leader", Quorum: true}
	}
	return b.HealthFunc(ctx)
}

func (b *Backend) Authenticate(ctx context.Context, token, remote string) (api.Subject, error) {
	if b.AuthenticateFunc != nil {
		return b.AuthenticateFunc(ctx, token, remote)
	}
	if s, ok := b.Subjects[token]; ok {
		return s, nil
	}
	return api.Subject{}, pipeline.Errorf(pipeline.Unauthenticated, "token: it is not known")
}

func (b *Backend) Submit(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	if b.SubmitFunc == nil {
		return wire.RunCreated{}, unset("Submit")
	}
	return b.SubmitFunc(ctx, by, key, in)
}

func (b *Backend) Runs(ctx context.Context, q api.RunQuery) (wire.RunList, error) {
	if b.RunsFunc == nil {
		return wire.RunList{}, unset("Runs")
	}
	return b.RunsFunc(ctx, q)
}

func (b *Backend) Run(ctx context.Context, id pipeline.RunID, after uint64, wait time.Duration, since uint64) (wire.Run, error) {
	if b.RunFunc == nil {
		return wire.Run{}, unset("Run")
	}
	return b.RunFunc(ctx, id, after, wait, since)
}

func (b *Backend) Cancel(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error) {
	if b.CancelFunc == nil {
		return wire.RunSummary{}, unset("Cancel")
	}
	return b.CancelFunc(ctx, by, id, in)
}

// Pin calls PinFunc.
func (b *Backend) Pin(ctx context.Context, by api.Subject, id pipeline.RunID, pinned bool) (wire.RunSummary, error) {
	if b.PinFunc == nil {
		return wire.RunSummary{}, unset("Pin")
	}
	return b.PinFunc(ctx, by, id, pinned)
}

// Decide calls DecideFunc.
func (b *Backend) Decide(ctx context.Context, by api.Subject, id pipeline.RunID, module string, d pipeline.Decision, comment string) (wire.Module, error) {
	if b.DecideFunc == nil {
		return wire.Module{}, unset("Decide")
	}
	return b.DecideFunc(ctx, by, id, module, d, comment)
}

// Exec calls ExecFunc.
func (b *Backend) Exec(ctx context.Context, by api.Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
	if b.ExecFunc == nil {
		return nil, unset("Exec")
	}
	return b.ExecFunc(ctx, by, id, module, in)
}

// Retry calls RetryFunc.
func (b *Backend) Retry(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	if b.RetryFunc == nil {
		return wire.RunSummary{}, unset("Retry")
	}
	return b.RetryFunc(ctx, by, id, in)
}

// Why calls WhyFunc.
func (b *Backend) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	if b.WhyFunc == nil {
		return wire.Why{}, unset("Why")
	}
	return b.WhyFunc(ctx, id, module)
}

// Locks calls LocksFunc.
func (b *Backend) Locks(ctx context.Context) (wire.LockList, error) {
	if b.LocksFunc == nil {
		return wire.LockList{}, unset("Locks")
	}
	return b.LocksFunc(ctx)
}

func (b *Backend) Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
	if b.FollowFunc == nil {
		return unset("Follow")
	}
	return b.FollowFunc(ctx, id, in, send)
}

func (b *Backend) Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, api.LogInfo, error) {
	if b.LogFunc == nil {
		return nil, api.LogInfo{}, unset("Log")
	}
	return b.LogFunc(ctx, id, module, attempt, offset)
}

func (b *Backend) Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	if b.ArtifactsFunc == nil {
		return wire.ArtifactList{}, unset("Artifacts")
	}
	return b.ArtifactsFunc(ctx, id, module)
}

func (b *Backend) OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (api.Blob, wire.Artifact, error) {
	if b.OpenArtifactFunc == nil {
		return nil, wire.Artifact{}, unset("OpenArtifact")
	}
	return b.OpenArtifactFunc(ctx, id, module, path)
}

func (b *Backend) OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (api.Blob, error) {
	if b.OpenBlobFunc == nil {
		return nil, unset("OpenBlob")
	}
	return b.OpenBlobFunc(ctx, d, local)
}

func (b *Backend) PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	if b.PutBlobFunc == nil {
		return unset("PutBlob")
	}
	return b.PutBlobFunc(ctx, d, r)
}

// PutBlobPart calls the field; without it a whole blob goes to PutBlob.
func (b *Backend) PutBlobPart(ctx context.Context, d pipeline.Digest, from, total int64, r io.Reader) error {
	if b.PutBlobPartFunc == nil && from == 0 {
		return b.PutBlob(ctx, d, r)
	}
	if b.PutBlobPartFunc == nil {
		return unset("PutBlobPart")
	}
	return b.PutBlobPartFunc(ctx, d, from, total, r)
}

// ArrivedBlobs calls the field; without it nothing has arrived.
func (b *Backend) ArrivedBlobs(ctx context.Context, d []pipeline.Digest) map[pipeline.Digest]int64 {
	if b.ArrivedBlobsFunc == nil {
		return nil
	}
	return b.ArrivedBlobsFunc(ctx, d)
}

// MissingOfTree calls the field.
func (b *Backend) MissingOfTree(ctx context.Context, d pipeline.Digest) ([]pipeline.Digest, error) {
	if b.MissingOfTreeFunc == nil {
		return nil, unset("MissingOfTree")
	}
	return b.MissingOfTreeFunc(ctx, d)
}

// MissingBlobs calls the field.
func (b *Backend) MissingBlobs(ctx context.Context, d []pipeline.Digest) ([]pipeline.Digest, error) {
	if b.MissingBlobsFunc == nil {
		return nil, unset("MissingBlobs")
	}
	return b.MissingBlobsFunc(ctx, d)
}

func (b *Backend) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	if b.PutBundleFunc == nil {
		return 0, unset("PutBundle")
	}
	return b.PutBundleFunc(ctx, r)
}

// Bundle calls the field.
func (b *Backend) Bundle(ctx context.Context, d []pipeline.Digest) (func(io.Writer) error, error) {
	if b.BundleFunc == nil {
		return nil, unset("Bundle")
	}
	return b.BundleFunc(ctx, d)
}

func (b *Backend) Execute(ctx context.Context, by api.Subject, in wire.ExecuteRequest, async bool) (wire.ExecuteResponse, bool, error) {
	if b.ExecuteFunc == nil {
		return wire.ExecuteResponse{}, false, unset("Execute")
	}
	return b.ExecuteFunc(ctx, by, in, async)
}

func (b *Backend) CancelExecution(ctx context.Context, by api.Subject, in wire.CancelExecution) error {
	if b.CancelExecutionFunc == nil {
		return unset("CancelExecution")
	}
	return b.CancelExecutionFunc(ctx, by, in)
}

func (b *Backend) Result(ctx context.Context, by api.Subject, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	if b.ResultFunc == nil {
		return wire.ResultResponse{}, unset("Result")
	}
	return b.ResultFunc(ctx, by, in)
}

func (b *Backend) Register(ctx context.Context, by api.Subject, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	if b.RegisterFunc == nil {
		return wire.RegisterResponse{}, unset("Register")
	}
	return b.RegisterFunc(ctx, by, in)
}

func (b *Backend) Heartbeat(ctx context.Context, by api.Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	if b.HeartbeatFunc == nil {
		return wire.HeartbeatResponse{}, unset("Heartbeat")
	}
	return b.HeartbeatFunc(ctx, by, in)
}

func (b *Backend) Workers(ctx context.Context) (wire.WorkerList, error) {
	if b.WorkersFunc == nil {
		return wire.WorkerList{}, unset("Workers")
	}
	return b.WorkersFunc(ctx)
}

func (b *Backend) ForgetWorker(ctx context.Context, by api.Subject, id string) error {
	if b.ForgetWorkerFunc == nil {
		return unset("ForgetWorker")
	}
	return b.ForgetWorkerFunc(ctx, by, id)
}

func (b *Backend) Members(ctx context.Context) (wire.MemberList, error) {
	if b.MembersFunc == nil {
		return wire.MemberList{}, unset("Members")
	}
	return b.MembersFunc(ctx)
}

func (b *Backend) Raft(ctx context.Context) (wire.RaftInfo, error) {
	if b.RaftFunc == nil {
		return wire.RaftInfo{}, unset("Raft")
	}
	return b.RaftFunc(ctx)
}

func (b *Backend) Drain(ctx context.Context, by api.Subject, node string, in wire.DrainRequest) error {
	if b.DrainFunc == nil {
		return unset("Drain")
	}
	return b.DrainFunc(ctx, by, node, in)
}

func (b *Backend) Leave(ctx context.Context, by api.Subject) error {
	if b.LeaveFunc == nil {
		return unset("Leave")
	}
	return b.LeaveFunc(ctx, by)
}

func (b *Backend) CreateToken(ctx context.Context, by api.Subject, in wire.TokenRequest) (wire.TokenCreated, error) {
	if b.CreateTokenFunc == nil {
		return wire.TokenCreated{}, unset("CreateToken")
	}
	return b.CreateTokenFunc(ctx, by, in)
}

func (b *Backend) Tokens(ctx context.Context) (wire.TokenList, error) {
	if b.TokensFunc == nil {
		return wire.TokenList{}, unset("Tokens")
	}
	return b.TokensFunc(ctx)
}

func (b *Backend) DeleteToken(ctx context.Context, by api.Subject, id string) error {
	if b.DeleteTokenFunc == nil {
		return unset("DeleteToken")
	}
	return b.DeleteTokenFunc(ctx, by, id)
}

// SetSecret calls SetSecretFunc.
func (b *Backend) SetSecret(ctx context.Context, by api.Subject, name string, in wire.SecretRequest) (wire.SecretInfo, error) {
	if b.SetSecretFunc == nil {
		return wire.SecretInfo{}, unset("SetSecret")
	}
	return b.SetSecretFunc(ctx, by, name, in)
}

// Secrets calls SecretsFunc.
func (b *Backend) Secrets(ctx context.Context) (wire.SecretList, error) {
	if b.SecretsFunc == nil {
		return wire.SecretList{}, unset("Secrets")
	}
	return b.SecretsFunc(ctx)
}

// DeleteSecret calls DeleteSecretFunc.
func (b *Backend) DeleteSecret(ctx context.Context, by api.Subject, name string) error {
	if b.DeleteSecretFunc == nil {
		return unset("DeleteSecret")
	}
	return b.DeleteSecretFunc(ctx, by, name)
}

// CacheList calls CacheListFunc.
func (b *Backend) CacheList(ctx context.Context, name string, limit int, after pipeline.Digest) (wire.CacheList, error) {
	if b.CacheListFunc == nil {
		return wire.CacheList{}, unset("CacheList")
	}
	return b.CacheListFunc(ctx, name, limit, after)
}

// CacheStats calls CacheStatsFunc.
func (b *Backend) CacheStats(ctx context.Context) (wire.CacheStats, error) {
	if b.CacheStatsFunc == nil {
		return wire.CacheStats{}, unset("CacheStats")
	}
	return b.CacheStatsFunc(ctx)
}

// CachePrune calls CachePruneFunc.
func (b *Backend) CachePrune(ctx context.Context, by api.Subject, in wire.CachePrune) (wire.CachePruned, error) {
	if b.CachePruneFunc == nil {
		return wire.CachePruned{}, unset("CachePrune")
	}
	return b.CachePruneFunc(ctx, by, in)
}

// Estimate calls EstimateFunc.
func (b *Backend) Estimate(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.Estimate, error) {
	if b.EstimateFunc == nil {
		return wire.Estimate{}, unset("Estimate")
	}
	return b.EstimateFunc(ctx, by, in)
}

// CacheLookup calls CacheLookupFunc.
func (b *Backend) CacheLookup(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.CacheForecast, error) {
	if b.CacheLookupFunc == nil {
		return wire.CacheForecast{}, unset("CacheLookup")
	}
	return b.CacheLookupFunc(ctx, by, in)
}
