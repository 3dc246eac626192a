// Package blob is a content-addressed store: bytes under their SHA-256, each blob
// in a file of its own, durable when the call that put it returns and verified
// when it is read.
//
// It knows nothing of what blobs hold or who needs them: its caller fetches
// missing blobs and decides what is deleted.
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// Options say how a store of blobs behaves.
type Options struct {
	// NoSync leaves it to the system when bytes reach the disk: for a client's
	// spool, which is worth nothing after a power cut. Without it a blob is
	// durable when the call that put it returns.
	NoSync bool
	// LowWater is how many bytes stay free: a put that would go below is
	// refused. 0 means 512 MiB or 5 % of the disk, whichever is less; negative
	// means none.
	LowWater int64
	// OnCorrupt is told of each blob whose bytes were bad, after the copy was
	// quarantined. It is called by the caller that read the blob and must not block.
	OnCorrupt func(pipeline.Digest)
}

// Store is a store of blobs: bytes under their digest, each in a file of its
// own. It is safe for concurrent use, by several
// processes too.
type Store struct {
	dir  string
	opts Options

	tmp  tempDir
	next atomic.Uint64

	// mu is held by readers while a file gets its name, by writers while one
	// loses it: what looked good is then not replaced by what was found bad.
	mu sync.RWMutex

	root   dirState
	shards [256]dirState

	broken  atomic.Pointer[error]
	buffers sync.Pool // *[]byte of smallBlob
	codecs  sync.Pool // *bundleEncoder
	// verified tells what Clean need not read again.
	verified cleanBlobs
	arriving partials
	aside    atomic.Int64 // bad copies that were kept

	closeOnce sync.Once

	// Replaced in tests.
	space func(string) (free, total uint64, err error)
	hook  func(point string) error
}

// dirState follows which names of a directory are durable.
type dirState struct {
	made    atomic.Bool
	renamed atomic.Uint64 // names given so far
	mu      sync.Mutex    // one sync at a time: those who wait need none of their own
	synced  atomic.Uint64 // names that are durable
}

const (
	tmpDir     = "tmp"
	corruptDir = "corrupt"
	partialDir = "partial"
	// smallBlob is up to what size a blob is read into memory at once.
	smallBlob = 64 << 10
	// copyChunk is how much of a large blob is in memory.
	copyChunk = 256 << 10
	// spaceEvery is after how many bytes of a large blob the free space is
	// looked at again.
	spaceEvery = 16 << 20
	// maxAside is how many bad copies are kept for a look, and maxAsideBytes how
	// long one may be: a failing disk must not fill itself with them.
	maxAside, maxAsideBytes = 64, 1 << 20
	// maxLowWater bounds the default of Options.LowWater.
	maxLowWater = 512 << 20
)

// Open opens a store, makes it where there is none, and removes what
// processes that died have left half-written in it.
func Open(dir string, opts Options) (*Store, error) {
	b := &Store{dir: dir, opts: opts, space: disk.Space}
	b.buffers.New = func() any { buf := make([]byte, smallBlob+1); return &buf }
	if err := b.makeFolders(); err != nil {
		return nil, fmt.Errorf("open blobs: %w", disk.Classify(err))
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	for _, n := range names {
		if i, ok := shardIndex(n.Name()); ok && n.IsDir() {
			// An earlier life may have died between rename and sync.
			b.shards[i].made.Store(true)
			b.shards[i].renamed.Store(1)
		}
	}
	b.root.renamed.Store(1)
	disk.SpreadDirs(filepath.Join(dir, tmpDir))
	b.cleanTemp()
	b.cleanPartials(time.Now().Add(-partialLife))
	if aside, err := os.ReadDir(filepath.Join(dir, corruptDir)); err == nil {
		b.aside.Store(int64(len(aside)))
	}
	if err := b.makeTemp(); err != nil {
		return nil, fmt.Errorf("open blobs: %w", disk.Classify(err))
	}
	return b, nil
}

// cleanTemp removes the directories of stores that no one has open any more.
func (b *Store) cleanTemp() {
	base := filepath.Join(b.dir, tmpDir)
	names, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, n := range names {
		path := filepath.Join(base, n.Name())
		fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			os.Remove(path)
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(path)
		}
		unix.Close(fd)
	}
}

// Close removes what is half-written. Nothing may be put after it; blobs that
// are open stay readable. It may be called more than once.
func (b *Store) Close() error {
	var err error
	b.closeOnce.Do(func() {
		err = b.tmp.close()
	})
	return err
}

// path is where the file of a blob lies. One level of 256 directories: a second one
// would cost a directory and a sync for nearly every blob of a workspace.
func (b *Store) path(d pipeline.Digest) string {
	return b.dir + "/" + string(d[:2]) + "/" + string(d)
}

