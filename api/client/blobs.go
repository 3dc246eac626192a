package client

import (
	"context"
	"encoding/json"
	"hash"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// missingBatch is how many digests one question holds.
	missingBatch = 10_000
	// maxReopens is how often a download is resumed without a byte's
	// progress.
	maxReopens = 5
	blobsPath  = "/api/v1/blobs"
)

// Missing lists those of the blobs that the node that answers is missing. Use it on a
// client of one node (At, SubmitWith), followed by the uploads.
func (blobs Blobs) Missing(ctx context.Context, digests []pipeline.Digest) ([]pipeline.Digest, error) {
	var missing []pipeline.Digest
	for len(digests) > 0 {
		n := min(len(digests), missingBatch)
		out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true}, wire.MissingRequest{Digests: digests[:n]})
		if err != nil {
			return nil, err
		}

		missing, digests = append(missing, out.Missing...), digests[n:]
	}

	return missing, nil
}

// MissingOf lists the blobs of a tree and its files that are missing on the node that
// answers; only the tree itself if that is missing.
func (blobs Blobs) MissingOf(ctx context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
	out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true}, wire.MissingRequest{Tree: tree})
	return out.Missing, err
}

// resumeFrom is the length, in bytes, from which a cut upload resumes where it
// was, in bytes. Shorter ones are sent again.
const resumeFrom = 4 << 20

// Put stores a blob. It is repeated if that is needed and r is an
// io.Seeker too; a long one resumes where it was cut, or where an earlier
// process was. Bytes of another digest are Invalid, and not kept.
func (blobs Blobs) Put(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	if s, ok := r.(io.ReadSeeker); ok {
		if u := newUpload(r); u.size >= resumeFrom {
			return blobs.putLarge(ctx, d, s, u.start, u.size)
		}
	}
	return blobs.putWhole(ctx, d, r)
}

// putLarge uploads from where the node that answers says it has bytes up to.
func (blobs Blobs) putLarge(ctx context.Context, d pipeline.Digest, r io.ReadSeeker, start, size int64) error {
	var last error
	arrived, stuck, anew := int64(-1), 0, false
	for {
		out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true},
			wire.MissingRequest{Digests: []pipeline.Digest{d}})
		if err != nil {
			return err
		}

		if len(out.Missing) == 0 {
			return nil
		}

		from := out.Arrived[d]
		if from < 0 || from >= size {
			from = 0
		}

		if stuck++; from > arrived {
			arrived, stuck = from, 0
		}

		if stuck > maxReopens {
			return last
		}

		if _, err := r.Seek(start+from, io.SeekStart); err != nil {
			return err
		}

		rq := &request{method: http.MethodPut, path: blobsPath + path(string(d)), safe: true, header: http.Header{},
			upload: &upload{r: onlyReader{io.LimitReader(r, size-from)}, size: size - from}}
		if from > 0 {
			rq.header.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(size-1, 10)+"/"+strconv.FormatInt(size, 10))
		}

		_, last = do[none](ctx, blobs.calls, rq, nil)
		if from > 0 && !anew && pipeline.KindOf(last) == pipeline.Invalid && ctx.Err() == nil {
			// What an earlier upload had left there was something else; it is dropped now.
			anew, arrived, stuck = true, -1, 0
			continue
		}

		if k := pipeline.KindOf(last); last == nil || k != pipeline.Unavailable && k != pipeline.Conflict || ctx.Err() != nil {
			return last
		}

		if !sleep(ctx, 200*time.Millisecond) {
			return contextError(ctx)
		}
	}
}

// onlyReader cannot be rewound: the upload is begun anew from what arrived.
type onlyReader struct{ io.Reader }

func (blobs Blobs) putWhole(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	_, err := do[none](ctx, blobs.calls, &request{method: http.MethodPut, path: blobsPath + path(string(d)), upload: newUpload(r), safe: true}, nil)
	return err
}

// PutBundle stores many blobs at once, and says how many of them were new. It
// is repeated as Put is.
func (blobs Blobs) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	out, err := do[wire.BundleResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath, upload: newUpload(r), safe: true, timeout: time.Minute}, nil)
	return out.Stored, err
}

// Has reports whether the cluster has a blob, and its size.
func (blobs Blobs) Has(ctx context.Context, d pipeline.Digest) (size int64, ok bool, err error) {
	resp, _, err := blobs.calls.send(ctx, &request{method: http.MethodHead, path: blobsPath + path(string(d)), safe: true})
	if err != nil {
		if pipeline.KindOf(err) == pipeline.NotFound {
			return 0, false, nil
		}
		return 0, false, err
	}

	return resp.ContentLength, true, resp.Body.Close()
}

// Get reads a blob from whichever node has it. The reader continues at another
// node if one breaks off; at the end it fails if the bytes are not those of
// the digest, so what was read counts only after io.EOF.
func (blobs Blobs) Get(ctx context.Context, d pipeline.Digest) (io.ReadCloser, error) {
	dl := &download{c: blobs.calls, ctx: ctx, path: blobsPath + path(string(d)), digest: d}
	if err := dl.open(); err != nil {
		return nil, err
	}

	return dl, nil
}

// GetFrom is Get for a blob of this size of which the first bytes are known: sum,
// a SHA-256, has them. If it fails at the end they may be the wrong ones.
func (blobs Blobs) GetFrom(ctx context.Context, d pipeline.Digest, size, from int64, sum hash.Hash) (io.ReadCloser, error) {
	// With a header it counts as opened before: it continues at pos.
	dl := &download{c: blobs.calls, ctx: ctx, path: blobsPath + path(string(d)), digest: d, header: http.Header{}, size: size, pos: from, sum: sum}
	if err := dl.open(); err != nil {
		return nil, err
	}

	return dl, nil
}

// GetBundle reads small blobs from whichever node has them, at most
// wire.MaxBundledBlobs: a stream for blob.ReadBundle, which fails if it broke
// off. Those that no node has are not in it.
func (blobs Blobs) GetBundle(ctx context.Context, digests []pipeline.Digest) (io.ReadCloser, error) {
	body, err := json.Marshal(wire.BundleRequest{Digests: digests})
	if err != nil {
		return nil, err
	}

	return blobs.calls.stream(ctx, &request{method: http.MethodPost, path: blobsPath + "/get", body: body, safe: true, timeout: time.Minute})
}

// stream makes a call whose answer is read as it comes, and must not stand still.
func (c *caller) stream(ctx context.Context, rq *request) (io.ReadCloser, error) {
	resp, _, err := c.send(ctx, rq)
	if err != nil {
		return nil, err
	}

	a, ok := resp.Body.(*answer)
	if !ok {
		return resp.Body, nil
	}

	return &watched{ReadCloser: a, timer: time.AfterFunc(c.cfg.StreamIdle, func() { a.cancel(errSlow) }), every: c.cfg.StreamIdle}, nil
}

// watched is a body that must not stand still.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	every time.Duration
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.every)
	return w.ReadCloser.Read(p)
}

// Close ends it.
func (w *watched) Close() error {
	w.timer.Stop()
	return w.ReadCloser.Close()
}
