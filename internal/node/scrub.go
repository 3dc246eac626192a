package node

import (
	"context"
	"errors"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// scrub reads every blob of this node again and again, slowly, until ctx ends:
// what has gone bad is found while there is still a good copy of it.
func (n *Node) scrub(ctx context.Context) {
	if n.cfg.Limits.ScrubRate < 0 {
		return
	}
	pace := &pacer{rate: n.cfg.Limits.ScrubRate}
	// Not at once: a node that starts has better things to do.
	for pause := min(n.cfg.Limits.ScrubEvery, time.Minute); sleep(ctx, pause); pause = n.cfg.Limits.ScrubEvery {
		began, blobs, bad := time.Now(), 0, 0
		var list []pipeline.Digest
		err := n.blobs.Walk(ctx, func(i storage.BlobInfo) error {
			list = append(list, i.Digest)
			return nil
		})
		for _, d := range list {
			if ctx.Err() != nil {
				return
			}
			var corrupt *storage.CorruptError
			err := n.blobs.VerifyAt(d, func(k int) error { return pace.wait(ctx, k) })
			if errors.As(err, &corrupt) {
				bad++ // reported where it was found
			}
			blobs++
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("list the blobs to verify", "error", err)
		}
		n.log.Debug("verified every blob on this disk", "blobs", blobs, "corrupt", bad, "took", time.Since(began).Round(time.Second))
	}
}
