package blob

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
)

// A bundle is many blobs in one stream: the magic, then a zstd stream of
// records. A record is a byte of kind; for a blob its digest (32 bytes), its
// length (uvarint) and its bytes; for the end the number of blobs (uvarint).
const (
	bundleMagic = "PLB1"
	bundleBlob  = 1
	bundleEnd   = 2
	// bundleWindow bounds the memory of both sides.
	bundleWindow = 4 << 20
	// maxBundled is the default of BundleLimits.Blobs: the files of the largest
	// tree.
	maxBundled = 1_000_000
)

// BundleLimits bound what ReadBundle accepts. 0 takes the default.
type BundleLimits struct {
	// BlobBytes is how long one blob may be. Default 1 GiB.
	BlobBytes int64
	// TotalBytes is how long all of them may be together. Default 4 GiB.
	TotalBytes int64
	// Blobs is how many there may be. Default 1,000,000.
	Blobs int
}

func (l BundleLimits) orDefault() BundleLimits {
	if l.BlobBytes <= 0 {
		l.BlobBytes = 1 << 30
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = 4 << 30
	}
	if l.Blobs <= 0 {
		l.Blobs = maxBundled
	}
	return l
}

// WriteBundle writes blobs as a bundle. Each is verified while it is read; one
// that is missing or corrupt ends the stream in the middle, which the reader
// notices, and its error is returned.
func WriteBundle(ctx context.Context, w io.Writer, b *Store, digests []pipeline.Digest) (err error) {
	if _, err := io.WriteString(w, bundleMagic); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}

	z, err := b.encoders.get(w)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	defer b.encoders.put(z)

	buf := b.buffers.Get().(*[]byte)
	defer b.buffers.Put(buf)
	for _, d := range digests {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeBundled(z, b, d, *buf); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}

	end := binary.AppendUvarint([]byte{bundleEnd}, uint64(len(digests)))
	if _, err := z.Write(end); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// encoders keeps compressors: a new one costs more than a small bundle.
type encoders struct{ pool sync.Pool }

// get gives a compressor that writes to w.
func (e *encoders) get(w io.Writer) (*zstd.Encoder, error) {
	if z, ok := e.pool.Get().(*zstd.Encoder); ok {
		z.Reset(w)
		return z, nil
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
}

// put takes a compressor back. Its goroutine and its reference to the writer end
// here.
func (e *encoders) put(z *zstd.Encoder) {
	z.Reset(nil)
	e.pool.Put(z)
}

func writeBundled(w io.Writer, b *Store, d pipeline.Digest, buf []byte) error {
	r, err := b.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()

	var head [1 + 32 + binary.MaxVarintLen64]byte
	head[0] = bundleBlob
	if _, err := hex.Decode(head[1:33], []byte(d)); err != nil {
		return err
	}

	n := 33 + binary.PutUvarint(head[33:], uint64(r.size))
	if _, err := w.Write(head[:n]); err != nil {
		return err
	}

	sent, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buf)
	if err == nil && sent != r.size {
		err = r.corrupt()
	}
	return err
}

// ExpectPutter takes bytes that must have a digest; a *MismatchError if they
// have not. It must read them to their end.
type ExpectPutter interface {
	PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error)
}

// ReadBundle reads a bundle, as a rule into a batch, which the caller commits, and
// gives the digests in their order. Every blob is verified by what it is put into. Anything wrong with the
// bundle (cut short, corrupt, beyond a limit, more after its end) is a
// *BundleError, bytes that do not fit their digest a *MismatchError; the caller
// then discards the batch.
func ReadBundle(ctx context.Context, r io.Reader, limits BundleLimits, into ExpectPutter) ([]pipeline.Digest, error) {
	limits = limits.orDefault()
	raw := bufio.NewReader(r)

	var magic [len(bundleMagic)]byte
	if _, err := io.ReadFull(raw, magic[:]); err != nil {
		return nil, bundleCut(err)
	}
	if string(magic[:]) != bundleMagic {
		return nil, &BundleError{Kind: pipeline.Invalid, Reason: "it does not begin as one of this version does"}
	}

	z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(bundleWindow))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer z.Close()

	in := bundleReader{ctx: ctx, in: bufio.NewReaderSize(z, 32<<10), limits: limits, into: into}
	for {
		done, err := in.record()
		if err != nil {
			return nil, err
		}
		if done {
			return in.digests, nil
		}
	}
}

