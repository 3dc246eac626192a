package blob

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// Partial is a large blob that is still arriving. Its bytes may come in any
// order, in blocks of 256 KiB, from several sources and over several lives of
// the process: what has come whole is kept until the blob is whole, or for a
// day. Its methods are safe for concurrent use, each block with one writer.
//
// Which blocks are here is in a second file, a byte for each, written after the
// block. Neither is synced before Commit: after a power cut what is here may be
// wrong, and Commit finds out.
type Partial struct {
	parent *partials
	digest pipeline.Digest
	size   int64
	path   string
	f, m   *os.File

	mu sync.Mutex // guards following
	// have marks blocks that are here, taken those that are reserved by a Claim.
	have, taken []bool
	left        int

	// The blocks before next are in sum and sums.
	sumMu sync.Mutex
	sum   hash.Hash
	sums  blockSums
	next  int
}

// load opens the files and finds which blocks are here.
func (p *Partial) load() (err error) {
	const flags = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW
	if p.f, err = os.OpenFile(p.path, flags, 0o600); errors.Is(err, fs.ErrNotExist) && makeDirs(p.parent.dir) == nil { // removed by hand
		p.f, err = os.OpenFile(p.path, flags, 0o600)
	}
	if err != nil {
		return fmt.Errorf("open partial blob: %w", storeError(err))
	}

	// Another process, a client's or an old daemon's, may be at it.
	if err := unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return ErrArriving
	}
	if p.m, err = os.OpenFile(p.path+".map", flags, 0o600); err != nil {
		return fmt.Errorf("open partial blob: %w", storeError(err))
	}

	n := blocks(p.size)
	p.have, p.taken, p.left = make([]bool, n), make([]bool, n), n
	marks := make([]byte, n)
	k, err := p.m.ReadAt(marks, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read partial blob: %w", err)
	}

	info, err := p.f.Stat()
	if err != nil {
		return fmt.Errorf("read partial blob: %w", err)
	}

	for i, c := range marks[:k] {
		if c == 1 && info.Size() >= min(int64(i+1)*BlockSize, p.size) {
			p.have[i] = true
			p.left--
		}
	}

	now := time.Now()
	return os.Chtimes(p.path, now, now)
}

// Size is the whole blob's, in bytes.
func (p *Partial) Size() int64 { return p.size }

// Arrived is how many bytes are here from the start on without a gap.
func (p *Partial) Arrived() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	i := slices.Index(p.have, false)
	if i < 0 {
		return p.size
	}
	return int64(i) * BlockSize
}

// Bytes is how many bytes are here in all.
func (p *Partial) Bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	n := int64(len(p.have)-p.left) * BlockSize
	if last := len(p.have) - 1; p.have[last] {
		n -= int64(len(p.have))*BlockSize - p.size
	}
	return n
}

// Complete reports whether every byte is here; Commit checks that they are the
// right ones.
func (p *Partial) Complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left == 0
}

// Claim reserves a range of missing bytes, at most max long, for the caller to
// fill; from == to if all that is missing is reserved. Release ends the
// reservation, whether or not the bytes came.
func (p *Partial) Claim(max int64) (from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()

	first := -1
	for i := range p.have {
		free := !p.have[i] && !p.taken[i]
		if first < 0 && !free {
			continue
		}
		if first >= 0 && (!free || int64(i-first+1)*BlockSize > max) {
			return int64(first) * BlockSize, int64(i) * BlockSize
		}
		if first < 0 {
			first = i
		}
		p.taken[i] = true
	}

	if first < 0 {
		return 0, 0
	}
	return int64(first) * BlockSize, p.size
}

// Release ends a claim.
func (p *Partial) Release(from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := from / BlockSize; i < int64(blocks(to)); i++ {
		p.taken[i] = false
	}
}

