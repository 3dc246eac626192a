package fabric

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Evacuate has enough copies made on the nodes that stay of everything that the state
// names, before a node leaves. An error means that bytes would be lost, or may be, if
// the node left now; it is a Conflict if no node stays. Nodes are evacuated one after
// the other. That one was is committed when its copies are verified, and from then on
// its own do not count, whichever node leads: so several may leave at the same time.
func (r *Replicator) Evacuate(ctx context.Context, node pipeline.NodeID) error {
	select {
	case r.evacuating <- struct{}{}:
		defer func() { <-r.evacuating }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	// A comparison makes one copy of each blob, and none of those that stay may have one.
	// The last comparison finds them all.
	began := time.Now()
	for range WantedCopies + 1 {
		who, err := r.whoStays(node)
		if err != nil {
			return err
		}
		refs, err := references(r.cfg.State)
		if err != nil {
			return err
		}
		c, err := r.compare(ctx, refs, who)
		if err != nil {
			return err
		}
		if c.failed > 0 {
			return pipeline.Errorf(pipeline.Unavailable, "%d of %d files could not be copied: %w", c.failed, c.blobs, c.refused)
		}

		r.cfg.Logger.Info("compared the copies of everything before a node leaves", "node", r.cfg.NodeName(node), "blobs", c.blobs, "copied", c.copied, "lost", c.lost,
			"took", time.Since(began).Round(time.Millisecond))
		if c.copied == 0 {
			return r.cfg.Evacuated(ctx, node)
		}
	}
	return pipeline.Errorf(pipeline.Unavailable, "copies that were made on the nodes that stay are not there")
}

// whoStays is whose copies count if a node leaves, beside those that leave too.
func (r *Replicator) whoStays(node pipeline.NodeID) (comparedNodes, error) {
	alive := r.cfg.Alive()
	if !slices.Contains(alive, node) { // what it has could not be found
		return comparedNodes{}, pipeline.Errorf(pipeline.Unavailable, "the leader does not see %s alive", r.cfg.NodeName(node))
	}

	who := comparedNodes{leaving: []pipeline.NodeID{node}}
	err := r.cfg.State.View(func(v *fsm.View) error {
		for _, id := range alive {
			if id == node {
				continue
			}
			if w, _ := v.Worker(id); w.Evacuated {
				who.leaving = append(who.leaving, id)
			} else {
				who.alive = append(who.alive, id)
			}
		}
		return nil
	})
	if err != nil || len(who.alive) > 0 {
		return who, err
	}

	var names []string
	for _, id := range who.leaving[1:] {
		names = append(names, r.cfg.NodeName(id))
	}
	reason := "no other node answers"
	if len(names) > 0 {
		reason = "all other nodes that answer leave too (" + strings.Join(names, ", ") + ")"
	}
	return who, pipeline.Errorf(pipeline.Conflict, "%s, so no copy of the cluster's files would be left: "+
		"start another node and leave then; to stop the cluster, stop its agents without pipelined leave", reason)
}
