package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Blobs is what the API needs of a node to move blobs. Every call concerns the
// store of the node that was asked.
type Blobs interface {
	// OpenBlob opens a blob; if this node does not have it and local is false, it
	// comes from a peer. Kind NotFound if no node that answers has it.
	OpenBlob(ctx context.Context, d pipeline.Digest, local bool) (Blob, error)
	// PutBlob stores a blob whose length is not known. Kind Invalid if the bytes
	// do not match the digest; nothing is stored then.
	PutBlob(ctx context.Context, d pipeline.Digest, r io.Reader) error
	// PutBlobPart stores the rest of a blob of total bytes, from an offset up to
	// its end. What arrived is kept if r fails, so that the upload can resume.
	PutBlobPart(ctx context.Context, d pipeline.Digest, from, total int64, r io.Reader) error
	// ArrivedBlobs gives how many bytes of interrupted uploads are there, for those
	// of the blobs that have any.
	ArrivedBlobs(ctx context.Context, d []pipeline.Digest) map[pipeline.Digest]int64
	// MissingBlobs gives those of the blobs that are not in this node's store.
	MissingBlobs(ctx context.Context, d []pipeline.Digest) ([]pipeline.Digest, error)
	// MissingOfTree gives the missing ones of a tree and its files; the tree alone
	// if that is missing.
	MissingOfTree(ctx context.Context, tree pipeline.Digest) ([]pipeline.Digest, error)
	// PutBundle stores a bundle of blobs and gives their number.
	PutBundle(ctx context.Context, r io.Reader) (int, error)
	// Bundle copies blobs to this node, if they exist anywhere, and gives a function
	// that writes those of up to wire.MaxBundledBlob bytes as a bundle.
	Bundle(ctx context.Context, d []pipeline.Digest) (func(io.Writer) error, error)
}

// Blob is an open blob: seekable, so that ranges can be served.
type Blob interface {
	io.ReadSeekCloser
	// Size is the blob's length in bytes.
	Size() int64
}

// partFrom is the length, in bytes, from which what arrived of an interrupted
// upload is kept.
const partFrom = 1 << 20

type blobsHandler struct {
	blobs Blobs
	// maxBlob and maxBundle bound uploads, in bytes.
	maxBlob, maxBundle int64
}

// routes are the calls that move blobs.
func (h *blobsHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/blobs/{digest}", Role: RoleRead, Worker: true,
			Summary: "a blob, from whichever node has it",
			Query:   []string{"local"}, Produces: mediaBytes, serve: h.get},
		{Method: "PUT", Pattern: "/api/v1/blobs/{digest}", Role: RoleSubmit, Worker: true,
			Summary: "store a blob on this node",
			Body:    StreamBody, serve: h.put},
		{Method: "POST", Pattern: "/api/v1/blobs/missing", Role: RoleSubmit,
			Summary: "which blobs are missing on this node",
			Body:    JSONBody, Request: doc[wire.MissingRequest](), Response: doc[wire.MissingResponse](),
			serve: h.missing},
		{Method: "POST", Pattern: "/api/v1/blobs/get", Role: RoleRead,
			Summary: "small blobs as one bundle, from whichever node has them",
			Body:    JSONBody, Request: doc[wire.BundleRequest](), Produces: mediaBytes, serve: h.getBundle},
		{Method: "POST", Pattern: "/api/v1/blobs", Role: RoleSubmit,
			Summary: "store a bundle of blobs on this node",
			Body:    StreamBody, Response: doc[wire.BundleResponse](), serve: h.putBundle},
	}
}

func (h *blobsHandler) get(c *call) error {
	d, err := digest(c.r.PathValue("digest"))
	if err != nil {
		return err
	}
	local, err := flag(c.r.URL.Query(), "local")
	if err != nil {
		return err
	}

	b, err := h.blobs.OpenBlob(c.r.Context(), d, local)
	if err != nil {
		return err
	}
	defer b.Close()

	c.w.Header().Set("Content-Type", mediaBytes)
	return c.serveContent(b, b.Size(), d)
}

// put stores a blob: 201, or 200 if it was there. Bytes that do not match the
// digest are a 422, and nothing is stored. With Content-Range it resumes an
// upload that was interrupted.
func (h *blobsHandler) put(c *call) error {
	d, err := digest(c.r.PathValue("digest"))
	if err != nil {
		return err
	}
	if c.r.Header.Get("Content-Type") != "" {
		if err := wantType(c.r, mediaBytes); err != nil {
			return err
		}
	}

	body, done, err := openBody(c.r, h.maxBlob)
	if err != nil {
		return err
	}
	defer done()
	part, err := h.partOf(c.r)
	if err != nil {
		return err
	}

	missing, err := h.blobs.MissingBlobs(c.r.Context(), []pipeline.Digest{d})
	if err != nil {
		return err
	}
	if len(missing) == 0 && part.from > 0 {
		return c.ok(struct{}{}) // another upload of it has finished
	}

	status := http.StatusCreated
	in := &bodyReader{r: body}
	switch {
	case len(missing) == 0:
		status = http.StatusOK
		err = drain(d, in)
	case part.size >= 0:
		err = h.blobs.PutBlobPart(c.r.Context(), d, part.from, part.size, in)
	default:
		err = h.blobs.PutBlob(c.r.Context(), d, in)
	}
	if err := in.failure(err); err != nil {
		return err
	}

	c.w.Header().Set("Etag", `"`+string(d)+`"`)
	c.w.Header().Set("Location", "/api/v1/blobs/"+string(d))
	c.w.WriteHeader(status)
	return nil
}

