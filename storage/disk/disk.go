// Package disk holds the low-level calls on files that the rest of storage is
// made of: atomic and durable writes, free space, kinds of filesystems, and the
// removal of directories that modules wrote into.
//
// It knows nothing of blobs or data directories. All functions may be called
// concurrently.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// RetryEINTR repeats a system call that a signal interrupted.
func RetryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	fd, err := OpenFD(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := RetryEINTR(func() error { return unix.Fsync(fd) }); err != nil {
		return &fs.PathError{Op: "fsync", Path: path, Err: err}
	}
	return nil
}

// OpenFD opens a file without the cost of an os.File: no finalizer, no poller.
func OpenFD(path string, flags int, mode uint32) (int, error) {
	fd := -1
	err := RetryEINTR(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// WriteFD writes all of p.
func WriteFD(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Space gives the bytes that this user may still write, and all there are.
func Space(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := RetryEINTR(func() error { return unix.Statfs(path, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, uint64(st.Blocks) * size, nil
}

// maxReserve bounds what Reserve keeps for one file.
const maxReserve = 16 << 20

// Reserve allocates space for a file that grows: all of its present length, and
// more behind it, so that writes succeed for a while after the disk is full. What
// is reserved is the file's alone. It is 16 MiB, or a 32nd of the disk if that is
// less. A filesystem that cannot do that is no error, nor is a file that does not
// exist.
func Reserve(path string) error {
	_, total, err := Space(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}

	more := int64(min(maxReserve, total/32))
	want := info.Size() + more
	if st, ok := info.Sys().(*Stat); ok && st.Blocks*512 >= want-more/4 {
		return nil // most of it is still there
	}
	return Classify(allocate(int(f.Fd()), want))
}

// Classify gives an error of a write its kind: a full disk is a *FullError, a
// condition that passes. Everything else, nil too, stays what it is.
func Classify(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &FullError{Reason: "disk full: " + err.Error(), Err: err}
	}
	return err
}

// WriteFile replaces path by a file with these bytes: a reader sees the old ones
// or the new ones, never a part. If durable is set they survive a power cut when
// it returns.
func WriteFile(path string, data []byte, mode fs.FileMode, durable bool) error {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(mode), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return Classify(err)
	}
	defer f.Cleanup() // does nothing after the rename

	if _, err := f.Write(data); err != nil {
		return Classify(err)
	}
	if !durable {
		// CloseAtomicallyReplace would flush the file.
		return Classify(os.Rename(f.Name(), path))
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return Classify(err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make %s durable: %w", path, err)
	}
	return nil
}

// Stat is what FileInfo.Sys gives on the platforms we know.
type Stat = syscall.Stat_t
