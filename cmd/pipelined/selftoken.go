package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// ownTokenLife is how long a token that was made here is used. The server takes
// it for keys.TokenLife; the rest is for the way.
const ownTokenLife = keys.TokenLife - 15*time.Second

// ownToken makes tokens from the cluster key, one for each server (settled 13).
// It is safe for concurrent use.
type ownToken struct {
	keys    *keys.Keys // nil where err says why there is no key
	err     error
	subject string
	now     func() time.Time

	mu sync.Mutex
	// guards following
	made map[string]madeToken
}

type madeToken struct {
	token string
	until time.Time
}

// newSelfToken reads the cluster key. That there is none matters only where a
// token is wanted.
func (c connector) newSelfToken() *ownToken {
	o := &ownToken{subject: whoami(), now: c.env.now, made: map[string]madeToken{}}
	key, err := c.clusterKey()
	if err == nil {
		o.keys, err = keys.New(key)
	}

	if err != nil {
		o.err = noKeyText(c.keyPath(), err)
	}

	return o
}

// tls trusts the cluster's authority alone: a token that proves the cluster key
// goes to holders of that key only.
func (o *ownToken) tls() *tls.Config {
	if o.keys == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o.keys.HTTPClient()
}

// token is a client.Config's TokenSource.
func (o *ownToken) token(ctx context.Context, address string) (string, error) {
	if token, ok := o.kept(address); ok && !client.Refused(ctx) {
		return token, nil
	}

	if err := mayProve(address); err != nil {
		return "", err
	}

	h, err := askHealth(ctx, address, o.tls())
	if err != nil {
		if ctx.Err() == nil && pipeline.KindOf(err) != pipeline.Unavailable {
			// Another node may answer as it should.
			err = pipeline.Errorf(pipeline.Unavailable, "identify %s: %w", address, err)
		}
		return "", err
	}

	if o.keys == nil {
		return "", o.err
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

// mayProve refuses to send a proof of the cluster key where others may listen.
func mayProve(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return usagef("address %q: %w", address, err)
	}

	host := u.Hostname()
	ip, ipErr := netip.ParseAddr(host)
	if u.Scheme == "https" || host == "localhost" || ipErr == nil && ip.IsLoopback() {
		return nil
	}

	return failf(exitForbidden, "%s uses plain HTTP over the network; a token made from the cluster key is not sent there: use https://, or -token", address)
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
