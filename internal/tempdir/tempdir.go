package tempdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pipelined/pipelined/storage/layout"
)

// Make makes a temporary directory whose name tells whose it is, after it has
// removed those that processes left behind which were killed. It is locked as
// long as this process lives: to one in another container, with which it shares
// the directory for temporary files but no process numbers, it looks dead.
func Make(base, what string) (string, error) {
	if base == "" {
		base = os.TempDir()
	}

	prefix := "pipelined-" + what + "-"
	found, err := filepath.Glob(filepath.Join(base, prefix+"*"))
	if err != nil {
		return "", err
	}

	for _, dir := range found {
		pid, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		n, err := strconv.Atoi(pid)
		// A number that another process has by now keeps the directory: harmless.
		if ok && err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			removeStale(dir)
		}
	}

	dir, err := os.MkdirTemp(base, fmt.Sprintf("%s%d-*", prefix, os.Getpid()))
	if err != nil {
		return "", err
	}

	// The descriptor stays open to the end of the process, which gives the lock up.
	if fd, err := lockDirectory(dir); err != nil && !errors.Is(err, syscall.ENOTSUP) && !errors.Is(err, syscall.ENOLCK) {
		if fd >= 0 {
			syscall.Close(fd)
		}
		return "", fmt.Errorf("lock %s: %w", dir, err)
	}

	return dir, nil
}

// removeStale removes a directory that no process has locked. Another user's stays.
func removeStale(dir string) {
	fd, err := lockDirectory(dir)
	if fd >= 0 {
		defer syscall.Close(fd)
	}

	// A run that was killed may have left mounts in it.
	if err == nil && layout.UnmountBelow(dir) == nil {
		_ = os.RemoveAll(dir)
	}
}

// lockDirectory opens and locks a directory; fd is -1 where it cannot be opened.
func lockDirectory(dir string) (fd int, err error) {
	fd, err = syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}

	return fd, syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
}
