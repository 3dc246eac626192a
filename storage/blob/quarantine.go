package blob

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/pipelined/pipelined/pipeline"
)

// maxQuarantined is how many damaged copies are kept for inspection, and
// maxQuarantinedBytes how long one may be: a failing disk must not fill itself
// with them.
const maxQuarantined, maxQuarantinedBytes = 64, 1 << 20

// quarantine takes damaged copies out of the store.
type quarantine struct {
	files     *files
	onCorrupt func(pipeline.Digest) // see Options

	// kept counts the copies that were ever kept; it also makes their names
	// differ.
	kept atomic.Int64
}

// load counts what earlier processes have kept.
func (q *quarantine) load() {
	if kept, err := os.ReadDir(filepath.Join(q.files.dir, corruptDir)); err == nil {
		q.kept.Store(int64(len(kept)))
	}
}

// take quarantines the damaged copy that was opened as bad, and gives the error
// for its reader.
func (q *quarantine) take(d pipeline.Digest, bad *os.File) error {
	path := q.files.path(d)
	if moved := q.move(path, bad); moved && q.onCorrupt != nil {
		q.onCorrupt(d)
	}
	return &CorruptError{Digest: d, Path: path}
}

// move renames or removes the damaged file, unless another has got its name. The
// lock keeps a good copy from getting the name between the look and the rename.
func (q *quarantine) move(path string, bad *os.File) bool {
	q.files.mu.Lock()
	defer q.files.mu.Unlock()

	badInfo, err := bad.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(path)
	if err != nil || !os.SameFile(badInfo, now) {
		return false
	}

	if badInfo.Size() > maxQuarantinedBytes {
		return os.Remove(path) == nil
	}
	n := q.kept.Add(1)
	if n > maxQuarantined {
		return os.Remove(path) == nil
	}
	if os.Rename(path, filepath.Join(q.files.dir, corruptDir, filepath.Base(path)+"."+strconv.FormatInt(n, 36))) == nil {
		return true
	}
	// If it cannot be kept it must be removed all the same.
	return os.Remove(path) == nil
}
