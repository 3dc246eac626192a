package fabric

import (
	"context"
	"errors"
	"io"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// openTries is how often opening or reading is tried again: a blob may be deleted
// or found damaged between its download and its use.
const openTries = 3

// Blob reads a blob. If the copy here turns out to be damaged, it downloads
// another one and resumes there. No damaged byte is given out, so the reader need
// not know. It is for one goroutine.
type Blob struct {
	d      *Downloader
	ctx    context.Context // of the request that reads
	hints  []pipeline.NodeID
	digest pipeline.Digest

	file *blob.Reader
	pos  int64
}

// Open opens a blob, after downloading it if it is not here. The caller closes it;
// it must not be used after ctx ended.
func (d *Downloader) Open(ctx context.Context, hints []pipeline.NodeID, digest pipeline.Digest) (*Blob, error) {
	b := &Blob{d: d, ctx: ctx, hints: hints, digest: digest}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Blob) open() (err error) {
	for range openTries {
		if err = b.d.Fetch(b.ctx, b.hints, []pipeline.Digest{b.digest}); err != nil {
			return err
		}

		// It may have been deleted or quarantined between the two steps: then once more.
		var file *blob.Reader
		if file, err = b.d.cfg.Blobs.Open(b.digest); err == nil {
			b.file = file
			_, err = file.Seek(b.pos, io.SeekStart)
			return err
		}
	}
	return err
}

// Size is the blob's length in bytes.
func (b *Blob) Size() int64 { return b.file.Size() }

// Close closes the file.
func (b *Blob) Close() error { return b.file.Close() }

// Seek moves to another position.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	pos, err := b.file.Seek(offset, whence)
	if err == nil {
		b.pos = pos
	}
	return pos, err
}

// Read reads on.
func (b *Blob) Read(p []byte) (int, error) {
	for tries := 0; ; tries++ {
		n, err := b.file.Read(p)
		b.pos += int64(n)
		var damaged *blob.CorruptError
		if n > 0 || tries == openTries || !errors.As(err, &damaged) {
			return n, err
		}

		// The store has quarantined the copy here: open downloads another.
		_ = b.file.Close() // nothing was written
		if err := b.open(); err != nil {
			return 0, err
		}
	}
}

// Read gives a blob of at most limit bytes whole, from another copy if the one
// here is damaged.
func (d *Downloader) Read(ctx context.Context, hints []pipeline.NodeID, digest pipeline.Digest, limit int64) ([]byte, error) {
	for tries := 1; ; tries++ {
		if err := d.Fetch(ctx, hints, []pipeline.Digest{digest}); err != nil {
			return nil, err
		}
		raw, err := d.cfg.Blobs.ReadAll(digest, limit)
		if err == nil || tries == openTries || pipeline.KindOf(err) != pipeline.NotFound {
			return raw, err
		}
	}
}

// ReadTree reads the listing of a tree.
func (d *Downloader) ReadTree(ctx context.Context, hints []pipeline.NodeID, digest pipeline.Digest) (tree.Tree, error) {
	return d.readTree(ctx, hints, digest, d.cfg.Trees.ReadOnce)
}

// Listing is ReadTree for callers that ask again and again: the last few are kept
// in memory, so the caller must not change what it gets.
func (d *Downloader) Listing(ctx context.Context, hints []pipeline.NodeID, digest pipeline.Digest) (tree.Tree, error) {
	return d.readTree(ctx, hints, digest, d.cfg.Trees.Read)
}

// readTree reads a tree from this node, after downloading it if it is not here.
func (d *Downloader) readTree(ctx context.Context, hints []pipeline.NodeID, digest pipeline.Digest,
	read func(pipeline.Digest) (tree.Tree, error)) (tree.Tree, error) {
	for tries := 1; ; tries++ {
		tree, err := read(digest)
		if err == nil || tries == openTries || pipeline.KindOf(err) != pipeline.NotFound {
			return tree, err
		}
		if err := d.Fetch(ctx, hints, []pipeline.Digest{digest}); err != nil {
			return nil, err
		}
	}
}
