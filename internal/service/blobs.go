package service

import (
	"context"
	"errors"
	"io"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// Blobs serves the blobs of this node, and of others through it. It implements
// api.Blobs.
type Blobs struct {
	store *blob.Store
	trees *tree.Cache // over store
	down  *fabric.Downloader
}

// NewBlobs makes a Blobs.
func NewBlobs(store *blob.Store, trees *tree.Cache, down *fabric.Downloader) *Blobs {
	return &Blobs{store: store, trees: trees, down: down}
}

// OpenBlob opens a blob of this node or, if local is false, of any node.
func (b *Blobs) OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (api.Blob, error) {
	if local && !b.store.Has(d) {
		return nil, pipeline.Errorf(pipeline.NotFound, "blob %s is not on this node", d)
	}
	return b.down.Open(ctx, nil, d)
}

// PutBlob stores a blob on this node.
func (b *Blobs) PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	_, err := b.store.PutExpect(ctx, d, r)
	return err
}

// PutBlobPart stores the rest of a blob, from an offset on. It is a Conflict if
// the offset is beyond what arrived before.
func (b *Blobs) PutBlobPart(ctx context.Context, d pipeline.Digest, from, total int64, r io.Reader) error {
	part, err := b.store.Partial(d, total)
	if errors.Is(err, blob.ErrArriving) {
		// The connection that was cut may not have been noticed yet; or the blob is
		// being fetched.
		return pipeline.Errorf(pipeline.Unavailable, "blob %.12s is arriving already: ask again which blobs are missing", d)
	}
	if err != nil {
		return err
	}
	defer part.Close()

	if have := part.Arrived(); from > have || from%blob.BlockSize != 0 && from != have {
		return pipeline.Errorf(pipeline.Conflict, "the upload starts at byte %d, and %d bytes have arrived", from, have)
	}
	if _, err := part.Fill(ctx, from, total, r); err != nil {
		return err
	}
	return part.Commit(ctx)
}

// ArrivedBlobs gives how many bytes of interrupted uploads have arrived.
func (b *Blobs) ArrivedBlobs(_ context.Context, list []pipeline.Digest) map[pipeline.Digest]int64 {
	if !b.store.Arriving() {
		return nil
	}

	out := map[pipeline.Digest]int64{}
	for _, d := range list {
		if n, _ := b.store.Arrived(d); n > 0 {
			out[d] = n
		}
	}
	return out
}

// MissingBlobs lists the blobs that are not on this node.
func (b *Blobs) MissingBlobs(_ context.Context, list []pipeline.Digest) ([]pipeline.Digest, error) {
	for _, d := range list {
		if _, err := pipeline.ParseDigest(string(d)); err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
		}
	}

	missing := b.store.Missing(list)
	if missing == nil {
		missing = []pipeline.Digest{}
	}
	return missing, nil
}

// MissingOfTree lists the blobs of a tree that are not on this node.
func (b *Blobs) MissingOfTree(_ context.Context, root pipeline.Digest) ([]pipeline.Digest, error) {
	return b.trees.Missing(root)
}

// PutBundle stores many small blobs on this node.
func (b *Blobs) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	return fabric.Receive(ctx, b.store, r)
}

// Bundle fetches blobs and gives a function that writes the small ones as a
// bundle. Blobs that are on no node are left out: a caller that asks for one of
// them by itself gets the reason.
func (b *Blobs) Bundle(ctx context.Context, want []pipeline.Digest) (func(io.Writer) error, error) {
	if err := b.down.Fetch(ctx, nil, want); err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}

	have := make([]pipeline.Digest, 0, len(want))
	for _, d := range want {
		if size, err := b.store.Size(d); err == nil && size <= wire.MaxBundledBlob {
			have = append(have, d)
		}
	}
	return func(w io.Writer) error { return blob.WriteBundle(ctx, w, b.store, have) }, nil
}
