package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// files are the files of the blobs, and the lock on their names.
type files struct {
	dir string

	// mu is held by readers while a file gets its name, by writers while one
	// loses it: what looked good is then not replaced by what was found bad.
	mu sync.RWMutex
}

// path is where the file of a blob lies. One level of 256 directories: a second one
// would cost a directory and a sync for nearly every blob of a workspace.
func (f *files) path(d pipeline.Digest) string {
	return f.dir + "/" + string(d[:2]) + "/" + string(d)
}

// sumsPath is where the checksums of a blob lie.
func (f *files) sumsPath(d pipeline.Digest) string { return f.path(d) + sumsSuffix }

// find looks for the file of a blob; unix.ENOENT if there is none.
func (f *files) find(d pipeline.Digest, st *unix.Stat_t) (path string, err error) {
	path = f.path(d)
	err = disk.RetryEINTR(func() error { return unix.Lstat(path, st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ENOENT
	}
	return path, err
}

// size gives the length of a blob, or a *MissingError.
func (f *files) size(d pipeline.Digest) (int64, error) {
	if d == pipeline.EmptyDigest {
		return 0, nil
	}
	if err := ValidDigest(d); err != nil {
		return 0, err
	}

	var st unix.Stat_t
	_, err := f.find(d, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, &MissingError{Digest: d}
	}
	if err != nil {
		return 0, fmt.Errorf("look for blob %s: %w", d, err)
	}
	return st.Size, nil
}

// name renames a temporary file to the file of a blob.
func (f *files) name(tmp string, d pipeline.Digest) error {
	return disk.RetryEINTR(func() error { return unix.Rename(tmp, f.path(d)) })
}

func (f *files) delete(d pipeline.Digest) error {
	if err := ValidDigest(d); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deleteLocked(d)
}

// deleteLocked removes the file of a blob and its checksums.
func (f *files) deleteLocked(d pipeline.Digest) error {
	if err := os.Remove(f.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	os.Remove(f.sumsPath(d)) // small blobs have none
	return nil
}
