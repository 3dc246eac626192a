package executor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Folders makes and removes attempt folders. It keeps a few that were left as
// they were made, and gives them to later attempts by a rename: making and
// removing four directories costs more than starting a small process. A folder
// in which a module left anything, or changed a mode, is never used again.
// It is safe for concurrent use.
type Folders struct {
	pool string
	max  int

	mu   sync.Mutex // guards following
	free []string
	next int
}

// NewFolders keeps up to max folders below the directory pool, which must be on
// the file system of the attempts' folders and belongs to it alone: what is
// there is removed.
func NewFolders(pool string, max int) (*Folders, error) {
	if err := os.RemoveAll(pool); err != nil {
		return nil, fmt.Errorf("empty the pool of folders: %w", err)
	}
	if err := os.MkdirAll(pool, 0o700); err != nil {
		return nil, fmt.Errorf("make the pool of folders: %w", err)
	}
	return &Folders{pool: pool, max: max}, nil
}

// Prepare makes the folder of an attempt; see the function Prepare.
func (f *Folders) Prepare(dir string) error {
	f.mu.Lock()
	var from string
	if n := len(f.free); n > 0 {
		from, f.free = f.free[n-1], f.free[:n-1]
	}
	f.mu.Unlock()
	if from == "" {
		return Prepare(dir)
	}
	if err := syscall.Rename(from, dir); err != nil {
		// The folder exists already, half made by a daemon that died, or is gone
		// from the pool: the long way deals with both.
		if err := os.RemoveAll(from); err != nil {
			return fmt.Errorf("remove pooled folder: %w", err)
		}
		return Prepare(dir)
	}
	return nil
}

// Remove removes the folder of an attempt, or keeps it for another one.
func (f *Folders) Remove(dir string) error {
	f.mu.Lock()
	room := len(f.free) < f.max
	f.next++
	to := filepath.Join(f.pool, strconv.Itoa(f.next))
	f.mu.Unlock()
	if !room || !f.pristine(dir) || syscall.Rename(dir, to) != nil {
		return Remove(dir)
	}
	f.mu.Lock()
	f.free = append(f.free, to)
	f.mu.Unlock()
	return nil
}

// pristine reports whether an attempt's folder holds nothing but what Prepare
// made, once what the executor itself put there is removed.
func (f *Folders) pristine(dir string) bool {
	removeResult(dir)
	for _, sub := range []string{WorkPath(dir), HomePath(dir), TmpPath(dir)} {
		if names, ok := listing(sub, 0o755); !ok || len(names) > 0 {
			return false
		}
	}
	names, ok := listing(dir, 0o755)
	if !ok {
		return false
	}
	kept := 0
	for _, name := range names {
		switch {
		case name == "work" || name == "home" || name == "tmp":
			kept++
		case name == LogName || name == TimesName || name == filepath.Base(ScriptPath(dir)) || strings.HasPrefix(name, hookPrefix):
			if err := unlink(dir + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false
			}
		default:
			return false
		}
	}
	return kept == 3
}

// listing gives the names in a directory, as far as one read tells; ok is false
// where it is no directory of that mode, or holds more.
func listing(path string, mode uint32) (names []string, ok bool) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil || st.Mode&0o7777 != mode {
		return nil, false
	}
	var buf [1024]byte
	n, err := syscall.ReadDirent(fd, buf[:])
	if err != nil || n > len(buf)/2 {
		return nil, false
	}
	_, _, names = syscall.ParseDirent(buf[:n], -1, nil)
	return names, true
}