// Fill writes what r gives to the range from..to; from must be the start of a
// block. It returns how far it came: another source may resume there. Whole blocks
// are kept whatever happens next.
func (p *Partial) Fill(ctx context.Context, from, to int64, r io.Reader) (int64, error) {
	if from%BlockSize != 0 || to > p.size {
		return from, pipeline.Errorf(pipeline.Invalid, "bytes %d to %d of a blob of %d: they must begin with a block of %d", from, to, p.size, BlockSize)
	}

	buf := make([]byte, BlockSize)
	unchecked := 0
	for from < to {
		if err := ctx.Err(); err != nil {
			return from, context.Cause(ctx)
		}

		piece := buf[:min(BlockSize, to-from)]
		n, err := readUpTo(r, piece)
		if n < len(piece) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return from, err
		}

		if _, err := p.f.WriteAt(piece, from); err != nil {
			return from, fmt.Errorf("write partial blob: %w", storeError(err))
		}
		if err := p.mark(int(from / BlockSize)); err != nil {
			return from, err
		}

		from += int64(len(piece))
		if unchecked += len(piece); unchecked >= spaceEvery {
			unchecked = 0
			if err := p.parent.writer.admit(0); err != nil {
				return from, err
			}
		}
	}
	return from, nil
}

// mark records that a block is here. The mark is written after the block, never
// before: what is marked is used without another look.
func (p *Partial) mark(i int) error {
	if _, err := p.m.WriteAt([]byte{1}, int64(i)); err != nil {
		return fmt.Errorf("write partial blob: %w", storeError(err))
	}

	p.mu.Lock()
	if !p.have[i] {
		p.have[i] = true
		p.left--
	}
	p.mu.Unlock()

	// Sum up while the bytes are in memory; one at a time is enough.
	if p.sumMu.TryLock() {
		defer p.sumMu.Unlock()
		return p.sumUp(4)
	}
	return nil
}

// sumUp takes what is here without a gap into the sums, at most so many blocks.
// sumMu is held.
func (p *Partial) sumUp(most int) error {
	var buf []byte
	for ; most > 0; most-- {
		p.mu.Lock()
		ready := p.next < len(p.have) && p.have[p.next]
		p.mu.Unlock()
		if !ready {
			return nil
		}

		if buf == nil {
			buf = make([]byte, BlockSize)
		}
		off := int64(p.next) * BlockSize
		piece := buf[:min(BlockSize, p.size-off)]
		if _, err := p.f.ReadAt(piece, off); err != nil {
			return fmt.Errorf("read partial blob: %w", err)
		}

		p.sum.Write(piece)
		p.sums.write(piece)
		p.next++
	}
	return nil
}

// Commit makes the blob of what has arrived: durable, and visible. If the bytes
// are not those of the digest all of them are removed, and the error is a
// *MismatchError. The partial blob is closed in any case.
func (p *Partial) Commit(ctx context.Context) error {
	defer p.Close()
	if !p.Complete() {
		return pipeline.Errorf(pipeline.Conflict, "blob %s: %d of %d bytes have arrived", p.digest, p.Arrived(), p.size)
	}

	p.sumMu.Lock()
	defer p.sumMu.Unlock()
	for p.next < len(p.have) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := p.sumUp(64); err != nil {
			return err
		}
	}

	if got := encodeDigest(p.sum.Sum(nil)); got != p.digest {
		p.Discard()
		return &MismatchError{Want: p.digest, Got: got}
	}

	err := p.f.Chmod(0o400)
	if err == nil && !p.parent.writer.noSync {
		err = disk.Fdatasync(int(p.f.Fd()))
	}
	if err != nil {
		return fmt.Errorf("put blob: %w", storeError(err))
	}

	// The file leaves the partial blobs first: a committed blob must not be
	// removed by what cleans these up.
	s := staged{digest: p.digest, size: p.size, tmp: p.parent.writer.tmp.name(), sums: p.sums.done()}
	if err := os.Rename(p.path, s.tmp); err != nil {
		return fmt.Errorf("put blob: %w", storeError(err))
	}
	os.Remove(p.path + ".map")
	return p.parent.writer.publish([]staged{s})
}

// Discard removes what has arrived, and closes.
func (p *Partial) Discard() {
	os.Remove(p.path)
	os.Remove(p.path + ".map")
	p.Close()
}

// Close keeps what has arrived, for the next Partial of this blob. It may be
// called more than once.
func (p *Partial) Close() {
	p.parent.close(p)
}

// shut closes the files. Goroutines that still write get an error.
func (p *Partial) shut() {
	if p.f != nil {
		p.f.Close()
	}
	if p.m != nil {
		p.m.Close()
	}
}
