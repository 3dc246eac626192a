package fabric

import (
	"context"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// An outcome is proposed only when its log and outputs are on a second node
// (settled 1). Small blobs travel inside the worker's report: then the leader is
// the second node and StoreReported stores them; if the worker is the leader,
// CopyReported sends them to another one. Either way an outcome never waits for a
// disk or a node longer than CopyTimeout: it is committed with one copy, and the
// replicator makes the second.

// StoreReported stores the blobs that came with another node's reports and adds
// this node to the holders of their outcomes. If the disk here does not take them
// the reports count all the same, with one copy.
func (u *Uploader) StoreReported(ctx context.Context, reports []peer.Report) {
	err := u.putReported(ctx, reports)
	if err != nil {
		u.cfg.Logger.Error("could not store logs and outputs of reports: they are on their worker alone", "error", err)
	}

	for i := range reports {
		o := reports[i].Outcome
		stored := err == nil && len(reports[i].Blobs) > 0
		if o != nil && len(o.Holders) == 1 && (stored || nothingToCopy(o)) {
			o.Holders = append(o.Holders, u.cfg.Self)
		}
		reports[i].Blobs = nil
	}
}

func (u *Uploader) putReported(ctx context.Context, reports []peer.Report) error {
	batch := u.cfg.Blobs.NewBatch()
	defer batch.Discard()
	for i := range reports {
		for _, b := range reports[i].Blobs {
			if _, err := batch.PutBytes(ctx, b); err != nil {
				return err
			}
		}
	}
	return batch.Commit(ctx)
}

func nothingToCopy(o *pipeline.Outcome) bool {
	return !names(o.Log) && o.Outputs == ""
}

// CopyReported sends what this node's own reports carry to a second node, before
// their outcomes are proposed here.
func (u *Uploader) CopyReported(ctx context.Context, reports []peer.Report) {
	var blobs []pipeline.Digest
	for i := range reports {
		if o := reports[i].Outcome; o == nil || len(o.Holders) > 1 {
			continue
		}
		for _, b := range reports[i].Blobs {
			blobs = append(blobs, blob.DigestOf(b))
		}
	}

	var to pipeline.NodeID
	if len(blobs) > 0 && len(u.cfg.Members.Others()) > 0 {
		if to = u.SecondCopy(ctx, blobs); to == "" {
			u.cfg.Logger.Warn("no second node took logs and outputs in time: they are on this node alone", "blobs", len(blobs))
		}
	}

	for i := range reports {
		if o := reports[i].Outcome; o != nil && to != "" && len(o.Holders) == 1 && len(reports[i].Blobs) > 0 {
			o.Holders = append(o.Holders, to)
		}
		reports[i].Blobs = nil
	}
}
