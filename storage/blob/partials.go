package blob

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// partialLife is how long the bytes of a blob that did not arrive whole are
// kept: their sender may resume.
const partialLife = 24 * time.Hour

// ErrArriving is returned if the same partial blob is open already.
var ErrArriving = pipeline.Errorf(pipeline.Conflict, "the blob is arriving already")

// partials are the blobs that are arriving.
type partials struct {
	dir    string // of the store
	writer *writer

	// mu guards open. It is held while the files of a partial blob are opened and
	// closed, so that one blob has one writer.
	mu   sync.Mutex
	open map[pipeline.Digest]*Partial
}

// start opens a partial blob, see Store.Partial.
func (t *partials) start(d pipeline.Digest, size int64) (*Partial, error) {
	if err := ValidDigest(d); err != nil {
		return nil, err
	}
	if size <= 0 {
		return nil, pipeline.Errorf(pipeline.Invalid, "partial blob of %d bytes", size)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[d] != nil {
		return nil, ErrArriving
	}

	p := &Partial{parent: t, digest: d, size: size, path: t.path(d, size), sum: sha256.New()}
	if err := p.load(); err != nil {
		p.shut()
		return nil, err
	}
	if err := t.writer.admit(int64(p.left) * BlockSize); err != nil {
		p.shut()
		return nil, err
	}

	if t.open == nil {
		t.open = map[pipeline.Digest]*Partial{}
	}
	t.open[d] = p
	return p, nil
}

// close closes a partial blob; another may then open it.
func (t *partials) close(p *Partial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[p.digest] == p {
		delete(t.open, p.digest)
	}
	p.shut()
}

func (t *partials) path(d pipeline.Digest, size int64) string {
	return filepath.Join(t.dir, partialDir, string(d)+"."+strconv.FormatInt(size, 10))
}

// arrived gives how much of a blob is here, see Store.Arrived.
func (t *partials) arrived(d pipeline.Digest) (arrived, size int64) {
	if ValidDigest(d) != nil {
		return 0, 0
	}
	t.mu.Lock()
	p := t.open[d]
	t.mu.Unlock()
	if p != nil {
		return p.Arrived(), p.size
	}

	found, err := filepath.Glob(filepath.Join(t.dir, partialDir, string(d)+".*"))
	if err != nil {
		return 0, 0
	}
	for _, path := range found {
		size, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(path), string(d)+"."), 10, 64)
		if err != nil || size <= 0 {
			continue // its map
		}
		marks, err := os.ReadFile(path + ".map")
		if err != nil {
			continue
		}

		n := slices.IndexFunc(marks, func(c byte) bool { return c != 1 })
		if n < 0 {
			n = len(marks)
		}
		return min(int64(n)*BlockSize, size), size
	}
	return 0, 0
}

// exist reports whether there may be partial blobs at all.
func (t *partials) exist() bool {
	f, err := os.Open(filepath.Join(t.dir, partialDir))
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(1) // an empty directory is an error, too
	return len(names) > 0
}

// clean removes what has arrived of blobs that did not grow since a time. What is
// open, here or in another process, is locked and stays.
func (t *partials) clean(since time.Time) {
	dir := filepath.Join(t.dir, partialDir)
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".map") {
			continue
		}
		info, err := n.Info()
		if err != nil || !info.ModTime().Before(since) {
			continue
		}

		path := filepath.Join(dir, n.Name())
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = errors.Join(os.Remove(path), os.Remove(path+".map"))
		}
		f.Close()
		_ = err // the next call tries again
	}
}
