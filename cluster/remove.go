package cluster

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

// pathForget with an id behind it reports that a node was removed.
const pathForget = "/cluster/forget/"

// Remove takes a node that has failed out of the cluster: the others do not wait for
// it any more, and raft counts it no more. The leader alone does it. If the node comes
// back nevertheless, it joins like one that was replaced while it was away. The errors
// are of kind Conflict for a node that is alive, and of kind Timeout if raft's
// configuration could not be changed before ctx ended.
func (c *Cluster) Remove(ctx context.Context, id pipeline.NodeID) error {
	if !c.IsLeader() {
		return pipeline.ErrNotLeader
	}
	if !c.gossip.Forget(string(id), false) {
		return pipeline.Errorf(pipeline.Conflict, "node %s is alive", id)
	}

	// A node that misses it keeps the other in its list of failed ones for a day; that
	// does no harm.
	var g errgroup.Group
	for _, m := range c.gossip.Members() {
		if m.Status == gossip.Alive && m.ID != string(c.cfg.NodeID) {
			g.Go(func() error {
				if err := c.peers.call(ctx, http.MethodPost, m.ID, pathForget+url.PathEscape(string(id)), nil); err != nil {
					c.log.Debug("could not report that a node was removed", "to", m.Meta.Name, "error", err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // it has no error

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for inServers(c.replica.servers(), string(id)) {
		select {
		case <-ctx.Done():
			return pipeline.Errorf(pipeline.Timeout, "node %s is not waited for any more, but raft's configuration still has it: %w", id, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}