// bundleCut distinguishes an end that came too early from other errors of reading.
func bundleCut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &BundleError{Kind: pipeline.Invalid, Reason: "it is cut short", Err: io.ErrUnexpectedEOF}
	}
	return &BundleError{Kind: pipeline.Invalid, Reason: "it cannot be read", Err: err}
}

type bundleReader struct {
	ctx     context.Context
	in      *bufio.Reader
	limits  BundleLimits
	into    ExpectPutter
	digests []pipeline.Digest
	total   int64
}

// record reads one record; done is true after the last.
func (b *bundleReader) record() (done bool, err error) {
	if err := b.ctx.Err(); err != nil {
		return false, err
	}

	kind, err := b.in.ReadByte()
	if err != nil {
		return false, bundleCut(err)
	}

	switch kind {
	case bundleBlob:
		return false, b.blob()
	case bundleEnd:
		return true, b.end()
	}
	return false, &BundleError{Kind: pipeline.Invalid, Reason: fmt.Sprintf("a record has the unknown kind %d", kind)}
}

func (b *bundleReader) end() error {
	n, err := binary.ReadUvarint(b.in)
	if err != nil {
		return bundleCut(err)
	}

	if n != uint64(len(b.digests)) {
		return &BundleError{Kind: pipeline.Invalid, Reason: fmt.Sprintf("it holds %d blobs and says %d", len(b.digests), n)}
	}

	if _, err := b.in.ReadByte(); err == nil {
		return &BundleError{Kind: pipeline.Invalid, Reason: "there is more after its end"}
	} else if err != io.EOF {
		return bundleCut(err)
	}
	return nil
}

func (b *bundleReader) blob() error {
	var sum [32]byte
	if _, err := io.ReadFull(b.in, sum[:]); err != nil {
		return bundleCut(err)
	}
	d := encodeDigest(sum[:])

	size, err := binary.ReadUvarint(b.in)
	if err != nil {
		return bundleCut(err)
	}

	switch {
	case len(b.digests) >= b.limits.Blobs:
		return &BundleError{Kind: pipeline.TooLarge, Reason: fmt.Sprintf("it holds more than %d blobs", b.limits.Blobs)}
	case size > uint64(b.limits.BlobBytes):
		return &BundleError{Kind: pipeline.TooLarge, Reason: fmt.Sprintf("blob %s has %d bytes, more than %d", d, size, b.limits.BlobBytes)}
	case size > uint64(b.limits.TotalBytes-b.total):
		return &BundleError{Kind: pipeline.TooLarge, Reason: fmt.Sprintf("it holds more than %d bytes", b.limits.TotalBytes)}
	}

	b.total += int64(size)
	// exactReader, not io.LimitReader: a stream that ends early must not pass for
	// a shorter blob.
	body := &exactReader{r: b.in, left: int64(size)}
	if _, err := b.into.PutExpect(b.ctx, d, body); err != nil {
		if body.err != nil {
			return bundleCut(body.err)
		}
		return err
	}

	b.digests = append(b.digests, d)
	return nil
}

// exactReader reads so many bytes, no fewer.
type exactReader struct {
	r    io.Reader
	left int64
	err  error // what the stream itself failed with
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}

	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF {
		if e.left == 0 {
			return n, nil
		}
		err = io.ErrUnexpectedEOF
	}
	e.err = err
	return n, err
}
