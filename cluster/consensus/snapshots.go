package consensus

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// snapshots is raft's store of snapshots, with two of raft's gaps closed: raft
// uses any older snapshot if it cannot read the newest, even if the log does
// not continue from there, and deletes the log below a snapshot that was never
// read back (reliability H13).
type snapshots struct {
	inner *raft.FileSnapshotStore
	// base is raft's directory.
	base string
	log  hclog.Logger
	// damaged is called when one is quarantined.
	damaged func(why error)

	mu sync.Mutex // guards following
	// verified are the snapshots that were read back whole, by id.
	verified map[string]bool
	// starting is set until raft runs: List then returns chosen alone, so that
	// raft cannot fall back on another.
	starting bool
	chosen   *raft.SnapshotMeta
}

func openSnapshots(dir string, log hclog.Logger) (*snapshots, error) {
	inner, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("open raft's snapshots: %w", err)
	}

	s := &snapshots{inner: inner, base: dir, log: log, verified: map[string]bool{}, starting: true}

	// What a crash left half written is of no use.
	left, err := filepath.Glob(filepath.Join(dir, snapshotDir, "*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("open raft's snapshots: %w", err)
	}

	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("remove an unfinished snapshot: %w", err)
		}
	}

	return s, nil
}

// snapshotID is what a snapshot's name says; it is all there is of one whose
// description cannot be read.
type snapshotID struct {
	id                  string
	term, index, millis uint64
	ok                  bool
}

func parseSnapshotID(id string) snapshotID {
	s := snapshotID{id: id}
	parts := strings.Split(id, "-")
	if len(parts) != 3 {
		return s
	}

	for i, to := range []*uint64{&s.term, &s.index, &s.millis} {
		v, err := strconv.ParseUint(parts[i], 10, 64)
		if err != nil {
			return s
		}
		*to = v
	}

	s.ok = true

	return s
}

// compare orders as raft does: by term, then by index, then by age.
func (s snapshotID) compare(o snapshotID) int {
	return cmp.Or(cmp.Compare(s.term, o.term), cmp.Compare(s.index, o.index), cmp.Compare(s.millis, o.millis))
}

// all lists the directories of snapshots, newest first, readable or not.
func (s *snapshots) all() ([]snapshotID, error) {
	entries, err := os.ReadDir(filepath.Join(s.base, snapshotDir))
	if err != nil {
		return nil, fmt.Errorf("list raft's snapshots: %w", err)
	}
	var out []snapshotID
	for _, e := range entries {
		if id := parseSnapshotID(e.Name()); e.IsDir() && id.ok {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b snapshotID) int { return b.compare(a) })
	return out, nil
}

// verify reads a snapshot to its end, against its checksum.
func (s *snapshots) verify(id string) (*raft.SnapshotMeta, error) {
	meta, r, err := s.inner.Open(id)
	if err != nil {
		return nil, err
	}

	if err := r.Close(); err != nil {
		return nil, err
	}

	if at := parseSnapshotID(id); meta.ID != id || meta.Index != at.index || meta.Term != at.term {
		return nil, fmt.Errorf("its description is that of snapshot %.60q", meta.ID)
	}

	s.mu.Lock()
	s.verified[id] = true
	s.mu.Unlock()

	return meta, nil
}

// verifyRest reads the snapshots that raft did not start from, so that the log
// below them may go. Damaged ones are quarantined.
func (s *snapshots) verifyRest(stop <-chan struct{}) {
	list, err := s.all()
	if err != nil {
		s.log.Warn("cannot verify the older snapshots", "error", err)
		return
	}

	for _, id := range list {
		select {
		case <-stop:
			return
		default:
		}
		if s.isVerified(id.id) {
			continue
		}
		if _, err := s.verify(id.id); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.condemn(id.id, err)
		}
	}
}

func (s *snapshots) isVerified(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verified[id]
}

// condemn excludes a snapshot from use.
func (s *snapshots) condemn(id string, why error) {
	s.log.Error("quarantined a damaged snapshot: the log makes up for it", "snapshot", id, "in", filepath.Join(s.base, damagedDir), "error", why)
	s.mu.Lock()
	delete(s.verified, id)
	s.mu.Unlock()
	quarantine(s.base, id, s.log)
	s.damaged(why)
}

// floor is the index up to which the log may be deleted: that of the oldest
// snapshot that was read back, and only if there are two at least, so that the
// state can be restored even if one is damaged later. Before the second
// snapshot the whole log is kept for that.
func (s *snapshots) floor() uint64 {
	list, err := s.inner.List()
	if err != nil {
		return 0
	}

	var lowest uint64
	n := 0
	for _, m := range list {
		if s.isVerified(m.ID) {
			lowest = m.Index
			n++
		}
	}

	if n < 2 {
		return 0
	}

	return lowest
}

// Create begins a snapshot; it is read back when it is complete.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.inner.Create(version, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &verifiedSink{SnapshotSink: sink, store: s}, nil
}

// List returns the snapshots, newest first; only the chosen one until raft runs.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	starting, chosen := s.starting, s.chosen
	s.mu.Unlock()
	switch {
	case !starting:
		return s.inner.List()
	case chosen == nil:
		return nil, nil
	}
	return []*raft.SnapshotMeta{chosen}, nil
}

// Open returns a snapshot's content. A snapshot that has become unreadable
// while raft runs is quarantined, so that a follower that is far behind is sent
// the one before it.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.inner.Open(id)
	s.mu.Lock()
	starting := s.starting
	s.mu.Unlock()
	if err != nil && !starting && !errors.Is(err, os.ErrNotExist) {
		s.condemn(id, err)
	}
	return meta, r, err
}

// choose makes base, nil for none, the only snapshot that raft may start from.
func (s *snapshots) choose(base *raft.SnapshotMeta) {
	s.mu.Lock()
	s.chosen = base
	s.mu.Unlock()
}

// started opens the way to all snapshots.
func (s *snapshots) started() {
	s.mu.Lock()
	s.starting, s.chosen = false, nil
	s.mu.Unlock()
}

// verifiedSink reads back what it wrote.
type verifiedSink struct {
	raft.SnapshotSink
	store    *snapshots
	canceled bool
}

// Cancel drops the snapshot.
func (v *verifiedSink) Cancel() error {
	v.canceled = true
	return v.SnapshotSink.Cancel()
}

// Close completes the snapshot. One that cannot be read back is an error, and
// raft keeps its log.
func (v *verifiedSink) Close() error {
	if err := v.SnapshotSink.Close(); err != nil || v.canceled {
		return err
	}
	if v.store.isVerified(v.ID()) {
		return nil // closed before
	}
	if _, err := v.store.verify(v.ID()); err != nil {
		v.store.condemn(v.ID(), err)
		return err
	}
	return nil
}
