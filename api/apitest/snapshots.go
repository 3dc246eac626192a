package apitest

import (
	"context"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Snapshots is an api.Snapshots made of functions.
type Snapshots struct {
	SaveSnapshotFunc    func(context.Context, io.Writer) error
	RestoreSnapshotFunc func(context.Context, api.Subject, pipeline.Digest) (wire.SnapshotRestored, error)
}

// SaveSnapshot calls SaveSnapshotFunc.
func (f *Snapshots) SaveSnapshot(ctx context.Context, out io.Writer) error {
	if f.SaveSnapshotFunc == nil {
		return unset("SaveSnapshot")
	}

	return f.SaveSnapshotFunc(ctx, out)
}

// RestoreSnapshot calls RestoreSnapshotFunc.
func (f *Snapshots) RestoreSnapshot(ctx context.Context, by api.Subject, file pipeline.Digest) (wire.SnapshotRestored, error) {
	if f.RestoreSnapshotFunc == nil {
		return wire.SnapshotRestored{}, unset("RestoreSnapshot")
	}

	return f.RestoreSnapshotFunc(ctx, by, file)
}
