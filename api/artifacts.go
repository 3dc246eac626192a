package api

import (
	"context"
	"mime"
	"path"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Artifacts is what the API needs of a node to serve the files that modules
// leave. Both calls need the replicated state.
type Artifacts interface {
	// Artifacts lists the artifacts of a module, or with "" of all modules.
	Artifacts(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error)
	// OpenArtifact opens one, from whichever node has its bytes.
	OpenArtifact(ctx context.Context, id pipeline.RunID, module, path string) (Blob, wire.Artifact, error)
}

// maxArtifactPath bounds the path of an output file, in bytes.
const maxArtifactPath = 4 << 10

func (s *Server) artifacts(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module := c.r.URL.Query().Get("module")
	if module != "" && !wire.ValidModule(module) {
		return badModule(module)
	}
	out, err := s.cfg.Artifacts.Artifacts(c.r.Context(), id, module)
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
	b, a, err := s.cfg.Artifacts.OpenArtifact(c.r.Context(), id, module, file)
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
