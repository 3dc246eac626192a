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

func digest(s string) (pipeline.Digest, error) {
	d, err := pipeline.ParseDigest(s)
	if err != nil {
		return "", invalid("%w", err)
	}
	return d, nil
}

func (s *Server) blob(c *call) error {
	d, err := digest(c.r.PathValue("digest"))
	if err != nil {
		return err
	}
	local, err := flag(c.r.URL.Query(), "local")
	if err != nil {
		return err
	}
	b, err := s.cfg.Blobs.OpenBlob(c.r.Context(), d, local)
	if err != nil {
		return err
	}
	defer b.Close()
	c.w.Header().Set("Content-Type", mediaBytes)
	return s.serveContent(c, b, b.Size(), d)
}

// partFrom is from what length on the part of an upload that came is kept.
const partFrom = 1 << 20

// contentRange reads the header of an upload that goes on: "bytes FROM-TO/SIZE"
// where TO is the last byte of the blob.
func contentRange(r *http.Request) (from, size int64, err error) {
	text := r.Header.Get("Content-Range")
	var to int64
	if _, err := fmt.Sscanf(text, "bytes %d-%d/%d", &from, &to, &size); err != nil || from < 0 || to != size-1 || from > to ||
		text != fmt.Sprintf("bytes %d-%d/%d", from, to, size) {
		return 0, 0, invalid("Content-Range %.60q: want bytes FROM-LAST/SIZE, up to the end of the blob", text)
	}
	if r.Header.Get("Content-Encoding") != "" || r.ContentLength >= 0 && r.ContentLength != size-from {
		return 0, 0, invalid("Content-Range %.60q: want just these bytes, without Content-Encoding", text)
	}
	return from, size, nil
}

// putBlob stores a blob: 201, or 200 where it was there. Other bytes than the
// digest says are a 422, and nothing is kept. With Content-Range it goes on
// where an upload was cut.
func (s *Server) putBlob(c *call) error {
	d, err := digest(c.r.PathValue("digest"))
	if err != nil {
		return err
	}
	if c.r.Header.Get("Content-Type") != "" {
		if err := wantType(c.r, mediaBytes); err != nil {
			return err
		}
	}
	body, done, err := openBody(c.r, s.cfg.MaxBlob)
	if err != nil {
		return err
	}
	defer done()
	lacking, err := s.cfg.Blobs.MissingBlobs(c.r.Context(), []pipeline.Digest{d})
	if err != nil {
		return err
	}
	in := &bodyReader{r: body}
	status := http.StatusCreated
	from, size := int64(0), c.r.ContentLength
	if c.r.Header.Get("Content-Range") != "" {
		if from, size, err = contentRange(c.r); err != nil {
			return err
		}
		if size > s.cfg.MaxBlob {
			return pipeline.Errorf(pipeline.TooLarge, "a blob of %d bytes is announced, at most %d are taken", size, s.cfg.MaxBlob)
		}
	} else if c.r.Header.Get("Content-Encoding") != "" || size < partFrom {
		size = -1
	}
	switch {
	case len(lacking) == 0 && from > 0:
		return okOr(s, c, struct{}{}, nil)
	case len(lacking) == 0:
		status = http.StatusOK
		err = drain(d, in)
	case size >= 0:
		err = s.cfg.Blobs.PutBlobPart(c.r.Context(), d, from, size, in)
	default:
		err = s.cfg.Blobs.PutBlob(c.r.Context(), d, in)
	}
	switch {
	case in.err != nil: // what the store says of it is less exact
		return in.err
	case kindOf(err) == pipeline.Invalid && err != nil:
		return &statusError{http.StatusUnprocessableEntity, err}
	case err != nil:
		return err
	}
	c.w.Header().Set("Etag", `"`+string(d)+`"`)
	c.w.Header().Set("Location", "/api/v1/blobs/"+string(d))
	c.w.WriteHeader(status)
	return nil
}

// drain reads a blob that is there already, and checks it all the same.
func drain(d pipeline.Digest, r io.Reader) error {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != string(d) {
		return invalid("blob %s: the bytes that came are %s", d, got)
	}
	return nil
}

// bodyReader keeps the error that ended a body, with its kind.
type bodyReader struct {
	r   io.Reader
	err error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = bodyError(err)
		b.err = err
	}
	return n, err
}

func (s *Server) missing(c *call) error {
	in, err := document[wire.MissingRequest](c)
	if err != nil {
		return err
	}
	for i, d := range in.Digests {
		if in.Digests[i], err = digest(string(d)); err != nil {
			return err
		}
	}
	lacking, err := s.lacking(c, in)
	if lacking == nil {
		lacking = []pipeline.Digest{}
	}
	out := wire.MissingResponse{Missing: lacking}
	if err == nil && len(lacking) > 0 {
		out.Arrived = s.cfg.Blobs.ArrivedBlobs(c.r.Context(), lacking)
	}
	return okOr(s, c, out, err)
}

func (s *Server) lacking(c *call, in wire.MissingRequest) ([]pipeline.Digest, error) {
	if in.Tree == "" {
		return s.cfg.Blobs.MissingBlobs(c.r.Context(), in.Digests)
	}
	tree, err := digest(string(in.Tree))
	switch {
	case err != nil:
		return nil, err
	case len(in.Digests) > 0:
		return nil, pipeline.Errorf(pipeline.Invalid, "tree and digests exclude each other: ask for a tree with all its files, or for single blobs")
	}
	return s.cfg.Blobs.MissingOfTree(c.r.Context(), tree)
}

func (s *Server) putBundle(c *call) error {
	if err := wantType(c.r, mediaBytes); err != nil {
		return err
	}
	body, done, err := openBody(c.r, s.cfg.MaxBundle)
	if err != nil {
		return err
	}
	defer done()
	in := &bodyReader{r: body}
	n, err := s.cfg.Blobs.PutBundle(c.r.Context(), in)
	switch {
	case in.err != nil:
		return in.err
	case err != nil && kindOf(err) == pipeline.Invalid:
		return &statusError{http.StatusUnprocessableEntity, err}
	}
	return okOr(s, c, wire.BundleResponse{Stored: n}, err)
}

// getBundle sends small blobs together. Where the writing fails in the middle the
// connection is cut: the caller must not take a part for all.
func (s *Server) getBundle(c *call) error {
	in, err := document[wire.BundleRequest](c)
	if err != nil {
		return err
	}
	if n := len(in.Digests); n == 0 || n > wire.MaxBundledBlobs {
		return invalid("digests: there are %d, want 1 to %d", n, wire.MaxBundledBlobs)
	}
	for i, d := range in.Digests {
		if in.Digests[i], err = digest(string(d)); err != nil {
			return err
		}
	}
	write, err := s.cfg.Blobs.Bundle(c.r.Context(), in.Digests)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", mediaBytes)
	c.w.Header().Set("Cache-Control", "no-store")
	if err := write(c.w); err != nil {
		s.log.Warn("send a bundle of blobs", "request", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
