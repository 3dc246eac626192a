package main

import (
	"context"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/node"
)

// nodeConfig says what node to build.
type nodeConfig = node.Config

// clusterNode is a node in this process. Run is called once, from one
// goroutine; the others may be called at any time.
type clusterNode interface {
	// Run runs the node until ctx ends, it was told to leave (nil), or something
	// that it needs fails.
	Run(ctx context.Context) error
	// Ready is closed when the node can serve.
	Ready() <-chan struct{}
	// HTTPAddr is host:port of the HTTP port, HTTPS whether it speaks TLS.
	HTTPAddr() string
	HTTPS() bool
	Name() string
	// Client gives a client of this very node with an admin's rights; subject
	// is who the audit names.
	Client(subject string) (*client.Client, error)
	// Load is how many modules run here.
	Load(ctx context.Context) int
}

// openNode builds a node: it locks the data directory and binds the ports.
func openNode(ctx context.Context, cfg nodeConfig) (clusterNode, error) {
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}

	return builtNode{n}, nil
}

type builtNode struct{ *node.Node }

// Load asks the node itself.
func (b builtNode) Load(ctx context.Context) int { return b.Health(ctx).CurrentLoad }
