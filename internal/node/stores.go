package node

import (
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/journal"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// stores are what the data directory holds.
type stores struct {
	log hclog.Logger

	dir     *storage.DataDir
	blobs   *blob.Store
	trees   *tree.Cache
	layouts *layout.Manager
	journal *journal.Journal
	state   *fsm.Store
}

// open opens everything in the data directory, which is locked already.
// onDamage is called with each blob that is found damaged.
func (s *stores) open(cfg *Config, onDamage func(pipeline.Digest)) (err error) {
	s.blobs, err = blob.Open(s.dir.BlobsDir(), blob.Options{OnCorrupt: onDamage, LowWater: cfg.Limits.LowWater})
	if err != nil {
		return err
	}
	s.trees = tree.NewCache(s.blobs)
	if err = disk.Mark(s.dir.WorkDir()); err != nil {
		return err
	}
	if s.layouts, err = layout.Open(layout.Config{Dir: s.dir.LayersDir(), WorkDir: s.dir.WorkDir(), Blobs: s.blobs, Mode: cfg.Layout}); err != nil {
		return err
	}
	if s.journal, err = journal.Open(s.dir.JournalPath(), func(text string) { s.log.Warn(text) }); err != nil {
		return err
	}
	// What an interrupted snapshot has left is worth nothing.
	if err = os.RemoveAll(s.dir.BackupDir()); err == nil {
		err = os.MkdirAll(s.dir.BackupDir(), 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the directory for snapshots: %w", err)
	}
	s.state, err = fsm.Open(s.dir.StateDir(), s.log.Named("fsm"))
	return err
}

// reopenState begins with an empty raft directory: the state machine may have
// applied a part of the damaged one.
func (s *stores) reopenState() (err error) {
	if err = s.state.Close(); err != nil {
		return fmt.Errorf("close the state: %w", err)
	}
	if s.state, err = fsm.Open(s.dir.StateDir(), s.log.Named("fsm")); err != nil {
		return err
	}
	return os.MkdirAll(s.dir.RaftDir(), 0o700)
}

// empty reports whether the state holds nothing that a user made.
func (s *stores) empty() bool {
	empty := true
	_ = s.state.View(func(v *fsm.View) error { empty = v.Empty(); return nil }) // if it is closed, nothing is lost
	return empty
}

// unreported lists outcomes that this node may still have to report.
func (s *stores) unreported() []pipeline.Outcome {
	var list []pipeline.Outcome
	for _, entry := range s.journal.All() {
		if entry.Outcome != nil {
			list = append(list, *entry.Outcome)
		}
	}
	return list
}

// probe reports why files or attempts cannot be written, if so.
func (s *stores) probe() error {
	if err := s.blobs.Probe(); err != nil {
		return err
	}
	if err := s.journal.Err(); err != nil {
		return fmt.Errorf("attempts cannot be recorded: %w", err)
	}
	return nil
}

// reserve keeps space for raft's log and for the state, so that a full disk does
// not end this node's part in consensus.
func (s *stores) reserve() error {
	return errors.Join(disk.Reserve(consensus.LogPath(s.dir.RaftDir())), disk.Reserve(s.state.Path()))
}

// logLayout logs how large directories of modules are laid out.
func (s *stores) logLayout() {
	mode, why := s.layouts.Mode()
	if mode == layout.Overlay {
		s.log.Info("module directories use overlay mounts")
		return
	}
	args := []any{}
	if why != nil {
		args = append(args, "because", why)
	}
	s.log.Info("module directories are copies", args...)
}

// close closes in reverse; safe if not everything was opened.
func (s *stores) close() error {
	var errs []error
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.state != nil {
		errs = append(errs, s.state.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.dir != nil {
		errs = append(errs, s.dir.RemoveAgent(), s.dir.Close())
	}
	return errors.Join(errs...)
}
