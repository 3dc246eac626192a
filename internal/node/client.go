package node

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/keys"
)

// Client gives a client of this very node with the rights of an admin, for
// `pipelined run` and for tests. subject is who the audit names.
func (n *Node) Client(subject string) (*client.Client, error) {
	return client.New(client.Config{Addresses: []string{n.port.Scheme() + "://" + n.HTTPAddr()}, TLS: n.identity.keys.HTTPClient(),
		TokenSource: func(context.Context, string) (string, error) { return n.Token(subject, "admin") }})
}

// Token makes a token for this node from the cluster key (settled 13).
func (n *Node) Token(subject, role string) (string, error) {
	now := time.Now()
	return n.identity.keys.MintToken(keys.Claims{Subject: subject, Role: role, Expires: now.Add(keys.TokenLife).Unix(),
		Node: n.id, Nonce: n.identity.keys.Nonce(n.id, now)})
}
