// Package snapshots saves and restores the state of a cluster: when a caller asks for
// it, and at intervals into a directory. The format of the files is internal/backup's.
//
// A Snapshots is safe for concurrent use.
package snapshots

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/backup"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// Cluster is what snapshots need of the cluster.
type Cluster interface {
	ID() string
	// Restore replaces the state on every node; see consensus.Node.Restore.
	Restore(ctx context.Context, c cluster.Content, check func() error) error
}

// Config says what Snapshots is made of. All fields are needed, but for Schedule.
type Config struct {
	State   *state.State
	Store   *fsm.Store
	Cluster Cluster
	Keys    backup.Keys
	// Open opens a blob, from whichever node has it.
	Open func(ctx context.Context, d pipeline.Digest) (api.Blob, error)
	// Dir is where temporary directories are made.
	Dir string
	// Version is the program's.
	Version  string
	Schedule Schedule
	Logger   hclog.Logger
}

// Snapshots saves and restores the state. It implements api.Snapshots.
type Snapshots struct {
	cfg Config
	// failure is why the last scheduled snapshot was not saved; nil if it was, or if
	// this node does not lead.
	failure atomic.Pointer[string]
}

// New makes a Snapshots.
func New(cfg Config) *Snapshots { return &Snapshots{cfg: cfg} }

// Trouble is why scheduled snapshots are not saved, "" if they are.
func (s *Snapshots) Trouble() string {
	if why := s.failure.Load(); why != nil {
		return "no snapshot is saved: " + *why
	}
	return ""
}

// SaveSnapshot writes a snapshot file of all that was acknowledged before the
// call.
func (s *Snapshots) SaveSnapshot(ctx context.Context, out io.Writer) error {
	if err := s.cfg.State.CatchUp(ctx); err != nil {
		return err
	}
	return s.take(out)
}

func (s *Snapshots) take(out io.Writer) error {
	return backup.Take(out, s.cfg.Dir, s.cfg.Store, backup.Header{ClusterID: s.cfg.Cluster.ID(), Version: s.cfg.Version, TakenAt: time.Now().UTC()}, s.cfg.Keys)
}

// errNotEmpty refuses to replace what a cluster has.
var errNotEmpty = pipeline.Errorf(pipeline.Conflict, "this cluster has runs, schedules, secrets or tokens, which a restore would delete: restore into a new cluster (an agent with an empty -data-dir)")

// RestoreSnapshot restores a file into this cluster, if it is empty. The cluster
// keeps its own id, so the nodes of the old one are refused. Attempts that ran in
// it are lost when the lease of their workers ends.
func (s *Snapshots) RestoreSnapshot(ctx context.Context, by api.Subject, file pipeline.Digest) (wire.SnapshotRestored, error) {
	var out wire.SnapshotRestored
	dir, err := os.MkdirTemp(s.cfg.Dir, "restore-*")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)

	in, err := s.cfg.Open(ctx, file)
	if err != nil {
		return out, err
	}
	defer in.Close()
	content, header, err := s.prepare(in, dir, &out)
	if err != nil {
		return out, err
	}
	defer content.Close()

	size, err := content.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	if err != nil {
		return out, err
	}
	err = s.cfg.Cluster.Restore(ctx, cluster.Content{Index: header.Index, Size: size, Data: content}, func() error {
		return s.cfg.Store.View(func(v *fsm.View) error {
			if !v.Empty() {
				return errNotEmpty
			}
			return nil
		})
	})
	if err != nil {
		return out, err
	}
	s.cfg.Logger.Info("restored a snapshot", "of cluster", header.ClusterID, "taken", header.TakenAt, "by", by.Name, "runs", out.Runs)
	out.ClusterID, out.From, out.TakenAt = s.cfg.Cluster.ID(), header.ClusterID, header.TakenAt
	return out, nil
}

// prepare verifies a file and writes the state that is to be restored: without
// the workers of the old cluster.
func (s *Snapshots) prepare(in io.Reader, dir string, out *wire.SnapshotRestored) (*os.File, backup.Header, error) {
	r, err := backup.NewReader(in)
	if err != nil {
		return nil, backup.Header{}, err
	}
	if err := r.Authentic(s.cfg.Keys); err != nil {
		return nil, r.Header, err
	}
	store, err := backup.OpenState(r, dir)
	if err != nil {
		return nil, r.Header, err
	}
	defer store.Close()
	err = store.View(func(v *fsm.View) error {
		c := v.Contents()
		out.Runs, out.Active, out.Schedules, out.Secrets, out.Tokens = c.Runs, c.Active, c.Schedules, c.Secrets, c.Tokens
		return nil
	})
	if err := errors.Join(err, store.ForgetWorkers()); err != nil {
		return nil, r.Header, err
	}

	f, err := os.CreateTemp(dir, "content-*")
	if err != nil {
		return nil, r.Header, err
	}
	if _, _, err := store.Export(f); err != nil {
		return nil, r.Header, errors.Join(err, f.Close())
	}
	return f, r.Header, nil
}
