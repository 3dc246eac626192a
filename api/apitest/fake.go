// Package apitest has fakes of what the API needs of a node, for tests of the
// API and of its clients. Every method is a field that a test sets; one that is
// not set answers with kind Internal and the method's name.
package apitest

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/pipeline"
)

// Backend is a node made of functions, one fake for each interface of package
// api. The zero value is a leader with state that accepts no token. It is safe
// for concurrent use as far as its functions are; they must be set before use.
type Backend struct {
	ID   pipeline.NodeID
	Name string
	// Addresses are those of the members' HTTP ports.
	Addresses []string

	Router Router
	Auth   Auth

	Runs        Runs
	Logs        Logs
	Feeds       Feeds
	Artifacts   Artifacts
	Blobs       Blobs
	Cache       Cache
	RemoteCache RemoteCache
	Schedules   Schedules
	Histories   Histories
	Secrets     Secrets
	Webhooks    Webhooks
	Tokens      Tokens
	SignIns     SignIns
	Cluster     Cluster
	Executions  Executions
	Workers     Workers
	Sessions    Sessions
	Snapshots   Snapshots
}

// Configure sets what a server needs of a node to this one.
func (b *Backend) Configure(cfg *api.Config) {
	cfg.NodeName = b.Name
	if cfg.NodeName == "" {
		cfg.NodeName = "n1"
	}
	cfg.NodeID = b.ID
	if cfg.NodeID == "" {
		cfg.NodeID = "id-" + pipeline.NodeID(cfg.NodeName)
	}

	cfg.ClusterID = func() string { return "c1" }
	cfg.Addresses = func() []string { return b.Addresses }
	cfg.Router, cfg.Auth = &b.Router, &b.Auth
	cfg.Runs, cfg.Schedules, cfg.Histories = &b.Runs, &b.Schedules, &b.Histories
	cfg.Logs, cfg.Artifacts, cfg.Blobs, cfg.Sessions = &b.Logs, &b.Artifacts, &b.Blobs, &b.Sessions
	cfg.Cache, cfg.RemoteCache = &b.Cache, &b.RemoteCache
	cfg.Cluster, cfg.Tokens, cfg.Secrets = &b.Cluster, &b.Tokens, &b.Secrets
	cfg.Executions, cfg.Workers = &b.Executions, &b.Workers
	cfg.Feeds, cfg.Webhooks = &b.Feeds, &b.Webhooks
	cfg.Snapshots, cfg.SignIns = &b.Snapshots, &b.SignIns
}

func unset(method string) error {
	return pipeline.Errorf(pipeline.Internal, "apitest: %s is not set", method)
}

// Bytes is a blob in memory.
func Bytes(b []byte) api.Blob { return blob{bytes.NewReader(b)} }

type blob struct{ *bytes.Reader }

func (b blob) Size() int64  { return b.Reader.Size() }
func (b blob) Close() error { return nil }

// Router is an api.Router made of functions. The zero value is a leader with
// state that knows no other node.
type Router struct {
	// Follower and Stateless turn off what the zero value is.
	Follower, Stateless atomic.Bool

	// VerifyFunc replaces the answer of Verify, which follows Follower.
	VerifyFunc func(context.Context) (uint64, error)

	LeaderFunc, StatefulFunc, RelayFunc func(context.Context) (http.RoundTripper, *url.URL, error)
	NodeFunc                            func(context.Context, string) (http.RoundTripper, *url.URL, error)
}

// IsLeader reports whether Follower is not set.
func (f *Router) IsLeader() bool { return !f.Follower.Load() }

// Verify calls VerifyFunc.
func (f *Router) Verify(ctx context.Context) (uint64, error) {
	switch {
	case f.VerifyFunc != nil:
		return f.VerifyFunc(ctx)
	case f.Follower.Load():
		return 0, pipeline.ErrNotLeader
	}
	return 1, nil
}

// HasState reports whether Stateless is not set.
func (f *Router) HasState() bool { return !f.Stateless.Load() }

// Leader calls LeaderFunc.
func (f *Router) Leader(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if f.LeaderFunc == nil {
		return nil, nil, pipeline.ErrNoLeader
	}

	return f.LeaderFunc(ctx)
}

// Relay calls RelayFunc.
func (f *Router) Relay(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if f.RelayFunc == nil {
		return nil, nil, pipeline.ErrNoLeader
	}

	return f.RelayFunc(ctx)
}

// Stateful calls StatefulFunc.
func (f *Router) Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if f.StatefulFunc == nil {
		return nil, nil, pipeline.ErrNoLeader
	}

	return f.StatefulFunc(ctx)
}

// Node calls NodeFunc.
func (f *Router) Node(ctx context.Context, name string) (http.RoundTripper, *url.URL, error) {
	if f.NodeFunc == nil {
		return nil, nil, pipeline.Errorf(pipeline.NotFound, "node %s: there is none", name)
	}

	return f.NodeFunc(ctx, name)
}

// Auth is an api.Authenticator.
type Auth struct {
	// Subjects are the callers by token.
	Subjects map[string]api.Subject
	// AuthenticateFunc replaces the look-up in Subjects if it is set.
	AuthenticateFunc func(context.Context, string, string) (api.Subject, error)
	// RevokedFunc says which tokens were revoked; none if it is not set.
	RevokedFunc func(token string) bool
}

// Revoked calls RevokedFunc.
func (f *Auth) Revoked(_ context.Context, token string) bool {
	return f.RevokedFunc != nil && f.RevokedFunc(token)
}

// Authenticate finds the subject of a token.
func (f *Auth) Authenticate(ctx context.Context, token, remote string) (api.Subject, error) {
	if f.AuthenticateFunc != nil {
		return f.AuthenticateFunc(ctx, token, remote)
	}

	if s, ok := f.Subjects[token]; ok {
		return s, nil
	}
	return api.Subject{}, pipeline.Errorf(pipeline.Unauthenticated, "token: it is not known")
}
