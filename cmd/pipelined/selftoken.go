package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// ownTokenLife is how long a token that was made here is used. The server takes
// it for keys.TokenLife; the rest is for the way.
const ownTokenLife = keys.TokenLife - 15*time.Second

// ownToken makes tokens from the cluster key, one for each server (settled 13).
// It is safe for concurrent use.
type ownToken struct {
	keys *keys.Keys // nil where err says why there is no key
	err  error
	// unusable is set if there is a key file that cannot be used.
	unusable bool
	// keyName says where the key is from.
	keyName string
	subject string
	now     func() time.Time
	// caFile names more authorities that servers are trusted by, cas are these and the
	// cluster's; nil if the file was not given.
	caFile string
	cas    *x509.CertPool
	// local are this user's agents.
	local ways

	mu sync.Mutex
	// guards following
	made map[string]madeToken
}

// ways lead to agents by their sockets, by HOST:PORT of their HTTP port.
type ways map[string]func(context.Context) (net.Conn, error)

// sockets are the ways to those agents of this user that answer now. The directory
// of each is this user's alone.
func (c connector) sockets() ways {
	found := ways{}
	for _, a := range c.env.agents() {
		if way := socketOf(a); way != nil && connects(context.Background(), way) == nil { // at once: it is local
			found[a.HTTP] = way
		}
	}
	return found
}

// socketOf connects to an agent by its socket; nil if it has none.
func socketOf(a storage.AgentFile) func(context.Context) (net.Conn, error) {
	if a.Socket == "" {
		return nil
	}
	return func(ctx context.Context) (net.Conn, error) { return storage.DialSocket(ctx, a.Socket) }
}

// connects reports whether somebody answers.
func connects(ctx context.Context, way func(context.Context) (net.Conn, error)) error {
	conn, err := way(ctx)
	if err == nil {
		_ = conn.Close() // nothing was sent
	}
	return err
}

type madeToken struct {
	token string
	until time.Time
}

// newSelfToken reads the cluster key and the file of -ca-file. That there is no key
// matters only where a token is wanted.
func (c connector) newSelfToken() (*ownToken, error) {
	o := &ownToken{subject: whoami(), now: c.env.now, made: map[string]madeToken{}, keyName: c.keyName(), local: c.sockets()}
	key, err := c.clusterKey()
	if err == nil {
		o.keys, err = keys.New(key)
	}

	if err != nil {
		o.err, o.unusable = noKeyText(c.keyPath(), err), !errors.Is(err, fs.ErrNotExist)
	}

	if o.caFile = c.env.flags.caFile; o.caFile == "" {
		return o, nil
	}
	pem, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, usagef("read -ca-file: %w", err)
	}
	o.cas = x509.NewCertPool()
	if !o.cas.AppendCertsFromPEM(pem) {
		return nil, usagef("read -ca-file %s: expected certificates as PEM (-----BEGIN CERTIFICATE-----)", o.caFile)
	}
	if o.keys != nil {
		o.cas.AppendCertsFromPEM(o.keys.CACertPEM())
	}
	return o, nil
}

// server says how a server is reached that a token from here may go to: the agents
// of this user by their sockets, every other node over TLS, so that it proves that
// it has the key, or that an authority of -ca-file vouches for its name.
func (o *ownToken) server() client.Config {
	cfg := client.Config{TokenSource: o.token, Local: o.local}
	switch {
	case o.keys == nil:
	case o.cas != nil:
		cfg.OnlyTLS, cfg.TLS = true, o.anyTLS()
	default:
		cfg.OnlyTLS, cfg.TLS = true, o.keys.HTTPClient()
		cfg.TLS.NextProtos = []string{wire.ProtoCluster}
	}
	return cfg
}

// anyTLS is for a token that was given: it may go to any server that the system
// or the cluster vouches for, or -ca-file alone if it was given.
func (o *ownToken) anyTLS() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case o.cas != nil:
		cfg.RootCAs = o.cas
	case o.keys != nil:
		cfg.RootCAs = poolWith(o.keys)
	}
	return cfg
}

// token is a client.Config's TokenSource. An agent that is reached by its socket
// knows who asks, and needs none.
func (o *ownToken) token(ctx context.Context, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || o.local[u.Host] != nil {
		return "", err
	}
	if o.keys == nil {
		return "", o.err
	}
	if token, ok := o.kept(address); ok && !client.Refused(ctx) {
		return token, nil
	}

	h, err := askHealth(ctx, address, o.server())
	if unproven(err) {
		return "", pipeline.Errorf(pipeline.Unavailable, "%s", o.unprovenText(u.Host, err))
	}
	if err != nil {
		if ctx.Err() == nil && pipeline.KindOf(err) != pipeline.Unavailable {
			// Another node may answer as it should.
			err = pipeline.Errorf(pipeline.Unavailable, "identify %s: %w", address, err)
		}
		return "", err
	}

	token, err := o.keys.MintToken(keys.Claims{Subject: o.subject, Role: "admin", Node: h.NodeID, Nonce: h.Nonce,
		Expires: h.Timestamp.Add(keys.TokenLife).Unix()})
	if err != nil {
		return "", err
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	o.made[address] = madeToken{token: token, until: o.now().Add(ownTokenLife)}
	return token, nil
}

// kept gives a token that was made before and is still good.
func (o *ownToken) kept(address string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m, ok := o.made[address]
	return m.token, ok && o.now().Before(m.until)
}

// mayProve refuses a server that was asked for without TLS beyond this machine,
// before anything is sent there.
func mayProve(address string, cfg *client.Config) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || cfg.Local[u.Host] != nil {
		return nil // HOST:PORT is reached over TLS
	}

	ip, err := netip.ParseAddr(u.Hostname())
	if u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return failf(exitForbidden, "%s uses plain HTTP over the network; a token made from the cluster key is not sent there: use https://, or -token", address)
}

// unproven reports that a server answered and did not prove that it has the key.
func unproven(err error) bool {
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	return errors.Is(err, keys.ErrStranger) || errors.As(err, &record) || errors.As(err, &certificate)
}

// unprovenText says so.
func (o *ownToken) unprovenText(host string, err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case o.cas != nil && errors.As(err, &certificate):
		return fmt.Sprintf("neither %s nor cluster key %s vouches for %s (%v): no token is sent there", o.caFile, o.keyName, host, certificate.Err)
	case errors.Is(err, keys.ErrStranger):
		return fmt.Sprintf("%s uses a different cluster key than %s (choose the key with -key-file, or use -token; if a server with another certificate is in front of it, name its authority with -ca-file)", host, o.keyName)
	}
	return fmt.Sprintf("%s does not prove that it has the cluster key, as it does not speak TLS: no token is sent there (use -token if you trust it)", host)
}

// probeText says why no agent was found at an address.
func (o *ownToken) probeText(address string, err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return "no answer at " + address
	case errors.Is(err, errNotOurs):
		return address + ": " + err.Error()
	case unproven(err):
		return o.unprovenText(address, err)
	}

	return fmt.Sprintf("%s does not answer like an agent (%v)", address, err)
}

// poolWith gives the system's authorities and the cluster's.
func poolWith(k *keys.Keys) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}

	pool.AppendCertsFromPEM(k.CACertPEM())
	return pool
}
