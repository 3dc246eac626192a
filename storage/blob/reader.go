package blob

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// Reader is an open blob. Whatever it gives was verified: it never gives other
// bytes than the blob's, at any offset; if the file has others, the error is a
// *CorruptError.
//
// ReadAt is safe for concurrent use; the rest is for one goroutine.
type Reader struct {
	store  *Store
	f      *os.File // nil for the empty blob
	digest pipeline.Digest
	size   int64
	pos    int64

	once sync.Once
	// Set by once: the whole blob if it is small, else the checksums of its
	// blocks; or why there are none.
	small []byte
	sums  []uint32
	err   error

	// block is what Read has read ahead: the block with the number at.
	block []byte
	at    int
}

var _ interface {
	io.ReadSeekCloser
	io.ReaderAt
} = (*Reader)(nil)

// Open opens a blob for reading. If it is not here the error is a
// *MissingError. The blob stays readable when it is deleted meanwhile.
func (b *Store) Open(d pipeline.Digest) (*Reader, error) {
	if d == pipeline.EmptyDigest {
		return &Reader{store: b, digest: d}, nil
	}
	if err := ValidDigest(d); err != nil {
		return nil, err
	}

	f, err := os.OpenFile(b.files.path(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{Digest: d}
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}

	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return &Reader{store: b, f: f, digest: d, size: info.Size()}, nil
}

// Size is the blob's length in bytes.
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// prepare makes reading possible: it loads a small blob, and finds or makes the
// checksums of another.
func (r *Reader) prepare() error {
	r.once.Do(func() {
		if r.size <= smallBlob {
			r.small = make([]byte, r.size)
			r.err = r.readWhole(r.small)
			return
		}
		if r.sums = r.store.sums.load(r.digest, r.size); r.sums != nil {
			return
		}
		r.err = r.makeSums()
	})
	return r.err
}

// readBlock gives a block, verified, in buf.
func (r *Reader) readBlock(i int, buf []byte) ([]byte, error) {
	off := int64(i) * BlockSize
	p := buf[:min(BlockSize, r.size-off)]

	n, err := r.f.ReadAt(p, off)
	if n < len(p) && err != nil && err != io.EOF {
		return nil, fmt.Errorf("read blob %s: %w", r.digest, err)
	}
	if n == len(p) && crc32.Checksum(p, castagnoli) == r.sums[i] {
		return p, nil
	}
	return nil, r.corrupt()
}

// ReadAt reads and verifies the blocks that it touches.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read blob: negative offset")
	}
	if r.f != nil && r.size == 0 {
		return 0, r.corrupt()
	}

	if r.f == nil || off >= r.size {
		return 0, io.EOF
	}
	if err := r.prepare(); err != nil {
		return 0, err
	}

	if r.small != nil {
		n := copy(p, r.small[off:])
		return n, eofIf(n < len(p))
	}

	var buf []byte
	n := 0
	for n < len(p) && off < r.size {
		i := int(off / BlockSize)
		start := int64(i) * BlockSize
		if whole := min(BlockSize, r.size-start); off == start && int64(len(p)-n) >= whole {
			b, err := r.readBlock(i, p[n:n+int(whole)])
			if err != nil {
				return n, err
			}
			n, off = n+len(b), off+int64(len(b))
			continue
		}

		if buf == nil {
			buf = make([]byte, BlockSize)
		}
		b, err := r.readBlock(i, buf)
		if err != nil {
			return n, err
		}

		k := copy(p[n:], b[off-start:])
		n, off = n+k, off+int64(k)
	}
	return n, eofIf(n < len(p))
}

func eofIf(end bool) error {
	if end {
		return io.EOF
	}
	return nil
}

// Seek moves to another place.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}

	if offset < 0 {
		return 0, errors.New("seek in blob: negative position")
	}
	r.pos = offset
	return offset, nil
}

// Read reads from the position of Seek.
func (r *Reader) Read(p []byte) (int, error) {
	if r.f != nil && r.size == 0 {
		return 0, r.corrupt() // only the empty blob has no bytes
	}
	if r.f == nil || r.pos >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.prepare(); err != nil {
		return 0, err
	}

	if r.small != nil {
		n := copy(p, r.small[r.pos:])
		r.pos += int64(n)
		return n, nil
	}

	i := int(r.pos / BlockSize)
	start := int64(i) * BlockSize
	if whole := min(BlockSize, r.size-start); r.pos == start && int64(len(p)) >= whole {
		b, err := r.readBlock(i, p)
		r.pos += int64(len(b))
		return len(b), err
	}

	if r.block == nil || r.at != i {
		if r.block == nil {
			r.block = make([]byte, 0, BlockSize)
		}
		b, err := r.readBlock(i, r.block[:cap(r.block)])
		if err != nil {
			r.block = nil
			return 0, err
		}
		r.block, r.at = b, i
	}

	n := copy(p, r.block[r.pos-start:])
	r.pos += int64(n)
	return n, nil
}

// corrupt quarantines the copy that is read.
func (r *Reader) corrupt() error {
	return r.store.quarantine.take(r.digest, r.f)
}

// ReadAll gives the verified bytes of a blob of at most limit bytes. A longer
// one is an error of kind pipeline.TooLarge.
func (b *Store) ReadAll(d pipeline.Digest, limit int64) ([]byte, error) {
	r, err := b.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.size > limit {
		return nil, pipeline.Errorf(pipeline.TooLarge, "blob %s has %d bytes, more than the limit of %d", d, r.size, limit)
	}

	p := make([]byte, r.size)
	if err := r.readWhole(p); err != nil {
		return nil, err
	}
	return p, nil
}

// readWhole fills p, of the blob's size, and verifies it.
func (r *Reader) readWhole(p []byte) error {
	if r.f == nil {
		return nil
	}
	n, err := r.f.ReadAt(p, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read blob %s: %w", r.digest, err)
	}

	if n < len(p) || DigestOf(p) != r.digest {
		return r.corrupt()
	}
	return nil
}

// CopyTo writes all bytes to w, verified as a whole at the end: if the error is a
// *CorruptError, w has got bytes that are not the blob's. It does not move the
// position of Read.
func (r *Reader) CopyTo(w io.Writer) error {
	if r.size <= smallBlob {
		buf := r.store.buffers.Get().(*[]byte)
		defer r.store.buffers.Put(buf)
		p := (*buf)[:r.size]
		if err := r.readWhole(p); err != nil {
			return err
		}

		_, err := w.Write(p)
		return err
	}

	sum, buf := sha256.New(), make([]byte, copyChunk)
	for off := int64(0); off < r.size; {
		n, err := r.f.ReadAt(buf[:min(copyChunk, r.size-off)], off)
		if n == 0 && err == io.EOF {
			break // shorter than it was: the digest will differ
		}
		if n == 0 && err != nil {
			return fmt.Errorf("read blob %s: %w", r.digest, err)
		}

		sum.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}

		off += int64(n)
	}

	if encodeDigest(sum.Sum(nil)) != r.digest {
		return r.corrupt()
	}
	return nil
}
