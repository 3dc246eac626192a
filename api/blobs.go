package api

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxArtifactPath bounds the path of an output file, in bytes.
const maxArtifactPath = 4 << 10

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
	b, err := s.backend.OpenBlob(c.r.Context(), d, local)
	if err != nil {
		return err
	}
	defer b.Close()
	c.w.Header().Set("Content-Type", mediaBytes)
	return s.serveContent(c, b, b.Size(), d)
}

// putBlob stores a blob: 201, or 200 where it was there. Other bytes than the
// digest says are a 422, and nothing is kept.
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
	lacking, err := s.backend.MissingBlobs(c.r.Context(), []pipeline.Digest{d})
	if err != nil {
		return err
	}
	in := &bodyReader{r: body}
	status := http.StatusCreated
	if len(lacking) == 0 {
		status = http.StatusOK
		err = drain(d, in)
	} else {
		err = s.backend.PutBlob(c.r.Context(), d, in)
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
	lacking, err := s.backend.MissingBlobs(c.r.Context(), in.Digests)
	if lacking == nil {
		lacking = []pipeline.Digest{}
	}
	return okOr(s, c, wire.MissingResponse{Missing: lacking}, err)
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
	n, err := s.backend.PutBundle(c.r.Context(), in)
	switch {
	case in.err != nil:
		return in.err
	case err != nil && kindOf(err) == pipeline.Invalid:
		return &statusError{http.StatusUnprocessableEntity, err}
	}
	return okOr(s, c, wire.BundleResponse{Stored: n}, err)
}

func (s *Server) artifacts(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module := c.r.URL.Query().Get("module")
	if module != "" && !wire.ValidModule(module) {
		return badModule(module)
	}
	out, err := s.backend.Artifacts(c.r.Context(), id, module)
	if out.Artifacts == nil {
		out.Artifacts = []wire.Artifact{}
	}
	return okOr(s, c, out, err)
}

func (s *Server) artifact(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module, file := c.r.PathValue("module"), c.r.PathValue("path")
	if !wire.ValidModule(module) {
		return badModule(module)
	}
	if file == "" || len(file) > maxArtifactPath || path.Clean(file) != file || strings.HasPrefix(file, "/") {
		return invalid("artifact %.80q: want the path of an output file", file)
	}
	b, a, err := s.backend.OpenArtifact(c.r.Context(), id, module, file)
	if err != nil {
		return err
	}
	defer b.Close()
	h := c.w.Header()
	h.Set("Content-Type", mediaBytes)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(file)}))
	h.Set(wire.HeaderMode, "0"+strconv.FormatUint(uint64(a.Mode&0o777), 8))
	return s.serveContent(c, b, b.Size(), a.Digest)
}
