package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// Blob is an open blob. Read from the start to the end, it verifies the bytes:
// where they are not those of the digest the last read gives no bytes but a
// *CorruptError. ReadAt, and reading after a seek, verify nothing.
//
// ReadAt is safe for concurrent use; the rest is for one goroutine.
type Blob struct {
	store  *Blobs
	f      *os.File // nil for the empty blob
	digest pipeline.Digest
	size   int64
	pos    int64
	sum    hash.Hash
	hashed int64 // so many bytes from the start are in sum
}

var _ interface {
	io.ReadSeekCloser
	io.ReaderAt
} = (*Blob)(nil)

// Open opens a blob for reading. Where it is not here the error is a
// *MissingError. The blob stays readable when it is deleted meanwhile.
func (b *Blobs) Open(d pipeline.Digest) (*Blob, error) {
	if d == pipeline.EmptyDigest {
		return &Blob{store: b, digest: d}, nil
	}
	if err := valid(d); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(b.path(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
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
	return &Blob{store: b, f: f, digest: d, size: info.Size()}, nil
}

// Size is the blob's length in bytes.
func (r *Blob) Size() int64 { return r.size }

// Close closes the file.
func (r *Blob) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// ReadAt reads without verifying.
func (r *Blob) ReadAt(p []byte, off int64) (int, error) {
	if r.f == nil {
		return 0, io.EOF
	}
	return r.f.ReadAt(p, off)
}

// Seek moves to another place.
func (r *Blob) Seek(offset int64, whence int) (int64, error) {
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

// Read reads on, and verifies when it has read everything in turn.
func (r *Blob) Read(p []byte) (int, error) {
	if r.f == nil || r.pos >= r.size {
		if r.f != nil && r.size == 0 {
			return 0, r.corrupt() // only the empty blob has no bytes
		}
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.size-r.pos)], r.pos)
	if n == 0 {
		if err == nil || err == io.EOF { // shorter than when it was opened
			return 0, r.corrupt()
		}
		return 0, fmt.Errorf("read blob %s: %w", r.digest, err)
	}
	if r.pos == r.hashed {
		if r.sum == nil {
			r.sum = sha256.New()
		}
		r.sum.Write(p[:n])
		r.hashed += int64(n)
		if r.hashed == r.size && encodeDigest(r.sum.Sum(nil)) != r.digest {
			return 0, r.corrupt()
		}
	}
	r.pos += int64(n)
	return n, nil
}

func (r *Blob) corrupt() error {
	return r.store.quarantine(r.digest, r.f)
}

// quarantine renames the bad file aside, unless another has taken its place.
func (b *Blobs) quarantine(d pipeline.Digest, bad *os.File) error {
	path := b.path(d)
	err := &CorruptError{Digest: d, Path: path}
	if moved := b.moveAside(d, bad); moved && b.opts.OnCorrupt != nil {
		b.opts.OnCorrupt(d)
	}
	return err
}

func (b *Blobs) moveAside(d pipeline.Digest, bad *os.File) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	badInfo, err := bad.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(b.path(d))
	if err != nil || !os.SameFile(badInfo, now) {
		return false
	}
	aside := filepath.Join(b.dir, corruptDir, string(d)+"."+strconv.FormatUint(b.next.Add(1), 36))
	if os.Rename(b.path(d), aside) == nil {
		return true
	}
	// Where it cannot be kept for a look it must go all the same.
	return os.Remove(b.path(d)) == nil
}

// ReadAll gives the verified bytes of a blob of at most limit bytes. A longer
// one is an error of kind pipeline.TooLarge.
func (b *Blobs) ReadAll(d pipeline.Digest, limit int64) ([]byte, error) {
	r, err := b.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.size > limit {
		return nil, pipeline.Errorf(pipeline.TooLarge, "blob %s has %d bytes, more than the %d wanted here", d, r.size, limit)
	}
	p := make([]byte, r.size)
	if err := r.readWhole(p); err != nil {
		return nil, err
	}
	return p, nil
}

// readWhole fills p, of the blob's size, and verifies it.
func (r *Blob) readWhole(p []byte) error {
	if r.f == nil {
		return nil
	}
	if _, err := r.f.ReadAt(p, 0); err != nil && err != io.EOF {
		return fmt.Errorf("read blob %s: %w", r.digest, err)
	}
	if DigestOf(p) != r.digest {
		return r.corrupt()
	}
	return nil
}

// Verify reads a blob to its end. Where its bytes are bad the error is a
// *CorruptError and the copy has been put aside.
func (b *Blobs) Verify(d pipeline.Digest) error {
	r, err := b.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buf)
	for {
		if _, err := r.Read(*buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
