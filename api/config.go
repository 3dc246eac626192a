package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

// Config holds what a Server needs. The interfaces must all be set, to values
// that are safe for concurrent use, whose calls end when their context does and
// whose errors carry a pipeline.Kind. The zero value of a duration or a size
// means its default.
type Config struct {
	// NodeID and NodeName say which node this is.
	NodeID   pipeline.NodeID
	NodeName string

	Router Router
	Auth   Authenticator

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

	// Metrics measures requests; nil measures nothing. MetricsPage serves what the node
	// measures, without a token if MetricsOpen is set; nil if it measures nothing.
	Metrics     *metrics.HTTP
	MetricsPage http.Handler
	MetricsOpen bool
	// PublicBadges serves badges without a token.
	PublicBadges bool
	// Logger gets failures as errors and each request at debug. Nil: nothing.
	Logger hclog.Logger
	// AllowedHosts reports whether a host name (without port, in lower case) is
	// one of this node's; IP literals and localhost are always allowed. Nil
	// allows nothing else.
	AllowedHosts func(host string) bool
	// ClusterID is the id of the cluster, Addresses the base URLs of its members' HTTP
	// ports, this node's first: pages that they served may call this node. Nil is none.
	ClusterID func() string
	Addresses func() []string
	// PeerIdentity gives the verified identity behind a request on the peer
	// port. Nil refuses every request there.
	PeerIdentity func(*http.Request) (id, name string, ok bool)
	// PeerHandlers are calls between nodes that do not belong to the API, by
	// ServeMux pattern. They are reached on the peer port only, by verified
	// nodes only.
	PeerHandlers map[string]http.Handler

	// LeaderWait is how long a request waits for a leader (2 s).
	LeaderWait time.Duration
	// KeepAlive is the time between comments on a silent stream (10 s).
	KeepAlive time.Duration
	// BodyGrace is how long a body may make no progress (15 s).
	BodyGrace time.Duration
	// WriteTimeout is how long a caller may not read its answer (30 s).
	WriteTimeout time.Duration
	// MaxBlob and MaxBundle bound uploads, MaxEntry entries of remote caches, in
	// bytes (64 GiB, 16 GiB and 1 GiB).
	MaxBlob, MaxBundle, MaxEntry int64
	// MaxConns is how many connections the HTTP port has at a time (1,024, and a
	// quarter of the process's descriptors at most).
	MaxConns int
}

func (c *Config) defaults() {
	c.LeaderWait = cmp.Or(max(c.LeaderWait, 0), 2*time.Second)
	c.KeepAlive = cmp.Or(max(c.KeepAlive, 0), 10*time.Second)
	c.BodyGrace = cmp.Or(max(c.BodyGrace, 0), 15*time.Second)
	c.WriteTimeout = cmp.Or(max(c.WriteTimeout, 0), 30*time.Second)

	c.MaxBlob = cmp.Or(max(c.MaxBlob, 0), 64<<30)
	c.MaxBundle = cmp.Or(max(c.MaxBundle, 0), 16<<30)
	c.MaxEntry = cmp.Or(max(c.MaxEntry, 0), 1<<30)

	if c.MaxConns = max(c.MaxConns, 0); c.MaxConns == 0 {
		c.MaxConns = portConns()
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.AllowedHosts == nil {
		c.AllowedHosts = func(string) bool { return false }
	}
	if c.ClusterID == nil {
		c.ClusterID = func() string { return "" }
	}
	if c.Addresses == nil {
		c.Addresses = func() []string { return nil }
	}
	if c.PeerIdentity == nil {
		c.PeerIdentity = func(*http.Request) (string, string, bool) { return "", "", false }
	}
}
