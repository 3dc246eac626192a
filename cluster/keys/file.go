package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFile is how much of a key file is read: more than any key with blanks.
const maxFile = 1024

// DefaultFile is the path of the cluster key if none is configured:
// $XDG_CONFIG_HOME/pipelined/cluster.key if that is set; for root
// /etc/pipelined/cluster.key, or root/cluster.key if /etc cannot be written and
// holds no key; for other users ~/.config/pipelined/cluster.key. root is the
// parent of the data directories.
func DefaultFile(root string) string {
	const name = "cluster.key"

	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pipelined", name)
	}

	if os.Geteuid() == 0 {
		const etc = "/etc/pipelined"
		path := filepath.Join(etc, name)
		if _, err := os.Lstat(path); err == nil || writable(etc) {
			return path
		}
		return filepath.Join(root, name)
	}

	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "pipelined", name)
	}
	return filepath.Join(root, name)
}

// writable reports whether a directory can be written or, if it does not exist,
// created.
func writable(dir string) bool {
	for {
		err := unix.Access(dir, unix.W_OK)
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}

// Generate returns a random cluster key.
func Generate() []byte {
	key := make([]byte, Size)
	rand.Read(key) // never fails: without randomness it ends the process
	return key
}

// Format returns a key as the one line of text that a key file holds, without
// the newline.
func Format(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// Parse reads the text of a key, from a file or from the environment. Blanks
// around it are ignored. The error never contains the text.
func Parse(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != Size {
		return nil, fmt.Errorf("not a cluster key: expected %d bytes in base64, as `pipelined keygen` prints them", Size)
	}
	return key, nil
}

// Load reads a cluster key file. A file that other users may read or replace is refused;
// root always may.
// If there is no file the error is fs.ErrNotExist.
func Load(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cluster key %s: this user (%d) may not read it: choose another file with -key-file, or change its owner", path, os.Geteuid())
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	defer f.Close()

	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("cluster key %s is a directory: name the file in it with -key-file, or remove it with: rmdir %s", path, path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cluster key %s is not a regular file: choose another with -key-file", path)
	}
	if owner := ownerOf(info); owner != 0 && owner != os.Geteuid() {
		return nil, fmt.Errorf("cluster key %s: it belongs to another user (%d), who may read and replace it: "+
			"run `chown %d %s`; if that user is not to have the key, create a new one with `pipelined keygen`", path, owner, os.Geteuid(), path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("cluster key %s: other users may read or change it (mode %04o): "+
			"run `chmod 600 %s`; if another user may have read it, create a new key with `pipelined keygen`", path, perm, path)
	}

	text := make([]byte, maxFile)
	n, err := f.Read(text)
	if err != nil && n == 0 && info.Size() > 0 {
		return nil, fmt.Errorf("read cluster key %s: %w", path, err)
	}
	key, err := Parse(string(text[:n]))
	if err == nil {
		return key, nil
	}
	if strings.TrimSpace(string(text[:n])) == "" {
		err = errors.New("the file is empty")
	}
	return nil, fmt.Errorf("cluster key %s: %w: copy the key there from another node or a backup; for a new cluster replace it with: mv %s %s.old && pipelined keygen -o %s",
		path, err, path, path, path)
}

// ownerOf is the user that a file belongs to.
func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return os.Geteuid()
}

// LoadOrCreate reads a cluster key file, or creates it with a new key. If
// several processes do so at the same moment, one of them creates the file and
// all return the same key; created is true in that one only.
func LoadOrCreate(path string) (key []byte, created bool, err error) {
	key, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}

	// A dangling link was made on purpose, to keep the key elsewhere: report its
	// target instead of failing below with "file exists".
	if target, lerr := os.Readlink(path); lerr == nil {
		return nil, false, fmt.Errorf("create cluster key %s: it is a link to %s, and there is no file", path, target)
	}

	err = Create(path, Generate())
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("create cluster key %s: %w: choose another file with -key-file", path, err)
	}
	created = err == nil

	key, err = Load(path)
	return key, created && err == nil, err
}

// Create writes a key to a new file of mode 0600, durably. The file appears
// once, with its whole content: it is written under a temporary name and then
// linked. An existing file is never replaced; the error is fs.ErrExist then.
func Create(path string, key []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".cluster.key.*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())

	_, err = f.WriteString(Format(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}

	if err := linkNew(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// linkNew gives a file a second name, or fails with fs.ErrExist. Filesystems
// without hard links rename without replacing.
func linkNew(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return renameNew(from, to)
	}
	return err
}

// syncDir makes new names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
