package attemptdir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/result"
)

// memoryDir is where results lie while their modules run: in memory, so that a
// secret in one never reaches a disk. Only tests change it.
var memoryDir = "/dev/shm"

// scriptSuffix ends the name of a script that lies beside the results.
const scriptSuffix = ".script"

// Result is where the module writes its result ($PIPELINED_OUTPUT): on tmpfs in
// a directory that only this user can enter, else in d. The name follows from
// d, so that a daemon that starts again finds it. The module makes the file.
func (d Dir) Result() string {
	if path, ok := inMemory(d.memoryName()); ok {
		return path
	}
	return d.diskResult()
}

func (d Dir) diskResult() string { return string(d) + "/result" }

func (d Dir) memoryName() string {
	sum := sha256.Sum256([]byte(d))
	return hex.EncodeToString(sum[:16])
}

// hiddenScript is where a script lies in memory; ok is false if this machine has
// no place for it.
func (d Dir) hiddenScript() (path string, ok bool) { return inMemory(d.memoryName() + scriptSuffix) }

// inMemory is where a file of this user lies on tmpfs, or is to be made if it is
// in none of the directories that are this user's.
func inMemory(name string) (path string, ok bool) {
	dirs := userDirs()
	for _, dir := range dirs {
		if _, err := os.Lstat(dir + "/" + name); err == nil {
			return dir + "/" + name, true
		}
	}
	if len(dirs) == 0 {
		return "", false
	}
	return dirs[0] + "/" + name, true
}

// found keeps what userDirs found, since a search reads all of memoryDir.
var found struct {
	sync.Mutex
	dirs []string
}

// userDirs gives this user's directories on tmpfs, and makes one if there is none.
// It searches if it has not yet, or if what it found is gone. It is safe for
// concurrent use.
func userDirs() []string {
	found.Lock()
	defer found.Unlock()
	dirs := make([]string, 0, 1)
	for _, dir := range found.dirs {
		if filepath.Dir(dir) == memoryDir && isOwn(dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		dirs = searchDirs()
	}
	found.dirs = dirs
	return dirs
}

// searchDirs finds the directories. Every user may make names in memoryDir, so the
// plain name may be another user's: then the directory has a random ending. It is
// found by its owner, since the plain name may come free while a module writes
// there.
func searchDirs() []string {
	plain := memoryDir + "/pipelined-" + strconv.Itoa(os.Geteuid())
	_ = syscall.Mkdir(plain, 0o700) // mostly it is there

	var dirs []string
	if isOwn(plain) {
		dirs = append(dirs, plain)
	}
	others, _ := filepath.Glob(plain + ".*") // fails for a wrong pattern only
	for _, dir := range others {
		if isOwn(dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) > 0 {
		return dirs
	}

	dir, err := os.MkdirTemp(memoryDir, filepath.Base(plain)+".*")
	if err != nil {
		return nil
	}
	return []string{dir}
}

// isOwn reports whether a directory belongs to this user and no other can enter it.
func isOwn(dir string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(dir, &st) == nil &&
		st.Mode&syscall.S_IFMT == syscall.S_IFDIR && st.Mode&0o077 == 0 && int(st.Uid) == os.Geteuid()
}

// ReadResult reads the result that the module left; nil means none. The file stays
// until the directory is removed. Errors are those of result.Parse and
// executor.ReadResult; they are meant for the module's author.
func (d Dir) ReadResult() (json.RawMessage, error) {
	path := d.Result()
	data, err := executor.ReadResult(path)

	// The module may have begun while there was no directory on tmpfs.
	if errors.Is(err, fs.ErrNotExist) && path != d.diskResult() {
		data, err = executor.ReadResult(d.diskResult())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	return result.Parse(data)
}

// RemoveFromMemory deletes the result and a script beside it. Remove does it too;
// it is for directories that are kept.
func (d Dir) RemoveFromMemory() {
	for _, dir := range userDirs() {
		path := dir + "/" + d.memoryName()
		_ = unlink(path + scriptSuffix) // mostly there is none
		if err := unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = os.RemoveAll(path) // the module made a directory of it
		}
	}
}
