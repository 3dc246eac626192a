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

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// closedMark describes the log's file as it was when it was last closed. If
	// the mark is missing, or the file is another one, the last process did not
	// end by itself or the file was changed from outside.
	closedMark = "log.closed"
	// serversFile holds the newest configuration, as a hint in case nothing else
	// can be read.
	serversFile = "servers.json"
	// damagedDir holds snapshots that were found damaged.
	damagedDir = "damaged"
	// maxDamaged is how many of them are kept.
	maxDamaged = 3
)

// DamageError is returned by Open if log and snapshots do not hold what was once
// written to them, and cannot make up for it. The directory is as it was found.
// A node must not resume from less than it has once acknowledged (reliability
// H13, H14): if others hold the state it may join them again, with an empty
// directory and an id that was never used.
type DamageError struct {
	// Dir is raft's directory.
	Dir string
	// Servers is the last configuration that is known, empty if none is.
	Servers []Server
	// Missing is set if the directory is empty.
	Missing bool
	// Err is what was found; it wraps ErrCorrupt if the log is damaged.
	Err error
}

// Error says what is damaged.
func (e *DamageError) Error() string {
	return fmt.Sprintf("raft's state in %s is damaged: %v", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// Replaceable reports whether the other voters have a majority without this
// node, so that they can admit a new one. It is false if no configuration
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

// CheckLog opens the log's file below raft's directory and reads all of it. bbolt
// may end the process on damaged pages, so it is meant for a process that does
// nothing else; see Config.Check. A directory without a log is fine.
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

// isDamage reports whether an error of opening the log's file comes from its
// content, and not from the machine.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch)
}

// checkLogFile finds a log that is missing, or cut off so far that bbolt has no
// error of its own for it. A node that was never part of a cluster has none.
func checkLogFile(dir string) error {
	info, err := os.Stat(filepath.Join(dir, logFile))
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("look at raft's log: %w", err)
	case err != nil || info.Size() == 0:
		if len(readServers(dir)) > 0 {
			return fmt.Errorf("%w: the file %s is missing or empty", ErrCorrupt, logFile)
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

// closedWell reports whether the log is as a node has left it, or does not exist
// yet.
func closedWell(dir string) bool {
	is, err := stampLog(dir)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	was, err := os.ReadFile(filepath.Join(dir, closedMark))
	return err == nil && is == string(was)
}

// readServers is the configuration that was noted last, none if that cannot be
// read.
func readServers(dir string) []Server {
	text, err := os.ReadFile(filepath.Join(dir, serversFile))
	var out []Server
	if err != nil || json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

// quarantine moves a snapshot out of raft's sight, for inspection, and removes
// the oldest ones if there are too many.
func quarantine(dir, id string, log hclog.Logger) {
	to := filepath.Join(dir, damagedDir)
	err := os.MkdirAll(to, 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(dir, snapshotDir, id), filepath.Join(to, id))
	}

	if err != nil {
		log.Warn("cannot quarantine a damaged snapshot", "snapshot", id, "error", err)
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
