package snapshots

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/internal/backup"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// Schedule says where snapshots are saved again and again, and how often.
type Schedule struct {
	// Dir is the directory; "" saves none.
	Dir string
	// Every is the time between two, Keep how many of this cluster stay.
	Every time.Duration
	Keep  int
}

const (
	// checkEvery is how often the leader looks whether a snapshot is due.
	checkEvery = 30 * time.Second
	// suffix ends the names of snapshot files, partSuffix those of files
	// that are not complete.
	suffix     = ".snapshot"
	partSuffix = ".part"
	timeLayout = "20060102T150405Z"
)

// Lead saves snapshots to the directory of the configuration, until ctx ends. It
// runs on the leader. The files say when the last one was saved, so a new leader
// with the same directory continues.
func (s *Snapshots) Lead(ctx context.Context) {
	if s.cfg.Schedule.Dir == "" {
		return
	}
	defer s.failure.Store(nil) // the next leader's to say
	ticker := time.NewTicker(min(checkEvery, s.cfg.Schedule.Every))
	defer ticker.Stop()
	for {
		switch err := s.saveIfDue(ctx, time.Now().UTC()); {
		case err == nil:
			s.failure.Store(nil)
		case ctx.Err() == nil:
			s.cfg.Logger.Error("could not save a snapshot", "directory", s.cfg.Schedule.Dir, "error", err)
			why := err.Error()
			s.failure.Store(&why)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// saveIfDue saves a snapshot if the newest one of this cluster is old enough.
func (s *Snapshots) saveIfDue(ctx context.Context, now time.Time) error {
	dir := s.cfg.Schedule.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	id := s.cfg.Cluster.ID()
	prefix := "pipelined-" + id[:min(8, len(id))] + "-"
	saved, err := snapshotsIn(dir, prefix)
	if err != nil {
		return err
	}
	if n := len(saved); n > 0 {
		last, err := time.Parse(timeLayout, strings.TrimSuffix(strings.TrimPrefix(saved[n-1], prefix), suffix))
		// A time that lies ahead is of a clock that was wrong.
		if age := now.Sub(last); err == nil && age >= 0 && age < s.cfg.Schedule.Every {
			return nil
		}
	}

	name := prefix + now.Format(timeLayout) + suffix
	if err := s.saveFile(ctx, filepath.Join(dir, name)); err != nil {
		return err
	}
	s.cfg.Logger.Info("saved a snapshot", "file", filepath.Join(dir, name))

	// The oldest go only when the newest is verified.
	saved = append(saved, name)
	for _, old := range saved[:max(0, len(saved)-s.cfg.Schedule.Keep)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, old)))
	}
	return err
}

// snapshotsIn lists the snapshots of a cluster in a directory, oldest first, and
// removes what an interrupted one has left.
func snapshotsIn(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	var list []string
	for _, e := range entries {
		switch name := e.Name(); {
		case !strings.HasPrefix(name, prefix):
		case strings.HasSuffix(name, partSuffix):
			_ = os.Remove(filepath.Join(dir, name)) // tried again at the next look
		case strings.HasSuffix(name, suffix):
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list, nil
}

// saveFile writes a snapshot and reads it back before it has its name.
func (s *Snapshots) saveFile(ctx context.Context, path string) (err error) {
	if err := s.cfg.State.CatchUp(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.cfg.Dir, "verify-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	f, err := os.OpenFile(path+partSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // what is left is removed at the next look
			return
		}
		err = disk.SyncDir(filepath.Dir(path))
	}()
	if err := s.take(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	if _, err := backup.Verify(ctx, f, dir); err != nil {
		return pipeline.Errorf(pipeline.Internal, "read the snapshot back: %w", err)
	}
	return nil
}
