package attemptdir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/result"
)

// memoryDir is where results lie while their modules run: in memory, so that a
// secret in one never reaches a disk.
const memoryDir = "/dev/shm"

// scriptSuffix ends the name of a script that lies beside the results.
const scriptSuffix = ".script"

// Result is where the module writes its result ($PIPELINED_OUTPUT): on tmpfs in
// a directory that only this user can enter, else in d. The name follows from
// d, so that a daemon that starts again finds it. The module makes the file.
func (d Dir) Result() string {
	if dir, ok := userDir(); ok {
		return dir + "/" + d.memoryName()
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
func (d Dir) hiddenScript() (path string, ok bool) {
	dir, ok := userDir()
	return dir + "/" + d.memoryName() + scriptSuffix, ok
}

// userDir makes this user's directory on tmpfs. One that others can enter is not
// used: everybody may make names in /dev/shm.
func userDir() (string, bool) {
	uid := os.Geteuid()
	dir := memoryDir + "/pipelined-" + strconv.Itoa(uid)

	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		if syscall.Mkdir(dir, 0o700) != nil || syscall.Lstat(dir, &st) != nil {
			return "", false
		}
	}

	own := st.Mode&syscall.S_IFMT == syscall.S_IFDIR && st.Mode&0o077 == 0 && int(st.Uid) == uid
	return dir, own
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
	script, ok := d.hiddenScript()
	if !ok {
		return
	}
	_ = unlink(script) // mostly there is none

	path := d.Result()
	if err := unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(path) // the module made a directory of it
	}
}
