package api_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// TestNames_modules: keys of instances hold slashes, as packages and branches do, and
// the names of files hold what the module likes. Every call reaches them, also over
// another node.
func TestNames_modules(t *testing.T) {
	var module, file string
	log := func(_ context.Context, _ pipeline.RunID, m string, _ int, _ int64) (io.ReadCloser, api.LogInfo, error) {
		module = m
		return io.NopCloser(strings.NewReader("hello")), api.LogInfo{Attempt: 1, Size: 5, Final: true}, nil
	}
	f, _ := pair(t, &apitest.Backend{}, &apitest.Backend{
		Artifacts: apitest.Artifacts{OpenArtifactFunc: func(_ context.Context, _ pipeline.RunID, m, p string) (api.Blob, wire.Artifact, error) {
			module, file = m, p
			return apitest.Bytes([]byte("bytes")), wire.Artifact{Module: m, Path: p, Mode: 0o644, Digest: digestOf([]byte("bytes"))}, nil
		}},
	})
	f.backend.Artifacts.OpenArtifactFunc = func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error) {
		return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "run r1: there is none")
	}
	f.backend.Logs.LogFunc = log
	f.backend.Runs.DecideFunc = func(_ context.Context, _ api.Subject, _ pipeline.RunID, in api.ApprovalDecision) (wire.Module, error) {
		module = in.Module
		return wire.Module{Name: in.Module}, nil
	}

	c := newClient(t, "submit", f.public.URL)
	for _, want := range []string{"test[./cmd/foo]", "test[a/../b]", "test[x//y]", "test[50%2Foff]", "test[/]", "test[q?r#s;t]"} {
		module = ""
		if _, err := c.Modules().Approve(t.Context(), "r1", want, ""); err != nil || module != want {
			t.Errorf("approve %q: %q, %v", want, module, err)
		}
		module = ""
		path := "GET /api/v1/runs/r1/modules/" + strings.NewReplacer("%", "%25", "/", "%2f", "?", "%3F", "#", "%23").Replace(want) + "/logs"
		if r := ask(t, f.public.URL, path, "", asRead); text(t, r) != "hello" || module != want {
			t.Errorf("%s: %d for %q", path, r.StatusCode, module)
		}
		for _, name := range []string{"o/f", "o/new\nline", "tab\there", "50%2F;x"} {
			module, file = "", ""
			r, _, err := c.Artifacts().Open(t.Context(), "r1", want, name)
			if err != nil || module != want || file != name {
				t.Errorf("artifact %q of %q: %q of %q, %v", name, want, file, module, err)
				continue
			}
			_ = r.Close() // it was read as far as needed
		}
	}
}

// TestNames_refused: what may stand in the name of a module may not stand elsewhere.
func TestNames_refused(t *testing.T) {
	n := newNode(t, listing())
	for _, path := range []string{
		"/api/v1/runs/r1/modules%2Fm/logs", "/api/v1/runs/r1/modules/m/lo%2Fgs", "/api/v1%2Fruns/r1/modules/m/logs", "/api/v1/runs/r%2F1/modules/m/logs",
		"/api/v1/runs/r1/modules/test[a%0Ab]/logs", "/api/v1/runs/r1/artifacts/m/a%2Fb", "/api/v1/runs/r1/artifacts/m/a%00b",
		"/api/v1/runs/r1/artifacts/test[a%0Ab]/f", "/api/v1/members/a%2Fb/drain", "/api/v1/runs/r1/modules/%2e%2e/logs", "/api/v1/runs/r1/modules/..%2Flogs/logs",
	} {
		method := "GET "
		if strings.HasSuffix(path, "drain") {
			method = "POST "
		}
		problem(t, ask(t, n.public.URL, method+path, "", asAdmin), 400, pipeline.Invalid)
	}
}
