package blob

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/disk"
)

// tempDir is a store's own directory for temporary files. It is made again if
// it was removed.
type tempDir struct {
	store string // the directory of the store
	dirs  *directories
	next  atomic.Uint64 // numbers the files

	mu sync.RWMutex // guards following
	// path of the directory, and locks: one handle for each directory that there was, the
	// last of them on path. A handle is held, and its directory so locked against
	// other processes that clean up, until the store is closed.
	path  string
	locks []int
}

// cleanTemp removes the directories of stores that no process has open.
func cleanTemp(dir string) {
	base := filepath.Join(dir, tmpDir)
	names, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, n := range names {
		path := filepath.Join(base, n.Name())
		fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			os.Remove(path)
			continue
		}

		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(path)
		}
		unix.Close(fd)
	}
}

// lock gives a handle on the file system that the store is on.
func (t *tempDir) lock() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.locks[len(t.locks)-1]
}

func (t *tempDir) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()

	err := os.RemoveAll(t.path)
	for _, fd := range t.locks {
		unix.Close(fd)
	}
	return err
}

// create makes and locks the directory.
func (t *tempDir) create() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.createLocked()
}

// createLocked makes and locks the directory. Another process that cleans up may
// remove it before it is locked, hence the loop.
func (t *tempDir) createLocked() error {
	for range 100 {
		path := filepath.Join(t.store, tmpDir, rand.Text())
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}

		lockErr := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if _, err := os.Lstat(path); err == nil && lockErr == nil {
			t.path, t.locks = path, append(t.locks, fd)
			return nil
		}
		unix.Close(fd)
	}
	return errors.New("another process keeps removing our temporary directory")
}

// name is a name for a new temporary file.
func (t *tempDir) name() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.path + "/" + strconv.FormatUint(t.next.Add(1), 36)
}

// open opens a new temporary file for writing, and first makes the directories
// again if they are gone.
func (t *tempDir) open() (fd int, name string, err error) {
	for tries := 0; ; tries++ {
		name = t.name()
		fd, err = disk.OpenFD(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o400)
		if tries > 0 || !errors.Is(err, fs.ErrNotExist) || t.remake(filepath.Dir(name)) != nil {
			return fd, name, err
		}
	}
}

// file opens a new temporary file for a blob that is put.
func (t *tempDir) file() (int, string, error) {
	fd, name, err := t.open()
	if err != nil {
		return -1, "", fmt.Errorf("put blob: %w", storeError(err))
	}
	return fd, name, nil
}

// remake makes the store's directories again after gone, its directory for
// temporary files, has vanished: the blobs are lost with them, and are fetched
// from other nodes. It is the same as a new, empty store.
func (t *tempDir) remake(gone string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.path != gone {
		return nil // another goroutine has done it
	}

	if err := makeDirs(t.store); err != nil {
		return err
	}
	t.dirs.reload()
	return t.createLocked()
}
