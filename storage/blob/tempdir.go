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

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// tempDir is a store's own directory for files under way. It is made anew where
// someone has removed it.
type tempDir struct {
	mu sync.RWMutex // guards following
	// path of the directory, and locks: one handle for each directory that there was, the
	// last of them on path. A handle is held, and its directory so locked against
	// others that clean up, until the store is closed.
	path  string
	locks []int
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

// makeFolders makes the directories of the store.
func (b *Store) makeFolders() error {
	for _, d := range []string{b.dir, filepath.Join(b.dir, tmpDir), filepath.Join(b.dir, corruptDir), filepath.Join(b.dir, partialDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// makeTemp makes and locks this store's directory for files under way. Another
// process that cleans up may remove it before it is locked, hence the loop.
func (b *Store) makeTemp() error {
	b.tmp.mu.Lock()
	defer b.tmp.mu.Unlock()
	return b.makeTempLocked()
}

func (b *Store) makeTempLocked() error {
	for range 100 {
		path := filepath.Join(b.dir, tmpDir, rand.Text())
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
			b.tmp.path, b.tmp.locks = path, append(b.tmp.locks, fd)
			return nil
		}
		unix.Close(fd)
	}
	return errors.New("another process keeps removing our temporary folder")
}

// tempName is a name for a new file under way.
func (b *Store) tempName() string {
	b.tmp.mu.RLock()
	defer b.tmp.mu.RUnlock()
	return b.tmp.path + "/" + strconv.FormatUint(b.next.Add(1), 36)
}

// openTemp opens a new file under way, and first makes the directories again where
// they are gone.
func (b *Store) openTemp(flags int) (fd int, name string, err error) {
	for tries := 0; ; tries++ {
		name = b.tempName()
		fd, err = disk.OpenFD(name, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o400)
		if tries > 0 || !errors.Is(err, fs.ErrNotExist) || b.remake(filepath.Dir(name)) != nil {
			return fd, name, err
		}
	}
}

// remake makes the store's directories again after gone, its directory for files under
// way, has vanished: the blobs are lost with them, and are brought again from
// other nodes. It is the same as a new, empty store.
func (b *Store) remake(gone string) error {
	b.tmp.mu.Lock()
	defer b.tmp.mu.Unlock()
	if b.tmp.path != gone {
		return nil // somebody was quicker
	}
	if err := b.makeFolders(); err != nil {
		return err
	}
	for i := range b.shards {
		if _, err := os.Lstat(filepath.Join(b.dir, fmt.Sprintf("%02x", i))); err != nil {
			b.shards[i].made.Store(false)
		}
	}
	b.root.renamed.Add(1)
	return b.makeTempLocked()
}

// Probe tells whether blobs can be written, by the beginning of one. What it makes
// is gone when it returns.
func (b *Store) Probe() error {
	if err := b.broken.Load(); err != nil {
		return *err
	}
	fd, name, err := b.openTemp(unix.O_WRONLY)
	if err != nil {
		return b.storeError(err)
	}
	unix.Close(fd)
	return b.storeError(os.Remove(name))
}

// storeError gives an error of a write into the store its kind: whatever it is,
// another node may do better, and no module and no client is at fault.
func (b *Store) storeError(err error) error {
	var own unix.Errno
	if err = disk.Classify(err); err == nil || pipeline.KindOf(err) == pipeline.Unavailable || !errors.As(err, &own) {
		return err
	}
	return &pipeline.Error{Kind: pipeline.Unavailable, Message: "the blobs of this node cannot be written: " + err.Error(), Err: err}
}
