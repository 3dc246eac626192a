package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// retryEINTR repeats a system call that a signal interrupted.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	fd, err := openFD(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := retryEINTR(func() error { return unix.Fsync(fd) }); err != nil {
		return &fs.PathError{Op: "fsync", Path: path, Err: err}
	}
	return nil
}

// openFD opens a file without the cost of an os.File: no finalizer, no poller.
func openFD(path string, flags int, mode uint32) (int, error) {
	fd := -1
	err := retryEINTR(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// writeFD writes all of p.
func writeFD(fd int, p []byte) error {
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

// diskSpace gives the bytes that this user may still write, and all there are.
func diskSpace(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := retryEINTR(func() error { return unix.Statfs(path, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := uint64(st.Bsize)
	return uint64(st.Bavail) * size, uint64(st.Blocks) * size, nil
}

// diskError gives an error of a write its kind: a full disk is a passing
// condition, everything else stays what it is.
func diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &FullError{Reason: "disk full: " + err.Error(), Err: err}
	}
	return err
}

// writeFileAtomic replaces path by a file with these bytes: a reader sees the
// old ones or the new ones, never a part. With durable it returns only when
// they would survive a power cut.
func writeFileAtomic(path string, data []byte, mode fs.FileMode, durable bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return diskError(err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return diskError(err)
	}
	if durable {
		if err = f.Sync(); err != nil {
			return diskError(err)
		}
	}
	if err = f.Close(); err != nil {
		return diskError(err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return diskError(err)
	}
	if durable {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("make %s durable: %w", path, err)
		}
	}
	return nil
}

// unixStat is what FileInfo.Sys gives on the platforms we know.
type unixStat = syscall.Stat_t