// part says which bytes of a blob an upload carries.
type part struct {
	// from is the offset of the first byte, size the length of the whole blob; -1
	// if the blob's length is unknown or so small that a part is not kept.
	from, size int64
}

// partOf finds out which part of a blob a request carries.
func (h *blobsHandler) partOf(r *http.Request) (part, error) {
	if r.Header.Get("Content-Range") == "" {
		if r.Header.Get("Content-Encoding") != "" || r.ContentLength < partFrom {
			return part{size: -1}, nil
		}
		return part{size: r.ContentLength}, nil
	}

	p, err := contentRange(r)
	if err == nil && p.size > h.maxBlob {
		err = pipeline.Errorf(pipeline.TooLarge, "a blob of %d bytes is announced, at most %d are accepted", p.size, h.maxBlob)
	}
	return p, err
}

// contentRange reads the header of a resumed upload: "bytes FROM-TO/SIZE", with
// TO being the last byte of the blob.
func contentRange(r *http.Request) (p part, err error) {
	text := r.Header.Get("Content-Range")
	var to int64
	_, err = fmt.Sscanf(text, "bytes %d-%d/%d", &p.from, &to, &p.size)

	// Sscanf accepts more spellings than the header has.
	canonical := fmt.Sprintf("bytes %d-%d/%d", p.from, to, p.size)
	if err != nil || p.from < 0 || to != p.size-1 || p.from > to || text != canonical {
		return part{}, invalid("Content-Range %.60q: expected bytes FROM-LAST/SIZE, up to the end of the blob", text)
	}
	if r.Header.Get("Content-Encoding") != "" || r.ContentLength >= 0 && r.ContentLength != p.size-p.from {
		return part{}, invalid("Content-Range %.60q: expected exactly these bytes, without Content-Encoding", text)
	}
	return p, nil
}

// drain reads a blob that is in the store already, and verifies it all the same.
func drain(d pipeline.Digest, r io.Reader) error {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}

	if got := hex.EncodeToString(h.Sum(nil)); got != string(d) {
		return invalid("blob %s: the digest of the bytes received is %s", d, got)
	}
	return nil
}

func (h *blobsHandler) missing(c *call) error {
	in, err := document[wire.MissingRequest](c)
	if err != nil {
		return err
	}
	if err := digests(in.Digests); err != nil {
		return err
	}

	missing, err := h.findMissing(c, in)
	if missing == nil {
		missing = []pipeline.Digest{}
	}
	out := wire.MissingResponse{Missing: missing}
	if err == nil && len(missing) > 0 {
		out.Arrived = h.blobs.ArrivedBlobs(c.r.Context(), missing)
	}
	return c.reply(out, err)
}

func (h *blobsHandler) findMissing(c *call, in wire.MissingRequest) ([]pipeline.Digest, error) {
	if in.Tree == "" {
		return h.blobs.MissingBlobs(c.r.Context(), in.Digests)
	}

	tree, err := digest(string(in.Tree))
	if err != nil {
		return nil, err
	}
	if len(in.Digests) > 0 {
		return nil, invalid("tree and digests exclude each other: ask for a tree with all its files, or for single blobs")
	}
	return h.blobs.MissingOfTree(c.r.Context(), tree)
}

func (h *blobsHandler) putBundle(c *call) error {
	if err := wantType(c.r, mediaBytes); err != nil {
		return err
	}
	body, done, err := openBody(c.r, h.maxBundle)
	if err != nil {
		return err
	}
	defer done()

	in := &bodyReader{r: body}
	n, err := h.blobs.PutBundle(c.r.Context(), in)
	return c.reply(wire.BundleResponse{Stored: n}, in.failure(err))
}

// getBundle sends small blobs together. If writing fails in the middle the
// connection is cut: the caller must not take a part for the whole.
func (h *blobsHandler) getBundle(c *call) error {
	in, err := document[wire.BundleRequest](c)
	if err != nil {
		return err
	}
	if n := len(in.Digests); n == 0 || n > wire.MaxBundledBlobs {
		return invalid("digests: got %d, expected 1 to %d", n, wire.MaxBundledBlobs)
	}
	if err := digests(in.Digests); err != nil {
		return err
	}

	write, err := h.blobs.Bundle(c.r.Context(), in.Digests)
	if err != nil {
		return err
	}

	c.w.Header().Set("Content-Type", mediaBytes)
	c.w.Header().Set("Cache-Control", "no-store")
	if err := write(c.w); err != nil {
		c.log.Warn("send a bundle of blobs", "request", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
