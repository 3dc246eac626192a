package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/disk"
)

// FormatVersion is the version of the data directory's layout. A directory of
// any other is refused.
const FormatVersion = 1

// Names at the top of a data directory.
const (
	formatFile  = "format"
	lockFile    = "lock"
	nodeFile    = "node.json"
	agentFile   = "agent.json"
	journalFile = "journal.db"
	// collectedFile has no bytes: its time is that of the last collection of blobs.
	collectedFile = "collected"
	raftDir       = "raft"
	stateDir      = "state"
	blobsDir      = "blobs"
	workDir       = "work"
	cachesDir     = "caches"
	keeperDir     = "keeper"
	layersDir     = "layers"
)

// formatWord is the first word of the format file; the second is the version.
const formatWord = "pipelined"

// DataDir is an open and locked data directory. One process at a time has it.
type DataDir struct {
	path     string
	warnings []string

	mu   sync.Mutex
	lock *os.File // guarded by mu
}

// LockedError says that another process has the data directory open.
type LockedError struct {
	// Path of the data directory, links resolved.
	Path string
	// PID of the holder; 0 where it could not be read.
	PID int
	// Command is the holder's command line; "" where unknown.
	Command string
}

// Holder is the process that has it, in words.
func (e *LockedError) Holder() string {
	if e.PID == 0 {
		return "another process"
	}
	return "process " + strconv.Itoa(e.PID)
}

// Error names the holder and what to do about it.
func (e *LockedError) Error() string {
	holder := e.Holder()
	if e.Command != "" {
		holder += " (" + e.Command + ")"
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it first, or give this one a -data-dir of its own", e.Path, holder)
}

// OpenDataDir opens a data directory and locks it, and makes it, with mode
// 0700, where there is none. A link is followed once, so that the lock lies
// with the real directory. Errors: *LockedError where another process has it; a
// directory of a newer version, or one that holds something else, is refused
// and left as it is.
func OpenDataDir(path string) (*DataDir, error) {
	real, err := makeDataDir(path)
	if err != nil {
		return nil, err
	}
	// Looked at before the lock file is made, so that a foreign directory
	// stays untouched; looked at again under the lock.
	if _, err := readFormat(real); err != nil {
		return nil, err
	}
	lock, err := lockDataDir(real)
	if err != nil {
		return nil, err
	}
	d := &DataDir{path: real, lock: lock}
	if err := d.prepare(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// makeDataDir creates the directory if need be and gives its real path.
func makeDataDir(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return "", fmt.Errorf("make data directory %s: %w: choose another with -data-dir", abs, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("resolve data directory %s: %w", abs, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("look at data directory %s: %w", real, err)
	}
	if st, ok := info.Sys().(*disk.Stat); ok && os.Geteuid() != 0 && int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("data directory %s belongs to user %d, not to user %d who runs this: choose another with -data-dir, or change its owner", real, st.Uid, os.Geteuid())
	}
	return real, nil
}

// readFormat gives the version of a data directory, 0 for a fresh one.
func readFormat(dir string) (int, error) {
	path := filepath.Join(dir, formatFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, refuseForeign(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("read data directory: %w", err)
	}
	words := strings.Fields(string(text))
	if len(words) != 2 || words[0] != formatWord {
		return 0, fmt.Errorf("data directory %s: its file %q is not one of ours: choose another directory with -data-dir", dir, formatFile)
	}
	version, err := strconv.Atoi(words[1])
	if err != nil || version < 1 {
		return 0, fmt.Errorf("data directory %s: its file %q names no version: restore that file (%q) or choose another directory with -data-dir", dir, formatFile, formatWord+" 1")
	}
	if version != FormatVersion {
		return 0, fmt.Errorf("data directory %s has format %d and this program knows format %d: use the program that wrote it, or another -data-dir", dir, version, FormatVersion)
	}
	return version, nil
}

// IsDataDir reports whether a directory, of which the names are known, is a data
// directory of any format.
func IsDataDir(dir string, names []fs.DirEntry) bool {
	if !slices.ContainsFunc(names, func(n fs.DirEntry) bool { return n.Name() == formatFile && n.Type().IsRegular() }) {
		return false
	}
	f, err := os.Open(filepath.Join(dir, formatFile))
	if err != nil {
		return false
	}
	defer f.Close()

	const want = formatWord + " "
	text := make([]byte, len(want))
	_, err = io.ReadFull(f, text)

	return err == nil && string(text) == want
}

// refuseForeign accepts a directory without our format file only if it holds
// nothing, or what an opening that was cut short leaves behind.
func refuseForeign(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, n := range names {
		name := n.Name()
		if name == lockFile || name == "lost+found" || strings.HasPrefix(name, "."+formatFile+".") {
			continue
		}
		return fmt.Errorf("data directory %s is not empty and not one of ours (it holds %q): choose an empty or a new one with -data-dir", dir, name)
	}
	return nil
}

// lockDataDir takes the lock or says who has it.
func lockDataDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, disk.Classify(err))
	}
	err = disk.RetryEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid, command := readHolder(f)
			return nil, &LockedError{Path: dir, PID: pid, Command: command}
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	text := fmt.Sprintf("%d\n%s\n", os.Getpid(), holderCommand())
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data directory %s: %w", dir, disk.Classify(err))
	}
	return f, nil
}

