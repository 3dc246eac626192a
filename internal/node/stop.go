package node

import (
	"context"
	"time"
)

// finishLimit bounds what a run of one process deletes at its end. The rest is left to
// the next one.
const finishLimit = 5 * time.Second

// stop ends what this node does for its cluster. A run of this one process has
// no cluster.
func (n *Node) stop() {
	if !n.cfg.Embedded {
		n.services.departure.MarkAway()
		return
	}

	finished := n.worker.Load() == 0
	n.worker.Close()
	if n.cfg.alone() && finished { // the user of an interrupted run waits for its end
		ctx, cancel := context.WithTimeout(context.Background(), finishLimit)
		defer cancel()
		n.fabric.collector.Finish(ctx, func(ctx context.Context) error { return n.services.retention.Apply(ctx, time.Now()) })
	}
}
