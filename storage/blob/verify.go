package blob

import (
	"fmt"
	"io"

	"github.com/pipelined/pipelined/pipeline"
)

// VerifyAt is Verify at a pace: wait is called before each piece is read, with
// its length in bytes, and its error ends the reading.
func (b *Store) VerifyAt(d pipeline.Digest, wait func(n int) error) error {
	r, err := b.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.verifyAt(wait)
}

func (r *Reader) verifyAt(wait func(n int) error) error {
	if r.f == nil {
		return nil
	}

	got, _, err := measure(&pacedFile{r.f, wait}, r.size, make([]byte, min(r.size+1, BlockSize)))
	if err != nil {
		return err
	}
	if got != r.digest {
		return r.corrupt()
	}
	return nil
}

// pacedFile asks before each read.
type pacedFile struct {
	f    io.ReaderAt
	wait func(n int) error
}

func (p *pacedFile) ReadAt(b []byte, off int64) (int, error) {
	if err := p.wait(len(b)); err != nil {
		return 0, err
	}
	return p.f.ReadAt(b, off)
}

// Verify reads a blob to its end. If its bytes are bad the error is a
// *CorruptError and the copy has been quarantined.
func (b *Store) Verify(d pipeline.Digest) error {
	r, err := b.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.f == nil {
		return nil
	}

	if r.size <= smallBlob {
		return r.prepare()
	}
	return r.makeSums()
}

// makeSums verifies the blob as a whole and keeps its checksums.
func (r *Reader) makeSums() error {
	buf := make([]byte, BlockSize)
	d, sums, err := measure(r.f, r.size, buf)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", r.digest, err)
	}

	if d != r.digest {
		return r.corrupt()
	}

	r.sums = sums
	r.store.sums.save(r.digest, sums)
	return nil
}
