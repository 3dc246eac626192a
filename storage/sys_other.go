//go:build !linux

package storage

import "golang.org/x/sys/unix"

// fdatasync makes the content of an open file durable.
func fdatasync(fd int) error {
	return retryEINTR(func() error { return unix.Fsync(fd) })
}

// syncFilesystem is not offered by this platform.
func syncFilesystem(int) (ok bool, err error) { return false, nil }

// networkFilesystem is only known on Linux.
func networkFilesystem(string) string { return "" }

// localFilesystem reports whether path lies on a disk of this machine.
func localFilesystem(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && uint64(st.Flags)&unix.MNT_LOCAL != 0
}

// renameNew renames unless the new name is taken.
func renameNew(string, string) error { return unix.ENOTSUP }

// spreadFolders is for ext4.
func spreadFolders(string) {}