// holderCommand is what a second opener reads about this process: the
// program and its first argument, since later ones may be secret.
func holderCommand() string {
	words := []string{filepath.Base(os.Args[0])}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		words = append(words, os.Args[1])
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// readHolder reads what the holder of the lock wrote; it may be in the middle
// of doing so.
func readHolder(f *os.File) (pid int, command string) {
	buf := make([]byte, 4096)
	n, _ := f.ReadAt(buf, 0)
	first, rest, _ := strings.Cut(string(buf[:n]), "\n")
	pid, _ = strconv.Atoi(first)
	command, _, _ = strings.Cut(rest, "\n")
	return max(pid, 0), command
}

// setFormat writes the version, durably.
func (d *DataDir) setFormat() error {
	text := fmt.Sprintf("%s %d\n", formatWord, FormatVersion)
	if err := disk.WriteFile(filepath.Join(d.path, formatFile), []byte(text), 0o600, true); err != nil {
		return fmt.Errorf("mark data directory: %w", err)
	}
	return nil
}

// prepare brings a locked directory to a layout that this program knows.
func (d *DataDir) prepare() error {
	version, err := readFormat(d.path)
	if err != nil {
		return err
	}
	if info, err := os.Stat(d.path); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(d.path, 0o700); err != nil {
			return fmt.Errorf("close data directory %s to other users: %w", d.path, err)
		}
	}
	// First of all: whatever follows a crash here, the directory is ours.
	if version == 0 {
		if err := d.setFormat(); err != nil {
			return err
		}
	}
	for _, name := range []string{raftDir, stateDir, blobsDir, workDir, cachesDir, keeperDir} {
		if err := os.MkdirAll(filepath.Join(d.path, name), 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", disk.Classify(err))
		}
	}
	for _, name := range []string{workDir, cachesDir} {
		if err := disk.Mark(filepath.Join(d.path, name)); err != nil {
			return err
		}
	}
	if kind := disk.NetworkFilesystem(d.path); kind != "" {
		d.warnings = append(d.warnings, fmt.Sprintf("data directory %s is on %s: locks and syncs may not hold there, a local disk is safer", d.path, kind))
	}
	return nil
}

// Close gives the lock up. It may be called more than once.
func (d *DataDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	// The file stays: removing it would let a third process lock a new file
	// while a second one waits on this one.
	err := d.lock.Close()
	d.lock = nil
	return err
}

// Warnings are things about the directory that its owner should know, for the
// log.
func (d *DataDir) Warnings() []string { return d.warnings }

// Path is the directory itself, links resolved.
func (d *DataDir) Path() string { return d.path }

// RaftDir holds raft's log and snapshots.
func (d *DataDir) RaftDir() string { return filepath.Join(d.path, raftDir) }

// SetRaftAside moves raft's directory out of the way and gives its new path beside
// the old one. Of those moved before, the newest two stay. It is durable when it
// returns.
func (d *DataDir) SetRaftAside(now time.Time) (string, error) {
	to := d.RaftDir() + raftAside + now.UTC().Format("20060102T150405.000")
	if err := os.Rename(d.RaftDir(), to); err != nil {
		return "", fmt.Errorf("set raft's directory aside: %w", err)
	}
	old, err := filepath.Glob(d.RaftDir() + raftAside + "*")
	if err != nil {
		return "", fmt.Errorf("set raft's directory aside: %w", err)
	}
	slices.Sort(old)
	for ; len(old) > maxRaftAside; old = old[1:] {
		if err := os.RemoveAll(old[0]); err != nil {
			return "", fmt.Errorf("remove an old raft directory: %w", err)
		}
	}
	return to, disk.SyncDir(d.path)
}

// raftAside stands behind the name of raft's directory where it was set aside, and
// a time behind that; maxRaftAside is how many of them are kept.
const (
	raftAside    = ".damaged-"
	maxRaftAside = 3
)

// StateDir holds the replicated state's file.
func (d *DataDir) StateDir() string { return filepath.Join(d.path, stateDir) }

// BackupDir is for what making and restoring snapshots of the state needs
// meanwhile.
func (d *DataDir) BackupDir() string { return filepath.Join(d.path, stateDir, "backup") }

// BlobsDir holds the blobs, see OpenBlobs.
func (d *DataDir) BlobsDir() string { return filepath.Join(d.path, blobsDir) }

// WorkDir holds the directories of attempts; it is marked, see RemoveAll.
func (d *DataDir) WorkDir() string { return filepath.Join(d.path, workDir) }

// LayersDir holds what directories of attempts are made of, see Layouts.
func (d *DataDir) LayersDir() string { return filepath.Join(d.path, layersDir) }

// CachesDir holds the directories that modules keep between runs; it is marked.
func (d *DataDir) CachesDir() string { return filepath.Join(d.path, cachesDir) }

// KeeperDir holds the socket and the files of the keeper.
func (d *DataDir) KeeperDir() string { return filepath.Join(d.path, keeperDir) }

// JournalPath is the file of the attempts' journal, see storage/journal.
func (d *DataDir) JournalPath() string { return filepath.Join(d.path, journalFile) }

// CollectedPath is the file whose time says when blobs were last collected.
func (d *DataDir) CollectedPath() string { return filepath.Join(d.path, collectedFile) }

// AgentPath is the file that tells others the addresses of the agent.
func (d *DataDir) AgentPath() string { return filepath.Join(d.path, agentFile) }
