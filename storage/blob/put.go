package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// Putter takes bytes and gives their digest. A *Store has stored them when the
// call returns, a *Batch stores them when it is committed.
type Putter interface {
	// Put stores all that r gives, and gives its digest and length.
	Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error)

	// PutBytes stores p, which it does not keep.
	PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error)
}

var (
	_ Putter = (*Store)(nil)
	_ Putter = (*Batch)(nil)
)

// staged is a blob that is written but has not got its name yet.
type staged struct {
	digest pipeline.Digest
	size   int64
	tmp    string // "" if the blob was here already
	sums   []uint32
}

// writer stages blobs in temporary files, and gives them their names.
type writer struct {
	files *files
	dirs  *directories
	tmp   *tempDir
	space *space
	usage *usage
	sums  *checksums

	buffers *sync.Pool // *[]byte of smallBlob+1
	noSync  bool

	// hook is set in tests, see at.
	hook func(point string) error
}

// admit refuses size more bytes if the store has failed or the disk is low.
func (w *writer) admit(size int64) error {
	if err := w.dirs.failed(); err != nil {
		return err
	}
	return w.space.admit(size)
}

// probe begins a blob.
func (w *writer) probe() error {
	if err := w.dirs.failed(); err != nil {
		return err
	}
	fd, name, err := w.tmp.open()
	if err != nil {
		return storeError(err)
	}

	unix.Close(fd)
	return storeError(os.Remove(name))
}

// stageExpect stages what r gives if its digest is d.
func (w *writer) stageExpect(ctx context.Context, d pipeline.Digest, r io.Reader, sync bool) (staged, error) {
	if err := ValidDigest(d); err != nil {
		return staged{}, err
	}
	s, err := w.stage(ctx, r, sync)
	if err != nil {
		return staged{}, err
	}

	if s.digest != d {
		s.discard()
		return staged{}, &MismatchError{Want: d, Got: s.digest}
	}
	return s, nil
}

// stage writes what r gives to a temporary file, unless it is here already.
func (w *writer) stage(ctx context.Context, r io.Reader, sync bool) (staged, error) {
	buf := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buf)

	n, err := readUpTo(r, *buf)
	if err == io.EOF {
		return w.stageBytes(ctx, (*buf)[:n], sync)
	}
	if err != nil {
		return staged{}, err
	}
	return w.stageLarge(ctx, (*buf)[:n], r, sync)
}

// readUpTo fills p, or reads to the end: then the error is io.EOF. Unlike
// io.ReadFull it cannot take a connection that was cut, which readers tell by
// io.ErrUnexpectedEOF, for an end.
func readUpTo(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}

	if n == len(p) {
		return n, nil
	}
	return n, err
}

// stageBytes writes p to a temporary file, unless it is here already.
func (w *writer) stageBytes(ctx context.Context, p []byte, sync bool) (staged, error) {
	if err := ctx.Err(); err != nil {
		return staged{}, err
	}
	s := staged{digest: DigestOf(p), size: int64(len(p))}

	if len(p) == 0 || w.usage.present(s.digest, s.size) {
		return s, nil
	}

	if err := w.admit(s.size); err != nil {
		return staged{}, err
	}
	fd, name, err := w.tmp.file()
	if err != nil {
		return staged{}, err
	}

	err = disk.WriteFD(fd, p)
	if err := w.finishTemp(fd, name, err, sync); err != nil {
		return staged{}, err
	}
	s.tmp = name
	return s, nil
}

// stageLarge writes head and the rest of r to a temporary file.
func (w *writer) stageLarge(ctx context.Context, head []byte, r io.Reader, sync bool) (staged, error) {
	if err := w.admit(int64(len(head))); err != nil {
		return staged{}, err
	}
	fd, name, err := w.tmp.file()
	if err != nil {
		return staged{}, err
	}

	h := sha256.New()
	var sums blockSums
	h.Write(head)
	sums.write(head)
	size, err := int64(len(head)), disk.WriteFD(fd, head)

	chunk, unchecked := make([]byte, copyChunk), 0
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}

		var n int
		n, err = r.Read(chunk)
		if n > 0 {
			h.Write(chunk[:n])
			sums.write(chunk[:n])
			if werr := disk.WriteFD(fd, chunk[:n]); werr != nil {
				err = werr
			}
			size += int64(n)
			if unchecked += n; unchecked >= spaceEvery && err == nil {
				unchecked, err = 0, w.admit(0)
			}
		}
	}
	if err == io.EOF {
		err = nil
	}

	s := staged{digest: encodeDigest(h.Sum(nil)), size: size, sums: sums.done()}

	if err == nil && w.usage.present(s.digest, size) {
		unix.Close(fd)
		os.Remove(name)
		return s, nil
	}

	if err := w.finishTemp(fd, name, err, sync); err != nil {
		return staged{}, err
	}
	s.tmp = name
	return s, nil
}

// finishTemp syncs and closes a temporary file; after an error it removes it.
func (w *writer) finishTemp(fd int, name string, err error, sync bool) error {
	if err == nil {
		err = w.at("written")
	}
	if err == nil && sync {
		err = disk.Fdatasync(fd)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		return nil
	}

	os.Remove(name)
	var own unix.Errno
	if errors.As(err, &own) {
		return fmt.Errorf("put blob: %w", storeError(err))
	}
	return err
}

// discard removes the temporary file.
func (s staged) discard() {
	if s.tmp != "" {
		os.Remove(s.tmp)
	}
}

// at lets a test stop the store between two steps.
func (w *writer) at(point string) error {
	if w.hook == nil {
		return nil
	}
	return w.hook(point)
}