// find looks for the file of a blob; unix.ENOENT where there is none.
func (b *Store) find(d pipeline.Digest, st *unix.Stat_t) (path string, err error) {
	path = b.path(d)
	err = disk.RetryEINTR(func() error { return unix.Lstat(path, st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.ENOENT
	}
	return path, err
}

func shardIndex(name string) (int, bool) {
	if len(name) != 2 || strings.ToLower(name) != name {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 16, 8)
	return int(n), err == nil
}

func shardOf(d pipeline.Digest) int { return hexDigit(d[0])<<4 | hexDigit(d[1]) }

func hexDigit(c byte) int {
	if c <= '9' {
		return int(c - '0')
	}
	return int(c-'a') + 10
}

// ValidDigest guards every path that is made of a digest.
func ValidDigest(d pipeline.Digest) error {
	if len(d) == 64 {
		if _, err := pipeline.ParseDigest(string(d)); err == nil {
			return nil
		}
	}
	return pipeline.Errorf(pipeline.Invalid, "digest %.80q: want 64 lower-case hexadecimal digits", string(d))
}

// DigestOf gives the digest of bytes.
func DigestOf(p []byte) pipeline.Digest {
	if len(p) == 0 {
		return pipeline.EmptyDigest
	}
	sum := sha256.Sum256(p)
	return encodeDigest(sum[:])
}

func encodeDigest(sum []byte) pipeline.Digest {
	var text [64]byte
	hex.Encode(text[:], sum)
	return pipeline.Digest(text[:])
}

// present reports whether the blob is here in its whole length, and says by its
// file's time that it is wanted, so that a sweep leaves it alone.
func (b *Store) present(d pipeline.Digest, size int64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var st unix.Stat_t
	path, err := b.find(d, &st)
	if err != nil || size >= 0 && st.Size != size {
		return false
	}
	sec, _ := st.Mtim.Unix()
	now := time.Now()
	if age := now.Unix() - sec; age > 60 || age < -60 {
		b.touch(d, path, now)
	}
	return true
}

// Has reports whether the blob is here. The empty blob always is.
func (b *Store) Has(d pipeline.Digest) bool {
	_, err := b.Size(d)
	return err == nil
}

// Size gives the length of a blob in bytes, or a *MissingError.
func (b *Store) Size(d pipeline.Digest) (int64, error) {
	if d == pipeline.EmptyDigest {
		return 0, nil
	}
	if err := ValidDigest(d); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	_, err := b.find(d, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, &MissingError{Digest: d}
	}
	if err != nil {
		return 0, fmt.Errorf("look for blob %s: %w", d, err)
	}
	return st.Size, nil
}

// missingStep is how many digests one goroutine of Missing looks for.
const missingStep = 1024

// Missing gives those of the digests that are not here, each once, in their
// order. Those that are here count as wanted from now on, see DeleteUnused.
func (b *Store) Missing(digests []pipeline.Digest) []pipeline.Digest {
	// The list of a workspace may have 100,000: a look at each takes 4 us.
	missing := make([]bool, len(digests))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(digests); from += missingStep {
		g.Go(func() error {
			for i := from; i < min(from+missingStep, len(digests)); i++ {
				d := digests[i]
				missing[i] = d != pipeline.EmptyDigest && (ValidDigest(d) != nil || !b.present(d, -1))
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil

	var list []pipeline.Digest
	seen := map[pipeline.Digest]struct{}{}
	for i, d := range digests {
		if _, dup := seen[d]; !missing[i] || dup {
			continue
		}
		seen[d] = struct{}{}
		list = append(list, d)
	}
	return list
}

// Delete removes a blob. One that is not here is no error.
func (b *Store) Delete(d pipeline.Digest) error {
	if err := ValidDigest(d); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deleteLocked(d)
}

// deleteLocked removes all that is there of a blob.
func (b *Store) deleteLocked(d pipeline.Digest) error {
	if err := os.Remove(b.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	os.Remove(b.sumsPath(d)) // small blobs have none
	return nil
}

// DeleteUnused removes a blob unless it was put, or asked for with Missing,
// since the given time. It reports whether it removed it.
func (b *Store) DeleteUnused(d pipeline.Digest, since time.Time) (bool, error) {
	if err := ValidDigest(d); err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Lstat(b.path(d))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(since) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete blob: %w", err)
	}
	return true, b.deleteLocked(d)
}

// FreeBytes gives what may still be written on the store's disk, and its size;
// 0 and 0 where that is unknown.
func (b *Store) FreeBytes() (free, total uint64) {
	free, total, err := b.space(b.dir)
	if err != nil {
		return 0, 0
	}
	return free, total
}

// LowWater is how many bytes must stay free, see Options.
func (b *Store) LowWater() uint64 {
	if b.opts.LowWater != 0 {
		return uint64(max(b.opts.LowWater, 0))
	}
	_, total := b.FreeBytes()
	return min(maxLowWater, total/20)
}

// Admit refuses size more bytes if they would take the disk below its low-water
// mark: a *disk.FullError.
func (b *Store) Admit(size int64) error {
	if err := b.broken.Load(); err != nil {
		return *err
	}
	if b.opts.LowWater < 0 {
		return nil
	}
	free, total, err := b.space(b.dir)
	if err != nil {
		return nil // cannot tell; the write will
	}
	low := uint64(b.opts.LowWater)
	if low == 0 {
		low = min(maxLowWater, total/20)
	}
	if need := low + uint64(max(size, 0)); free < need {
		return &disk.FullError{Reason: fmt.Sprintf("disk low: %d MiB are free for %s, %d MiB must stay free: remove files, or move the data directory to a larger disk",
			free>>20, b.dir, low>>20)}
	}
	return nil
}
