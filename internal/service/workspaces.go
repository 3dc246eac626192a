package service

import (
	"context"
	"sync"
	"time"

	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// secondNodeAfter is how long one node is waited for before another one is sent
// a workspace as well.
const secondNodeAfter = 500 * time.Millisecond

// Downloader brings blobs of other nodes to this one. The fabric implements it;
// preferred nodes are asked first.
type Downloader interface {
	// Fetch makes sure that blobs are on this node. NotFound if one is on no node.
	Fetch(ctx context.Context, preferred []pipeline.NodeID, want []pipeline.Digest) error
	// ReadTree reads a tree, from another node if this one does not have it.
	ReadTree(ctx context.Context, preferred []pipeline.NodeID, root pipeline.Digest) (tree.Tree, error)
}

// TreeSender sends a tree and its files to another node, as far as it does not
// have them.
type TreeSender interface {
	SendTree(ctx context.Context, to pipeline.NodeID, root pipeline.Digest) error
}

// SecurerConfig says what a Securer is made of. All fields are needed.
type SecurerConfig struct {
	Self   pipeline.NodeID
	State  *state.State
	Down   Downloader
	Sender TreeSender
	// Missing lists the blobs of a tree that are not on this node.
	Missing func(root pipeline.Digest) ([]pipeline.Digest, error)
}

// Securer makes sure that workspaces have two copies. It implements Workspaces.
type Securer struct {
	cfg SecurerConfig
}

// NewSecurer makes a Securer.
func NewSecurer(cfg SecurerConfig) *Securer { return &Securer{cfg: cfg} }

// Secure implements Workspaces: what a run needs is on two nodes before the run
// is acknowledged (settled 1). The leader is asked first, because it is the node
// that plans by what it has.
func (s *Securer) Secure(ctx context.Context, root pipeline.Digest) ([]pipeline.NodeID, error) {
	if root == "" {
		return nil, nil
	}
	if _, err := pipeline.ParseDigest(string(root)); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "workspace: %w", err)
	}
	if err := s.complete(ctx, root); err != nil {
		return nil, err
	}

	holders := []pipeline.NodeID{s.cfg.Self}
	var preferred []pipeline.NodeID
	if leader, err := s.cfg.State.LeaderID(); err == nil {
		preferred = append(preferred, leader)
	}
	to, last := s.sendAny(ctx, s.cfg.State.Others(preferred...), root)
	if to != "" {
		return append(holders, to), nil
	}
	if last == nil || len(s.cfg.State.Others()) == 0 {
		return holders, nil // there is no second node, or not any more
	}
	return nil, pipeline.Errorf(pipeline.Unavailable, "no second node took the workspace: %w", last)
}

// sendAny sends a workspace to the first node that takes it. One that has not
// answered for a moment, because it is paused or cut off, is no reason to wait:
// the next one is sent the workspace as well.
func (s *Securer) sendAny(ctx context.Context, nodes []pipeline.NodeID, root pipeline.Digest) (taker pipeline.NodeID, last error) {
	type sent struct {
		to  pipeline.NodeID
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan sent, len(nodes))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // ends those that are too late

	pending := 0
	for len(nodes) > 0 || pending > 0 {
		var next <-chan time.Time
		if len(nodes) > 0 {
			to := nodes[0]
			nodes, pending = nodes[1:], pending+1
			wg.Go(func() { results <- sent{to, s.cfg.Sender.SendTree(ctx, to, root)} })
			next = time.After(secondNodeAfter)
		}

		select {
		case r := <-results:
			if r.err == nil {
				return r.to, nil
			}
			pending, last = pending-1, r.err
		case <-next:
		}
	}
	return "", last
}

// complete fetches what this node does not have of a workspace.
func (s *Securer) complete(ctx context.Context, root pipeline.Digest) error {
	if missing, err := s.cfg.Missing(root); err == nil && len(missing) == 0 {
		return nil
	}

	tree, err := s.cfg.Down.ReadTree(ctx, nil, root)
	if pipeline.KindOf(err) == pipeline.Invalid {
		return pipeline.Errorf(pipeline.Invalid, "workspace %s: %w", root, err)
	}
	if err == nil {
		err = s.cfg.Down.Fetch(ctx, nil, append(tree.Digests(), root))
	}
	if pipeline.KindOf(err) == pipeline.NotFound {
		return pipeline.Errorf(pipeline.Invalid, "the workspace is not in the cluster: send its blobs first (POST /api/v1/blobs/missing lists them): %w", err)
	}
	return err
}
