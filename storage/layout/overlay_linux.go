package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/disk"
)

// overlayOptions are tried in turn. redirect_dir lets a directory of the lower layer
// be renamed, which programs expect to work. volatile spares the disk what
// no one needs after a crash: an attempt does not survive one.
var overlayOptions = []string{
	"redirect_dir=on,index=off,metacopy=off,volatile",
	"redirect_dir=on,index=off,metacopy=off",
}

// overlayMount is a mount to be: directories that exist, on one filesystem.
type overlayMount struct {
	lower, upper, work, at string
	options                string
}

// mount puts the lower layer, and what upper holds over it, at a directory.
func (m *overlayMount) mount() error {
	// A volatile layer that was not unmounted must not be used again, since the
	// machine may have crashed; the kernel marks it so. It did not: then no one
	// would know of this layer any more.
	if err := os.RemoveAll(filepath.Join(m.work, "work", "incompat")); err != nil {
		return err
	}
	options := "lowerdir=" + m.lower + ",upperdir=" + m.upper + ",workdir=" + m.work + "," + m.options
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("the path of the data directory is too long for mount options")
	}
	err := disk.RetryEINTR(func() error { return unix.Mount("overlay", m.at, "overlay", inheritedFlags(m.upper), options) })
	if err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return nil
}

// inheritedFlags are those of the filesystem that a path lies on: what may not
// be done there may not be done in a mount of it either.
func inheritedFlags(path string) uintptr {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	var flags uintptr
	for _, f := range []struct{ st, ms uintptr }{{unix.ST_NOSUID, unix.MS_NOSUID}, {unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_NODIRATIME, unix.MS_NODIRATIME}} {
		if uintptr(st.Flags)&f.st != 0 {
			flags |= f.ms
		}
	}
	return flags
}

// unmountAll takes away every mount at a directory. One that is still in use goes
// when its last user does.
func unmountAll(at string) error {
	for {
		err := disk.RetryEINTR(func() error { return unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // not mounted, or not there
			return nil
		case err != nil && !isOverlay(at):
			return nil // not ours to unmount, and none of ours
		case err != nil:
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
}

// isOverlay reports whether an overlay is mounted at a directory.
func isOverlay(at string) bool {
	var st, up unix.Stat_t
	var fs unix.Statfs_t
	if unix.Statfs(at, &fs) != nil || int64(fs.Type)&0xffffffff != unix.OVERLAYFS_SUPER_MAGIC {
		return false
	}
	return unix.Lstat(at, &st) == nil && unix.Lstat(filepath.Dir(at), &up) == nil && st.Dev != up.Dev
}

// mountsBelow lists what is mounted below a directory, the deepest first.
func mountsBelow(dir string) []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if at := unescapeMount(fields[4]); strings.HasPrefix(at, dir+"/") {
			list = append([]string{at}, list...)
		}
	}
	return list
}

// unescapeMount reads a path of mountinfo, in which blanks are octal numbers.
func unescapeMount(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// UnmountBelow takes away every mount below a directory, so that it can be removed.
func UnmountBelow(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // not there
	}
	var errs []error
	for _, at := range mountsBelow(real) {
		errs = append(errs, unmountAll(at))
	}
	return errors.Join(errs...)
}

// probeOverlay tries an overlay in a directory and gives the options that work, or
// why none does.
func probeOverlay(dir string) (options string, err error) {
	if strings.ContainsAny(dir, ",:\\\"") {
		return "", fmt.Errorf("the path of the data directory holds a character that mount options cannot")
	}
	base, err := os.MkdirTemp(dir, "probe-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(base)
	for _, options := range overlayOptions {
		if err = tryOverlay(base, options); err == nil {
			return options, nil
		}
	}
	return "", err
}

// tryOverlay mounts one and does in it what modules do.
func tryOverlay(base, options string) (err error) {
	m := &overlayMount{lower: base + "/lower", upper: base + "/upper", work: base + "/work", at: base + "/at", options: options}
	defer func() {
		err = errors.Join(err, unmountAll(m.at))
		for _, dir := range []string{m.lower, m.upper, m.work, m.at} {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, dir := range []string{m.lower + "/directory/sub", m.upper, m.work, m.at} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(m.lower+"/directory/sub/file", []byte("lower"), 0o644); err != nil {
		return err
	}
	if err := m.mount(); err != nil {
		return err
	}
	file := m.at + "/renamed/sub/file"
	err = errors.Join(os.Rename(m.at+"/directory", m.at+"/renamed"), os.Chmod(file, 0o600), os.Link(file, m.at+"/linked"),
		os.WriteFile(file, []byte("upper"), 0o600), os.Remove(m.at+"/renamed/sub/file"), os.Symlink("linked", m.at+"/symlink"))
	if err != nil {
		return fmt.Errorf("an overlay here does less than a directory: %w", err)
	}
	if text, err := os.ReadFile(m.at + "/symlink"); err != nil || string(text) != "upper" {
		return fmt.Errorf("an overlay here loses what is written: %q, %w", text, err)
	}
	if text, err := os.ReadFile(m.lower + "/directory/sub/file"); err != nil || string(text) != "lower" {
		return fmt.Errorf("an overlay here does not keep its lower layer: %q, %w", text, err)
	}
	return nil
}

// bootID names the time since the machine was started; "" where it is not known.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
