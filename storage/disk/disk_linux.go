package disk

import "golang.org/x/sys/unix"

// Fdatasync makes the content of an open file durable, and of its metadata
// what is needed to read it back.
func Fdatasync(fd int) error {
	return RetryEINTR(func() error { return unix.Fdatasync(fd) })
}

// SyncFilesystem makes durable whatever the filesystem of fd holds in memory.
// ok is false where the platform has no such call.
func SyncFilesystem(fd int) (ok bool, err error) {
	return true, RetryEINTR(func() error { return unix.Syncfs(fd) })
}

// NetworkFilesystem names the kind of network filesystem that path lies on;
// "" for a local one.
func NetworkFilesystem(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	switch int64(st.Type) & 0xffffffff {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB"
	}
	return ""
}

// LocalFilesystem reports whether path lies on a filesystem that surely sets a
// file's times by this machine's clock. What is not known is none.
func LocalFilesystem(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	switch int64(st.Type) & 0xffffffff {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC,
		zfsMagic, bcachefsMagic:
		return true
	}
	return false
}

// Magic numbers of filesystems that golang.org/x/sys/unix does not name.
const (
	zfsMagic      = 0x2fc12fc1
	bcachefsMagic = 0xca451a4e
)

// RenameNew renames unless the new name is taken (fs.ErrExist).
func RenameNew(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}

// topDir is FS_TOPDIR_FL of linux/fs.h.
const topDir = 0x20000

// SpreadDirs asks the filesystem to place each new directory of dir apart from
// the others. On ext4 files lie near their directory, and to make one costs a look
// at every neighbour that was deleted in the last minutes: where directories come
// and go all the time, making a file takes half a millisecond otherwise.
// Filesystems that know no such thing refuse, which does no harm.
func SpreadDirs(dir string) {
	fd, err := OpenFD(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags|topDir))
	}
}

// allocate makes the filesystem keep space for the first size bytes of a file,
// whose length does not change.
func allocate(fd int, size int64) error {
	err := RetryEINTR(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return err
}
