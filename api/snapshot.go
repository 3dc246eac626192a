package api

import (
	"context"
	"io"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Snapshots is what the API needs of a node for backups of the state.
type Snapshots interface {
	// SaveSnapshot writes a snapshot file without blobs. Nothing is written if it
	// fails at the start: leader.
	SaveSnapshot(ctx context.Context, out io.Writer) error
	// RestoreSnapshot restores a snapshot file, which was stored as a blob, into
	// this cluster, which is still empty: leader.
	RestoreSnapshot(ctx context.Context, by Subject, file pipeline.Digest) (wire.SnapshotRestored, error)
}

type snapshotsHandler struct{ snapshots Snapshots }

// routes are the calls about snapshots of the state.
func (h *snapshotsHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/snapshot", Role: RoleAdmin, Where: OnLeader,
			Summary:  "a snapshot file of the state, without the bytes that it names",
			Produces: mediaBytes, serve: h.save},
		{Method: "POST", Pattern: "/api/v1/snapshot", Role: RoleAdmin, Where: OnLeader, Long: true,
			Summary: "restore a snapshot file, stored as a blob before, into an empty cluster",
			Body:    JSONBody, Request: doc[wire.SnapshotRestore](), Response: doc[wire.SnapshotRestored](),
			serve: h.restore},
	}
}

// save sends a snapshot file. If writing fails in the middle the connection is
// cut; a reader also refuses a file without its end.
func (h *snapshotsHandler) save(c *call) error {
	c.w.Header().Set("Content-Type", mediaBytes)
	c.w.Header().Set("Cache-Control", "no-store")
	err := h.snapshots.SaveSnapshot(c.r.Context(), c.w)
	if err != nil && c.w.status != 0 {
		c.log.Warn("send a snapshot", "request", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

func (h *snapshotsHandler) restore(c *call) error {
	in, err := document[wire.SnapshotRestore](c)
	if err != nil {
		return err
	}
	file, err := digest(string(in.File))
	if err != nil {
		return err
	}

	out, err := h.snapshots.RestoreSnapshot(c.r.Context(), c.by, file)
	return c.reply(out, err)
}
