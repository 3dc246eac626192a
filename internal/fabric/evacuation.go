package fabric

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// evacuatedFor is for how long a node that was evacuated counts as one that leaves:
// longer than it takes to be gone, or to be refused.
const evacuatedFor = 5 * time.Minute

// Evacuate has enough copies made on the nodes that stay of everything that the state
// names, before a node leaves. An error means that bytes would be lost, or may be, if
// the node left now. Nodes are evacuated one after the other, and one that was
// evacuated before counts no more: so several may leave at the same time.
func (r *Replicator) Evacuate(ctx context.Context, node pipeline.NodeID) error {
	select {
	case r.evacuating <- struct{}{}:
		defer func() { <-r.evacuating }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	now := time.Now()
	r.evacuated[node] = now
	who := comparedNodes{}
	for _, id := range r.cfg.Alive() {
		if at, ok := r.evacuated[id]; ok && now.Sub(at) < evacuatedFor {
			who.leaving = append(who.leaving, id)
		} else {
			who.alive = append(who.alive, id)
		}
	}
	if len(who.alive) == 0 {
		return nil // the last node cannot leave
	}

	refs, err := references(r.cfg.State)
	if err != nil {
		return err
	}
	// A comparison makes one copy of each blob, and none of those that stay may have one.
	for range WantedCopies {
		c, err := r.compare(ctx, refs, who)
		if err != nil {
			return err
		}
		if c.failed > 0 {
			return pipeline.Errorf(pipeline.Unavailable, "%d of %d files could not be copied: %w", c.failed, c.blobs, c.refused)
		}
		r.cfg.Logger.Info("compared the copies of everything before a node leaves", "node", r.cfg.NodeName(node), "blobs", c.blobs, "copied", c.copied, "lost", c.lost,
			"took", time.Since(now).Round(time.Millisecond))
		if c.copied == 0 {
			break
		}
	}
	r.evacuated[node] = time.Now() // it leaves from now on
	return nil
}
