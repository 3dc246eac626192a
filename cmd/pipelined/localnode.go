package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/tempdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// localNode starts a node in this process.
type localNode struct{ env *environment }

// key says where an agent's cluster key is: a file that was named, the
// environment, or the user's own file, for which neither is set.
func (c localNode) key(cfg *nodeConfig, file string) error {
	cfg.KeyFile = file
	if file != "" {
		return nil
	}

	if text := c.env.getenv("PIPELINED_KEY"); text != "" {
		key, err := keys.Parse(text)
		if err != nil {
			return usagef("PIPELINED_KEY: %w", err)
		}

		cfg.Key = key
	}

	return nil
}

// embedded is a node that runs in this process.
type embedded struct {
	node   clusterNode
	cancel context.CancelFunc
	// done is closed when the node has ended; err holds why, then.
	done   chan struct{}
	err    error
	remove func()
	// address is what -address takes to reach the node from another shell.
	address string
}

// startShared builds and starts a node and waits until it can serve. Its data
// directory is the one that all runs of the user share; where another run has
// that, one of its own.
func (c localNode) startShared(ctx context.Context, cfg nodeConfig) (*embedded, error) {
	shared := cfg.DataDir == ""
	if shared {
		cfg.DataDir = storage.DefaultRunDir()
	}

	e, err := c.start(ctx, cfg)
	var locked *storage.LockedError
	if !shared || !errors.As(err, &locked) {
		if err == nil {
			if e.address = runAddress; !shared {
				e.address = ownAddress(e.node, cfg.DataDir)
			}
		}
		return e, err
	}

	dir, err := tempdir.Make("", "run")
	if err != nil {
		return nil, wrap("create a data directory", err)
	}

	remove := func() { _ = os.RemoveAll(dir) } // temporary; nothing depends on it
	c.env.tell("another run is active (%s): this one is not stored", locked.Holder())
	cfg.DataDir = dir
	if e, err = c.start(ctx, cfg); err != nil {
		remove()
		return nil, err
	}

	e.remove, e.address = remove, ownAddress(e.node, dir)
	return e, nil
}

// ownAddress is what -address takes for a node with a data directory, and so a key,
// of its own.
func ownAddress(n clusterNode, dir string) string {
	return n.HTTPAddr() + " -key-file " + node.KeyPath(dir)
}

// start builds and starts a node and waits until it can serve.
func (c localNode) start(ctx context.Context, cfg nodeConfig) (*embedded, error) {
	e := &embedded{done: make(chan struct{}), remove: func() {}}
	n, err := c.env.open(ctx, cfg)
	if err != nil {
		return nil, err
	}

	// Not the caller's context: a node is stopped in order, after what it runs.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.node, e.cancel = n, cancel
	go func() {
		defer close(e.done)
		e.err = n.Run(running)
	}()
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	select {
	case <-n.Ready():
		return e, nil
	case <-e.done:
		err = e.err
		if err == nil {
			err = errors.New("node stopped before it was ready")
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-limit.C:
		err = fmt.Errorf("node not ready within %s", readyLimit)
	}

	e.stop()
	return nil, err
}

// stop ends the node, and with it every process that it started.
func (e *embedded) stop() {
	e.cancel()
	select {
	case <-e.done:
	case <-time.After(stopLimit): // the process ends now in any case
	}

	e.remove()
}

// cancelRun cancels a run that is no longer followed, as far as that can be
// done. The second cancellation ends modules with always_run.
func (e *embedded) cancelRun(api *client.Client, id pipeline.RunID, reason string) {
	select {
	case <-e.done:
		return
	default:
	}

	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	for range 2 {
		_, _ = api.Runs().Cancel(ctx, id, reason) // cancelled before, or left for the next run to cancel
	}
}

// activeRun finds the run of this process. Those of earlier ones are being cancelled.
func (e *embedded) activeRun(api *client.Client) (pipeline.RunID, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	list, err := api.Runs().List(ctx, client.ListOptions{Limit: 1})
	if err != nil || len(list.Runs) == 0 || list.Runs[0].State.Final() || list.Runs[0].State == pipeline.RunCancelling {
		return "", false
	}

	return list.Runs[0].ID, true
}
