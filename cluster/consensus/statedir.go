package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	bolterrors "go.etcd.io/bbolt/errors"
)

// stateDir is raft's directory: its log, its snapshots, and notes about both.
// It decides what a start may resume from. Its methods after open are safe for
// concurrent use.
type stateDir struct {
	dir string
	log hclog.Logger
	// check examines the log in a process of its own; nil leaves that out.
	check func(dir string) error
	// repaired is Config.Repaired; it may be nil.
	repaired func(found, how string)

	store *logStore
	snaps *snapshots

	mu    sync.Mutex // guards following
	noted []Server
}

// open opens the log and the snapshots.
func (d *stateDir) open() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("make raft's directory: %w", err)
	}

	if err := d.openStore(); err != nil {
		return err
	}

	snaps, err := openSnapshots(d.dir, d.log.Named("snapshot"))
	if err != nil {
		d.store.Close()
		return err
	}

	snaps.damaged = func(why error) {
		d.noteRepaired("a snapshot: "+why.Error(), "an older snapshot and the log make up for it")
	}
	d.snaps = snaps

	return nil
}

// openStore opens the log. If it is not as the last process has left it, it is
// checked first.
func (d *stateDir) openStore() error {
	if err := checkLogFile(d.dir); isDamage(err) {
		return d.damage(err)
	} else if err != nil {
		return err
	}

	if !closedWell(d.dir) && d.check != nil {
		if err := d.check(d.dir); err != nil {
			return d.damage(fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
	}

	// The mark is removed before the file is opened: one that ends this process
	// is checked at the next start.
	if err := os.Remove(filepath.Join(d.dir, closedMark)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("mark raft's log as open: %w", err)
	}

	compactLog(filepath.Join(d.dir, logFile), compactFrom, d.log)

	store, err := openLogStore(filepath.Join(d.dir, logFile), d.log)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrInUse, d.dir)
	case err != nil && isDamage(err):
		return d.damage(err)
	case err != nil:
		return err
	}

	d.store = store

	return nil
}

// damage describes damage that cannot be made up for.
func (d *stateDir) damage(err error) *DamageError {
	return &DamageError{Dir: d.dir, Servers: readServers(d.dir), Err: err}
}

func (d *stateDir) noteRepaired(found, how string) {
	if d.repaired != nil {
		d.repaired(found, how)
	}
}

// close closes the log and notes that it was closed properly. A log that has
// failed gets no such note, so that the next start checks it.
func (d *stateDir) close() error {
	if err := d.store.Close(); err != nil {
		return err
	}

	if d.store.damaged.Load() != nil || d.store.failure.get() != nil {
		return nil
	}

	stamp, err := stampLog(d.dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, closedMark), []byte(stamp), 0o600)
	}

	if err != nil {
		return fmt.Errorf("note that raft's log is closed: %w", err)
	}

	return nil
}

// noteServers writes the configuration down if it has changed.
func (d *stateDir) noteServers(now []Server) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if len(now) == 0 || slices.Equal(now, d.noted) {
		return
	}

	text, err := json.Marshal(now)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(d.dir, serversFile), text, 0o600)
	}

	if err != nil {
		d.log.Warn("cannot write the configuration down", "error", err)
		return
	}

	d.noted = now
}

// badSnapshot is one that cannot be used, and why.
type badSnapshot struct {
	id  string
	err error
}

// choose finds the snapshot to start from: the newest whole one (nil for the
// empty state), provided that the log continues from it without a gap to its
// end, and at least to the index of the newest snapshot of all. bad are newer
// snapshots that the log replaces. refused are those that the state machine did
// not accept.
func (d *stateDir) choose(refused map[string]error) (base *raft.SnapshotMeta, bad []badSnapshot, err error) {
	list, err := d.snaps.all()
	if err != nil {
		return nil, nil, err
	}

	var why error
	for _, id := range list {
		err, tried := refused[id.id]
		if !tried {
			if base, err = d.snaps.verify(id.id); err == nil {
				break
			}
		}
		bad, why = append(bad, badSnapshot{id.id, err}), errors.Join(why, fmt.Errorf("snapshot %s: %w", id.id, err))
	}

	var from uint64
	if base != nil {
		from = base.Index
	}

	last, err := d.store.healthy(from, func(found string, upTo uint64) {
		d.noteRepaired(found, fmt.Sprintf("the entries up to %d were removed: a snapshot has them", upTo))
	})
	if err != nil {
		return nil, nil, errors.Join(err, why)
	}

	if len(bad) == 0 {
		return base, nil, nil
	}

	// The log must have the entry of the newest snapshot, in the same term:
	// otherwise it is left from before that snapshot arrived.
	newest := list[0]
	var at raft.Log
	if last < newest.index || d.store.read(newest.index, &at) != nil || at.Term != newest.term {
		return nil, nil, errors.Join(fmt.Errorf("the log from entry %d on ends at %d and does not reach what it held", from+1, last), why)
	}

	return base, bad, nil
}

// checkRestored compares the state machine with the snapshot that raft restored
// it from, as raft believes: no log entry between the two indexes may be a
// command (H11). A state machine without an index is trusted.
func (d *stateDir) checkRestored(fsm FSM, base *raft.SnapshotMeta) error {
	f, ok := fsm.(interface{ Index() uint64 })
	if !ok || base == nil {
		return nil
	}

	at := f.Index()
	if at > base.Index {
		return fmt.Errorf("it leaves the state at entry %d, beyond its own", at)
	}

	var l raft.Log
	if d.store.read(base.Index, &l) != nil || l.Term != base.Term {
		return nil // the log is not that of the snapshot
	}

	for i := at + 1; i <= base.Index; i++ {
		if d.store.read(i, &l) == nil && l.Type == raft.LogCommand {
			return fmt.Errorf("it leaves the state at entry %d, and entry %d is missing from it", at, i)
		}
	}

	return nil
}
