package storage

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// cleanAge is for how long a blob that was verified, and whose file has not
// changed since, is taken for clean without another look at its bytes.
const cleanAge = time.Hour

// maxClean bounds how many blobs are remembered.
const maxClean = 1 << 17

// cleanBlobs remembers which files were verified. A file is told by its inode,
// its size and the times of its last changes: the kernel sets the last of them
// on every write, whatever the writer sets.
type cleanBlobs struct {
	mu sync.Mutex
	// guards following
	seen map[pipeline.Digest]verified
}

type verified struct {
	ino        uint64
	size       int64
	mtim, ctim int64
	at         time.Time
}

func (c *cleanBlobs) get(d pipeline.Digest) verified {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[d]
}

func (c *cleanBlobs) put(d pipeline.Digest, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxClean {
		c.seen = map[pipeline.Digest]verified{}
	}
	c.seen[d] = v
}

// Clean gives those of the digests whose blobs are here with the right bytes.
// What was verified lately and has not changed is not read again. Those that
// are clean count as wanted from now on, see DeleteUnused; those that turn out
// to be bad are put aside.
func (b *Blobs) Clean(digests []pipeline.Digest) []pipeline.Digest {
	var clean []pipeline.Digest
	for _, d := range digests {
		if d == pipeline.EmptyDigest || b.clean(d) {
			clean = append(clean, d)
		}
	}
	return clean
}

func (b *Blobs) clean(d pipeline.Digest) bool {
	if valid(d) != nil {
		return false
	}
	for range 3 {
		if !b.present(d, -1) {
			return false
		}
		now, ok := b.identity(d)
		if !ok {
			return false
		}
		if was := b.verified.get(d); was.same(now) && time.Since(was.at) < cleanAge {
			return true
		}
		if b.Verify(d) != nil {
			return false
		}
		if after, ok := b.identity(d); ok && after.same(now) {
			now.at = time.Now()
			b.verified.put(d, now)
			return true
		} // else replaced or written to while it was read
	}
	return false
}

func (v verified) same(o verified) bool {
	return v.ino == o.ino && v.size == o.size && v.mtim == o.mtim && v.ctim == o.ctim
}

// identity tells the file of a blob from what it was before.
func (b *Blobs) identity(d pipeline.Digest) (verified, bool) {
	var st unix.Stat_t
	if _, err := b.find(d, &st); err != nil {
		return verified{}, false
	}
	return verified{ino: st.Ino, size: st.Size, mtim: st.Mtim.Nano(), ctim: st.Ctim.Nano()}, true
}

// unchanged reports whether a blob that is open was verified lately and has not
// changed since.
func (b *Blobs) unchanged(r *Blob) bool {
	now, ok := r.identity()
	was := b.verified.get(r.digest)
	return ok && was.same(now) && time.Since(was.at) < cleanAge
}

// identity is that of the file that is open, whatever has its name by now.
func (r *Blob) identity() (verified, bool) {
	var st unix.Stat_t
	if r.f == nil || unix.Fstat(int(r.f.Fd()), &st) != nil {
		return verified{}, false
	}
	return verified{ino: st.Ino, size: st.Size, mtim: st.Mtim.Nano(), ctim: st.Ctim.Nano()}, true
}

// touch sets a file's time to now, and keeps what is known of its bytes.
func (b *Blobs) touch(d pipeline.Digest, set func() error) {
	was := b.verified.get(d)
	if was.at.IsZero() {
		_ = set() // nothing is known that could be lost
		return
	}
	before, ok := b.identity(d)
	if set() != nil || !ok || !was.same(before) {
		return
	}
	if after, ok := b.identity(d); ok && after.ino == before.ino && after.size == before.size {
		after.at = was.at
		b.verified.put(d, after)
	}
}
