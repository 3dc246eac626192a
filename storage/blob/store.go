// Package blob is a content-addressed store: bytes under their SHA-256, each blob
// in a file of its own, durable when the call that put it returns and verified
// when it is read.
//
// It knows nothing of what blobs hold or who needs them: its caller fetches
// missing blobs and decides what is deleted.
//
// A Store has no state itself. Each of its parts owns some: files the lock of
// the names, directories what is durable, tempDir and writer what is being put,
// partials what is being received, quarantine the damaged copies, cleanMemory
// what was verified, usage the times of use, space the free bytes.
package blob

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

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

	// OnCorrupt is called with each blob whose bytes were bad, after the copy
	// was quarantined. It is called by the goroutine that read the blob and must
	// not block.
	OnCorrupt func(pipeline.Digest)
}

// Store is a store of blobs: bytes under their digest, each in a file of its
// own. It is safe for concurrent use, by several processes too.
type Store struct {
	files      *files
	dirs       *directories
	tmp        *tempDir
	space      *space
	clean      *cleanMemory
	usage      *usage
	sums       *checksums
	writer     *writer
	partials   *partials
	quarantine *quarantine

	buffers  *sync.Pool // *[]byte of smallBlob+1
	encoders *encoders

	closeOnce sync.Once
}

const (
	tmpDir     = "tmp"
	corruptDir = "corrupt"
	partialDir = "partial"

	// smallBlob is up to what size a blob is read into memory at once.
	smallBlob = 64 << 10
	// copyChunk is how much of a large blob is in memory.
	copyChunk = 256 << 10
)

// newStore wires the parts of a store. It does no I/O.
func newStore(dir string, opts Options) *Store {
	b := &Store{
		files:    &files{dir: dir},
		dirs:     &directories{dir: dir},
		space:    &space{dir: dir, lowWater: opts.LowWater, measure: disk.Space},
		buffers:  &sync.Pool{New: func() any { buf := make([]byte, smallBlob+1); return &buf }},
		encoders: &encoders{},
	}

	b.tmp = &tempDir{store: dir, dirs: b.dirs}
	b.clean = &cleanMemory{files: b.files}
	b.usage = &usage{files: b.files, dirs: b.dirs, clean: b.clean}
	b.sums = &checksums{files: b.files, tmp: b.tmp}
	b.quarantine = &quarantine{files: b.files, onCorrupt: opts.OnCorrupt}

	b.writer = &writer{
		files: b.files, dirs: b.dirs, tmp: b.tmp, space: b.space, usage: b.usage, sums: b.sums,
		buffers: b.buffers, noSync: opts.NoSync,
	}
	b.partials = &partials{dir: dir, writer: b.writer}
	return b
}

// Open opens a store, creates it if there is none, and removes what processes
// that died have left half-written in it.
func Open(dir string, opts Options) (*Store, error) {
	b := newStore(dir, opts)
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("open blobs: %w", disk.Classify(err))
	}
	if err := b.dirs.load(); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}

	disk.SpreadDirs(filepath.Join(dir, tmpDir))
	cleanTemp(dir)
	b.partials.clean(time.Now().Add(-partialLife))
	b.quarantine.load()

	if err := b.tmp.create(); err != nil {
		return nil, fmt.Errorf("open blobs: %w", disk.Classify(err))
	}
	return b, nil
}

