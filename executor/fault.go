package executor

import (
	"errors"
	"syscall"
)

// IsMachineFault reports whether an error of the system says something about the
// machine (no descriptors, processes, memory or space, a broken disk, an operation
// that is not permitted), and not about the file or the program that was named:
// the same may succeed on another machine, or later.
func IsMachineFault(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}

	switch errno {
	case syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.E2BIG, syscall.EINVAL, syscall.ENOTDIR, syscall.EISDIR,
		syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EEXIST:
		return false
	}
	return true
}

// IsExhausted reports whether the machine has no descriptors, processes or memory
// left: the same may succeed a moment later.
func IsExhausted(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}

	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN:
		return true
	}
	return false
}
