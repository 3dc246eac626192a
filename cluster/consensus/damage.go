package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// closedMark tells how the log's file was when it was last closed. Where it
	// is not found, or the file is another one, the last process did not end by
	// itself or somebody else has been at the file.
	closedMark = "log.closed"
	// serversFile holds the newest configuration, as a hint for the day on
	// which nothing else can be read.
	serversFile = "servers.json"
	// damagedDir takes snapshots that were found damaged.
	damagedDir = "damaged"
	// maxDamaged is how many of them are kept.
	maxDamaged = 3
)

// DamageError is returned by Open where log and snapshots do not hold what was
// once written to them, and cannot make up for it. The folder is as it was
// found. A node must not go on from less than it has once acknowledged
// (reliability H13, H14): where others hold the state it may join them again,
// with an empty folder and an id that was never used.
type DamageError struct {
	// Dir is raft's folder.
	Dir string
	// Servers is the last configuration that is known, empty where none is.
	Servers []Server
	// Err is what was found; it wraps ErrCorrupt where the log is damaged.
	Err error
}

// Error says what is damaged.
func (e *DamageError) Error() string {
	return fmt.Sprintf("raft's state in %s is damaged: %v", e.Dir, e.Err)
}

// Unwrap gives what was found.
func (e *DamageError) Unwrap() error { return e.Err }

// Replaceable reports whether the other voters have a majority without this
// node, so that they can take a new one in. It is false where no configuration
// is known.
func (e *DamageError) Replaceable(id string) bool {
	voters, others := 0, 0
	for _, s := range e.Servers {
		if s.Suffrage == Voter {
			voters++
			if s.ID != id {
				others++
			}
		}
	}
	return 2*others > voters
}

// CheckLog opens the log's file below raft's folder and reads all of it. bbolt
// may end the process on damaged pages, so it is meant for a process that does
// nothing else; see Config.Check. A folder without a log is fine.
func CheckLog(dir string) (err error) {
	debug.SetPanicOnFault(true)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	path := filepath.Join(dir, logFile)
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
		}
		return first
	})
}

// isDamage tells an error of opening the log's file that comes from its content
// from one that comes from the machine.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch)
}

// checkLogFile tells a log that is gone, or cut off so far that bbolt has no
// error of its own for it. A node that was never part of a cluster has none.
func checkLogFile(dir string) error {
	info, err := os.Stat(filepath.Join(dir, logFile))
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("look at raft's log: %w", err)
	case err != nil || info.Size() == 0:
		if len(readServers(dir)) > 0 {
			return fmt.Errorf("%w: the file %s is gone or empty", ErrCorrupt, logFile)
		}
	case info.Size() < int64(2*os.Getpagesize()):
		return fmt.Errorf("%w: the file %s is cut off at %d bytes", ErrCorrupt, logFile, info.Size())
	}
	return nil
}

// stampLog describes the log's file, cheaply.
func stampLog(dir string) (string, error) {
	info, err := os.Stat(filepath.Join(dir, logFile))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes at %d\n", info.Size(), info.ModTime().UnixNano()), nil
}

// closedWell reports whether the log is as a node has left it, or not made yet.
func closedWell(dir string) bool {
	is, err := stampLog(dir)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	was, err := os.ReadFile(filepath.Join(dir, closedMark))
	return err == nil && is == string(was)
}

// openStore opens the log, after a check of its own where it is not as the last
// process has left it.
func (n *Node) openStore() (*logStore, error) {
	if err := checkLogFile(n.cfg.Dir); isDamage(err) {
		return nil, n.damage(err)
	} else if err != nil {
		return nil, err
	}
	if !closedWell(n.cfg.Dir) && n.cfg.Check != nil {
		if err := n.cfg.Check(n.cfg.Dir); err != nil {
			return nil, n.damage(fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
	}
	// The mark goes first: a file that ends this process is looked at next time.
	if err := os.Remove(filepath.Join(n.cfg.Dir, closedMark)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("mark raft's log as open: %w", err)
	}
	compactLog(filepath.Join(n.cfg.Dir, logFile), compactFrom, n.log)
	store, err := openLogStore(filepath.Join(n.cfg.Dir, logFile), n.log)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrInUse, n.cfg.Dir)
	case err != nil && isDamage(err):
		return nil, n.damage(err)
	}
	return store, err
}

func (n *Node) damage(err error) *DamageError {
	return &DamageError{Dir: n.cfg.Dir, Servers: readServers(n.cfg.Dir), Err: err}
}

// noteServers writes the configuration down where it has changed.
func (n *Node) noteServers() {
	now := n.Servers()
	n.noted.Lock()
	defer n.noted.Unlock()
	if len(now) == 0 || slices.Equal(now, n.notedServers) {
		return
	}
	text, err := json.Marshal(now)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(n.cfg.Dir, serversFile), text, 0o600)
	}
	if err != nil {
		n.log.Warn("cannot write the configuration down", "error", err)
		return
	}
	n.notedServers = now
}

// readServers is the configuration that was noted last; none where that cannot
// be read.
func readServers(dir string) []Server {
	text, err := os.ReadFile(filepath.Join(dir, serversFile))
	var out []Server
	if err != nil || json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

// setAside moves a snapshot out of raft's sight, for whoever wants to look at
// it, and removes the oldest where there are too many.
func setAside(dir, id string, log hclog.Logger) {
	to := filepath.Join(dir, damagedDir)
	err := os.MkdirAll(to, 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(dir, snapshotDir, id), filepath.Join(to, id))
	}
	if err != nil {
		log.Warn("cannot set a damaged snapshot aside", "snapshot", id, "error", err)
		return
	}
	old, err := os.ReadDir(to)
	if err != nil {
		return
	}
	byAge := func(a, b os.DirEntry) int { return parseSnapshotID(a.Name()).compare(parseSnapshotID(b.Name())) }
	slices.SortFunc(old, byAge)
	for ; len(old) > maxDamaged; old = old[1:] {
		if err := os.RemoveAll(filepath.Join(to, old[0].Name())); err != nil {
			log.Warn("cannot remove an old damaged snapshot", "error", err)
		}
	}
}
