package node

import (
	"context"
	"net"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/keys"
)

// Client gives a client of this very node with the rights of an admin, for
// `pipelined run` and for tests. subject is who the audit names.
func (n *Node) Client(subject string) (*client.Client, error) {
	own := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", n.HTTPAddr()) // this process listens there
	}
	cfg := client.Config{Addresses: []string{n.port.Scheme() + "://" + n.HTTPAddr()}, TLS: n.identity.keys.HTTPClient(), OnlyTLS: true,
		TokenSource: func(context.Context, string) (string, error) { return n.Token(subject, "admin") }}
	if !n.port.TLS() {
		cfg.Local = map[string]func(context.Context) (net.Conn, error){n.HTTPAddr(): own}
	}
	return client.New(cfg)
}

// Token makes a token for this node from the cluster key (settled 13).
func (n *Node) Token(subject, role string) (string, error) {
	now := time.Now()
	return n.identity.keys.MintToken(keys.Claims{Subject: subject, Role: role, Expires: now.Add(keys.TokenLife).Unix(),
		Node: n.id, Nonce: n.identity.keys.Nonce(n.id, now)})
}
