package client

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// snapshotTimeout bounds how long the leader takes to read its state.
	snapshotTimeout = 2 * time.Minute
	// restoreTimeout bounds how long a restore takes on a majority.
	restoreTimeout = 5 * time.Minute
)

// SaveSnapshot reads a snapshot file of the state. What was read counts only if
// the file is whole, which its reader verifies.
func (cluster Cluster) SaveSnapshot(ctx context.Context) (io.ReadCloser, error) {
	return cluster.calls.stream(ctx, &request{method: http.MethodGet, path: "/api/v1/snapshot", safe: true, timeout: snapshotTimeout})
}

// RestoreSnapshot restores a snapshot file that was stored as a blob before. An
// Unknown error leaves it open whether it took effect.
func (cluster Cluster) RestoreSnapshot(ctx context.Context, file pipeline.Digest) (wire.SnapshotRestored, error) {
	return do[wire.SnapshotRestored](ctx, cluster.calls, &request{method: http.MethodPost, path: "/api/v1/snapshot", timeout: restoreTimeout},
		wire.SnapshotRestore{File: file})
}
