package storage

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// KeySize is the length of a cluster key in bytes.
const KeySize = 32

// DefaultKeyFile is where the cluster key lies when nobody says otherwise:
// $XDG_CONFIG_HOME/pipelined/cluster.key; where that is not set, for root
// /etc/pipelined/cluster.key, or below DefaultRoot where /etc cannot be written
// and holds none, and for others ~/.config/pipelined/cluster.key.
func DefaultKeyFile() string {
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
		return filepath.Join(DefaultRoot(), name)
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "pipelined", name)
	}
	return filepath.Join(DefaultRoot(), name)
}

// writable reports whether a directory can be written or, where it does not
// exist yet, made.
func writable(dir string) bool {
	for {
		err := unix.Access(dir, unix.W_OK)
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return err == nil
		}
		dir = filepath.Dir(dir)
	}
}

// NewKey makes a random cluster key.
func NewKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: it ends the process where there is no randomness
	return key
}

// FormatKey gives a key as the one line of text that a key file holds, without
// the newline.
func FormatKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// ParseKey reads the text of a key, from a file or from the environment. Blanks
// around it do not matter. The error never holds the text.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("not a cluster key: want %d bytes in base64, as `pipelined keygen` prints them", KeySize)
	}
	return key, nil
}

// KeyFingerprint names a key without telling it: 16 hexadecimal digits.
func KeyFingerprint(key []byte) string {
	h := sha256.New()
	h.Write([]byte("pipelined cluster key fingerprint\x00"))
	h.Write(key)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// LoadKey reads a cluster key file. One that others may read is refused. Where
// there is none the error is fs.ErrNotExist.
func LoadKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read cluster key %s: not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("read cluster key %s: other users may read or change it (mode %04o): run `chmod 600 %s`, and if somebody may have read it, make a new key with `pipelined keygen`", path, perm, path)
	}
	text := make([]byte, 1024)
	n, err := f.Read(text)
	if err != nil && n == 0 && info.Size() > 0 {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	key, err := ParseKey(string(text[:n]))
	if err != nil {
		return nil, fmt.Errorf("read cluster key %s: %w", path, err)
	}
	return key, nil
}

// LoadOrCreateKey reads a cluster key file, or makes one with a new key. When
// several processes do so at the same moment, one of them makes it and all
// return the same key; created is true in that one only.
func LoadOrCreateKey(path string) (key []byte, created bool, err error) {
	key, err = LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	// A link to nowhere is somebody's wish for another place: say so instead of
	// failing below with "file exists".
	if target, lerr := os.Readlink(path); lerr == nil {
		return nil, false, fmt.Errorf("make cluster key %s: it is a link to %s, where there is no file", path, target)
	}
	created, err = createKey(path, NewKey())
	if err != nil {
		return nil, false, fmt.Errorf("make cluster key %s: %w: name another file with -key-file", path, diskError(err))
	}
	key, err = LoadKey(path)
	return key, created && err == nil, err
}

// createKey writes the key beside its place and links it in: the name appears
// once, with the whole content behind it. created is false if another was first.
func createKey(path string, key []byte) (created bool, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(dir, ".cluster.key.*") // 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(FormatKey(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, err
	}
	if err := linkNew(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		return false, err
	}
	return true, syncDir(dir)
}

// linkNew gives a file a second name unless that is taken. Filesystems without
// hard links rename without replacing.
func linkNew(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return renameNew(from, to)
	}
	return err
}
