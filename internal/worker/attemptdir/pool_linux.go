package attemptdir

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

// Pool makes and removes attempt directories. It keeps a few that are as they
// were made, and renames them for later attempts: making and removing four
// directories costs more than starting a small process. A directory in which a
// module left anything, or changed a mode, is never used again. Its methods are
// safe for concurrent use.
type Pool struct {
	dir string
	max int

	mu   sync.Mutex // guards following
	free []string
	next int
}

// NewPool keeps up to max directories below dir, which must be on the file
// system of the attempts' directories and belongs to the pool alone: what is
// there is removed.
func NewPool(dir string, max int) (*Pool, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the pool of attempt directories: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the pool of attempt directories: %w", err)
	}

	return &Pool{dir: dir, max: max}, nil
}

// Prepare makes the directory of an attempt; see Dir.Prepare.
func (p *Pool) Prepare(dir Dir) error {
	p.mu.Lock()
	var from string
	if n := len(p.free); n > 0 {
		from, p.free = p.free[n-1], p.free[:n-1]
	}
	p.mu.Unlock()

	if from == "" {
		return dir.Prepare()
	}

	if err := syscall.Rename(from, string(dir)); err != nil {
		// The directory exists already, half made by a daemon that died, or is
		// gone from the pool: Dir.Prepare handles both.
		if err := os.RemoveAll(from); err != nil {
			return fmt.Errorf("remove pooled directory: %w", err)
		}
		return dir.Prepare()
	}
	return nil
}

// Remove removes the directory of an attempt, or keeps it for another one.
func (p *Pool) Remove(dir Dir) error {
	p.mu.Lock()
	full := len(p.free) >= p.max
	p.next++
	to := filepath.Join(p.dir, strconv.Itoa(p.next))
	p.mu.Unlock()

	if full || !pristine(dir) || syscall.Rename(string(dir), to) != nil {
		return dir.Remove()
	}

	p.mu.Lock()
	p.free = append(p.free, to)
	p.mu.Unlock()
	return nil
}

// pristine reports whether an attempt's directory holds nothing but what Prepare
// made, after removing what the worker and the executor put there.
func pristine(dir Dir) bool {
	dir.RemoveFromMemory()

	for _, sub := range dir.subdirectories() {
		if names, ok := listing(sub, 0o755); !ok || len(names) > 0 {
			return false
		}
	}

	names, ok := listing(string(dir), 0o755)
	if !ok {
		return false
	}

	own := map[string]bool{filepath.Base(dir.Log()): true, filepath.Base(dir.Times()): true, filepath.Base(dir.Script()): true}
	subdirectories := 0
	for _, name := range names {
		switch {
		case name == "work" || name == "home" || name == "tmp":
			subdirectories++
		case own[name] || strings.HasPrefix(name, hookPrefix):
			if err := unlink(string(dir) + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false
			}
		default:
			return false
		}
	}

	return subdirectories == 3
}

// listing gives the names in a directory. ok is false if path is no directory of
// that mode, or holds more than one read returns.
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
