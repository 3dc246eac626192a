package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Open reads an output file, as Blob does.
func (artifacts Artifacts) Open(ctx context.Context, id pipeline.RunID, module, file string) (io.ReadCloser, wire.Artifact, error) {
	dl := &download{c: artifacts.calls, ctx: ctx, path: runsPath + path(string(id), "artifacts", module) + path(strings.Split(file, "/")...)}
	if err := dl.open(); err != nil {
		return nil, wire.Artifact{}, err
	}

	mode, _ := strconv.ParseUint(dl.header.Get(wire.HeaderMode), 8, 12) // 0 if it is not there
	return dl, wire.Artifact{Module: module, Path: file, Size: dl.size, Mode: uint32(mode), Digest: dl.digest}, nil
}

// List lists the output files of a run, or of one module of it.
func (artifacts Artifacts) List(ctx context.Context, id pipeline.RunID, module string) (wire.ArtifactList, error) {
	q := url.Values{}
	if module != "" {
		q.Set("module", module)
	}

	return do[wire.ArtifactList](ctx, artifacts.calls, &request{method: http.MethodGet, path: runsPath + path(string(id), "artifacts"), query: q, safe: true}, nil)
}
