package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Config says where and how a Client calls. The zero value of a duration means
// its default.
type Config struct {
	// Addresses are tried in turn: HOST:PORT or URLs. A bare one is reached over
	// plain HTTP on loopback, elsewhere over TLS if TLS is set.
	Addresses []string
	// Token is the bearer token; TokenSource makes one for each request instead,
	// and is asked again, with Refused(ctx) true, when a node refused the last
	// one. With neither nothing is sent (between nodes).
	Token       string
	TokenSource func(ctx context.Context, address string) (string, error)
	// TLS is used for https addresses; nil is the system's default.
	TLS *tls.Config
	// OnlyTLS reaches every node over TLS: those with an address without a scheme or
	// with http:// as well.
	OnlyTLS bool
	// Local are nodes of this machine that are reached in another way, by HOST:PORT
	// of their address. No other user can listen there, so it needs no TLS.
	Local map[string]func(context.Context) (net.Conn, error)
	// UserAgent is sent along.
	UserAgent string
	// Transport replaces the client's own, for nodes that have one.
	Transport http.RoundTripper
	// RetryFor is how long a call is repeated while the cluster has no leader or
	// its nodes are away (30 s); ConnectFor is the same while no node ever
	// answered this client (2 s); FollowFor while a stream or a watch that was
	// under way finds no node to continue with (5 min).
	RetryFor, ConnectFor, FollowFor time.Duration
	// CallTimeout bounds one try of a call that does not wait by itself (20 s).
	CallTimeout time.Duration
	// StreamIdle is how long a stream may be silent before it counts as broken
	// (25 s; nodes beat every 10 s).
	StreamIdle time.Duration
	// OnRetry is called each time that a call will be repeated, with the pause.
	OnRetry func(err error, wait time.Duration)
}

// Client calls the API of a cluster. Its calls are grouped by resource:
// client.Runs().Get(ctx, id).
type Client struct{ calls *caller }

// New makes a client. It does no I/O. An address that cannot be read is an
// error of kind Invalid.
func New(cfg Config) (*Client, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.RetryFor, 30*time.Second)
	def(&cfg.ConnectFor, 2*time.Second)
	def(&cfg.FollowFor, 5*time.Minute)
	def(&cfg.CallTimeout, 20*time.Second)
	def(&cfg.StreamIdle, 25*time.Second)
	if cfg.UserAgent == "" {
		cfg.UserAgent = "pipelined-client"
	}

	c := &caller{cfg: cfg, http: cfg.Transport, nodes: &nodes{}}
	for _, a := range cfg.Addresses {
		base, err := cfg.base(a)
		if err != nil {
			return nil, err
		}

		c.nodes.add(base, false)
		c.nodes.name(a)
	}

	if c.nodes.len() == 0 {
		return nil, pipeline.Errorf(pipeline.Invalid, "no address: expected at least one HOST:PORT or URL")
	}

	if c.http == nil {
		c.http = &http.Transport{
			DialContext:         cfg.dial,
			TLSHandshakeTimeout: 5 * time.Second,
			TLSClientConfig:     cfg.TLS,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true, // answers are decompressed here, zstd too
		}
	}

	return &Client{calls: c}, nil
}

// base is the base URL of a node, by which it is called.
func (c *Config) base(address string) (*url.URL, error) {
	u, err := parseAddress(address, c.TLS != nil)
	switch {
	case err != nil:
	case c.Local[u.Host] != nil:
		u.Scheme = "http"
	case c.OnlyTLS:
		u.Host = hostPort(u) // the port that the URL means, not that of https
		u.Scheme = "https"
	}
	return u, err
}

// dialLimit bounds how long a connection may take to be made.
const dialLimit = 3 * time.Second

// dial connects to a node.
func (c *Config) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if local := c.Local[address]; local != nil {
		return local(ctx)
	}
	d := net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Address is the base URL of the node that is asked first.
func (c *Client) Address() string { return c.calls.nodes.first().String() }

// Page is the base URL of the dashboard of the node that answered last: the address
// that the user or the node itself gives, also where all calls go over TLS. A browser
// need not know the authority of the cluster. It is "" if no node has answered, or that
// one has failed since; before Learn it may have the scheme of the calls.
func (c *Client) Page() string { return c.calls.nodes.page() }

// Addresses are the base URLs of all nodes that the client knows, the one that
// is asked first in front.
func (c *Client) Addresses() []string {
	var out []string
	for _, u := range c.calls.nodes.all() {
		out = append(out, u.String())
	}

	return out
}

// At gives a client that calls one node only: an address, or a base URL of
// Addresses.
func (c *Client) At(address string) (*Client, error) {
	base, err := c.calls.cfg.base(address)
	if err != nil {
		return nil, err
	}

	one := &nodes{}
	one.add(base, false)

	return &Client{calls: c.calls.at(one)}, nil
}

// CloseIdle closes connections that are kept for later.
func (c *Client) CloseIdle() {
	if t, ok := c.calls.http.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// NewKey makes an idempotency key.
func NewKey() string { return strings.ToLower(rand.Text()) }

type refusedKey struct{}

// Refused reports, in a TokenSource, that the node refused the token it was
// given before, so that a kept one must be made anew.
func Refused(ctx context.Context) bool {
	refused, _ := ctx.Value(refusedKey{}).(bool)
	return refused
}
