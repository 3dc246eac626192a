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

// maxArtifactPath bounds the path of an artifact, in bytes.
const maxArtifactPath = 4 << 10

type artifactsHandler struct{ artifacts Artifacts }

// routes are the calls about the files that modules leave.
func (h *artifactsHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "artifacts of a run",
			Query:   []string{"module", "stale"}, Response: doc[wire.ArtifactList](), serve: h.list},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts/{module}/{path...}", Role: RoleRead,
			Where:   OnState,
			Summary: "one artifact",
			Query:   []string{"module"}, Produces: mediaBytes, serve: h.open},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifact", Role: RoleRead, Where: OnState,
			Summary: "one artifact that the query names",
			Query:   []string{"module", "path"}, Produces: mediaBytes, serve: h.open},
	}
}

func (h *artifactsHandler) list(c *call) error {
	id := c.run
	module, err := c.moduleParam()
	if err != nil {
		return err
	}

	out, err := h.artifacts.Artifacts(c.r.Context(), id, module)
	if out.Artifacts == nil {
		out.Artifacts = []wire.Artifact{}
	}
	return c.reply(out, err)
}

func (h *artifactsHandler) open(c *call) error {
	id := c.run
	module, err := c.module()
	if err != nil {
		return err
	}
	file := c.r.PathValue("path")
	if file == "" {
		file = c.r.URL.Query().Get("path")
	}
	if file == "" || len(file) > maxArtifactPath || path.Clean(file) != file || strings.HasPrefix(file, "/") ||
		file == "." || file == ".." || strings.HasPrefix(file, "../") || strings.ContainsRune(file, 0) {
		return invalid("artifact %.80q: expected the path of an output file", file)
	}

	b, a, err := h.artifacts.OpenArtifact(c.r.Context(), id, module, file)
	if err != nil {
		return err
	}
	defer b.Close()

	header := c.w.Header()
	header.Set("Content-Type", mediaBytes)
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(file)}))
	header.Set(wire.HeaderMode, "0"+strconv.FormatUint(uint64(a.Mode&0o777), 8))
	return c.serveContent(b, b.Size(), a.Digest)
}