// makeDirs makes the directories of a store.
func makeDirs(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, tmpDir), filepath.Join(dir, corruptDir), filepath.Join(dir, partialDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
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

// Has reports whether the blob is here. The empty blob always is.
func (b *Store) Has(d pipeline.Digest) bool {
	_, err := b.files.size(d)
	return err == nil
}

// Size gives the length of a blob in bytes, or a *MissingError.
func (b *Store) Size(d pipeline.Digest) (int64, error) { return b.files.size(d) }

// Delete removes a blob. One that is not here is no error.
func (b *Store) Delete(d pipeline.Digest) error { return b.files.delete(d) }

// Missing gives those of the digests that are not here, each once, in their
// order. Those that are here count as used now, see DeleteUnused.
func (b *Store) Missing(digests []pipeline.Digest) []pipeline.Digest { return b.usage.missing(digests) }

// DeleteUnused removes a blob unless it was put, or asked for with Missing,
// since the given time. It reports whether it removed it.
func (b *Store) DeleteUnused(d pipeline.Digest, since time.Time) (bool, error) {
	return b.usage.deleteUnused(d, since)
}

// Walk calls f for each blob that has a file, by digest, until f returns an
// error, which it returns. Blobs that come and go meanwhile may be missed.
func (b *Store) Walk(ctx context.Context, f func(Info) error) error { return b.usage.walk(ctx, f) }

// Clean gives those of the digests whose blobs are here with the right bytes.
// Those that are count as used now, see DeleteUnused; those that turn out to be
// bad are quarantined.
func (b *Store) Clean(digests []pipeline.Digest) []pipeline.Digest {
	var clean []pipeline.Digest
	for _, d := range digests {
		if d == pipeline.EmptyDigest || ValidDigest(d) == nil && b.usage.present(d, -1) && b.clean.check(d, b.Verify) {
			clean = append(clean, d)
		}
	}
	return clean
}

// FreeBytes gives what may still be written on the store's disk, and its size;
// 0 and 0 if that is unknown.
func (b *Store) FreeBytes() (free, total uint64) { return b.space.bytes() }

// LowWater is how many bytes must stay free, see Options.
func (b *Store) LowWater() uint64 {
	_, total := b.space.bytes()
	return b.space.low(total)
}

// Admit refuses size more bytes if they would take the disk below its low-water
// mark: a *disk.FullError.
func (b *Store) Admit(size int64) error { return b.writer.admit(size) }

// Probe reports why blobs cannot be written, by the beginning of one. What it
// makes is gone when it returns.
func (b *Store) Probe() error { return b.writer.probe() }

// Put stores all that r gives. Memory is bounded whatever its length. Errors of
// r are returned as they are.
func (b *Store) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	s, err := b.writer.stage(ctx, r, !b.writer.noSync)
	if err != nil {
		return "", 0, err
	}
	if err := b.writer.publish([]staged{s}); err != nil {
		return "", 0, err
	}
	return s.digest, s.size, nil
}

// PutBytes stores p.
func (b *Store) PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error) {
	s, err := b.writer.stageBytes(ctx, p, !b.writer.noSync)
	if err != nil {
		return "", err
	}
	if err := b.writer.publish([]staged{s}); err != nil {
		return "", err
	}
	return s.digest, nil
}

// PutExpect stores all that r gives if its digest is d, else nothing: then the
// error is a *MismatchError.
func (b *Store) PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	s, err := b.writer.stageExpect(ctx, d, r, !b.writer.noSync)
	if err != nil {
		return 0, err
	}
	if err := b.writer.publish([]staged{s}); err != nil {
		return 0, err
	}
	return s.size, nil
}

// NewBatch makes an empty batch. It must end with Commit or Discard.
func (b *Store) NewBatch() *Batch {
	return &Batch{writer: b.writer, seen: map[pipeline.Digest]struct{}{}}
}

// Partial opens what is here of a blob of this size, nothing to begin with. It
// must be closed, or committed. ErrArriving if it is open already; an error of
// kind pipeline.Unavailable if the disk has no space for the rest.
func (b *Store) Partial(d pipeline.Digest, size int64) (*Partial, error) {
	return b.partials.start(d, size)
}

// Arrived gives how many bytes are here, from its start on, of a blob that is
// arriving, and its announced size; 0 and 0 if there is nothing.
func (b *Store) Arrived(d pipeline.Digest) (arrived, size int64) { return b.partials.arrived(d) }

// Arriving reports whether there may be partial blobs at all.
func (b *Store) Arriving() bool { return b.partials.exist() }

// CleanPartials removes partial blobs that did not grow for a day.
func (b *Store) CleanPartials() { b.partials.clean(time.Now().Add(-partialLife)) }
