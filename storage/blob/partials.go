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

// A digest can be invented, so what did not arrive whole is bounded as well: the
// oldest go while there are more than maxPartials, or while they take more than one
// part in partialShare of the disk. What is being written stays.
const (
	maxPartials  = 64
	partialShare = 8
)

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
	t.trimLocked()
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
	t.trimLocked()
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

// clean removes what has arrived of blobs that did not grow since a time.
func (t *partials) clean(since time.Time) {
	for _, p := range t.list() {
		if p.grewAt.Before(since) {
			p.remove() // the next call tries again
		}
	}
}

// trimLocked keeps what did not arrive whole below its bounds. mu is held.
func (t *partials) trimLocked() {
	list := t.list()
	var bytes uint64
	for _, p := range list {
		bytes += p.bytes
	}
	_, total := t.writer.space.bytes()
	slices.SortFunc(list, func(a, b partialFile) int { return a.grewAt.Compare(b.grewAt) })

	n := len(list)
	for _, p := range list {
		if n <= maxPartials && (total == 0 || bytes <= total/partialShare) {
			return
		}
		if p.remove() {
			n, bytes = n-1, bytes-p.bytes
		}
	}
}

// partialFile is what has arrived of one blob.
type partialFile struct {
	path string
	// bytes is what it takes of the disk, which may be less than its length.
	bytes  uint64
	grewAt time.Time
}

// list lists what has arrived of blobs.
func (t *partials) list() []partialFile {
	dir := filepath.Join(t.dir, partialDir)
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}

	var list []partialFile
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".map") {
			continue
		}
		path := filepath.Join(dir, n.Name())
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		list = append(list, partialFile{path: path, bytes: uint64(st.Blocks) * 512, grewAt: time.Unix(st.Mtim.Unix())})
	}
	return list
}

// remove removes the file and its map, unless it is open, here or in another
// process: then it is locked.
func (p *partialFile) remove() bool {
	f, err := os.OpenFile(p.path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	return errors.Join(os.Remove(p.path), os.Remove(p.path+".map")) == nil
}
