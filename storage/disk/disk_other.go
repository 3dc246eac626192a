//go:build !linux

package disk

import "golang.org/x/sys/unix"

// Fdatasync makes the content of an open file durable.
func Fdatasync(fd int) error {
	return RetryEINTR(func() error { return unix.Fsync(fd) })
}

// SyncFilesystem is not offered by this platform.
func SyncFilesystem(int) (ok bool, err error) { return false, nil }

// NetworkFilesystem is only known on Linux.
func NetworkFilesystem(string) string { return "" }

// LocalFilesystem reports whether path lies on a disk of this machine.
func LocalFilesystem(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && uint64(st.Flags)&unix.MNT_LOCAL != 0
}

// RenameNew renames unless the new name is taken.
func RenameNew(string, string) error { return unix.ENOTSUP }

// SpreadDirs is for ext4.
func SpreadDirs(string) {}

// allocate is for Linux.
func allocate(int, int64) error { return nil }
