package api_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
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
		for _, call := range []string{"GET /api/v1/runs/r1/modules/logs", "POST /api/v1/runs/r1/modules/approve", "POST /api/v1/runs/r1/modules/reject",
			"GET /api/v1/runs/r1/modules/" + url.PathEscape(want) + "/logs"} {
			module = ""
			if r := ask(t, f.public.URL, call+"?module="+url.QueryEscape(want), "", asSubmit); r.StatusCode != 200 || module != want {
				t.Errorf("%s by the query: %d for %q", call, r.StatusCode, module)
			}
		}
		for _, name := range []string{"o/f", "o/new\nline", "tab\there", "50%2F;x"} {
			module, file = "", ""
			r, _, err := c.Artifacts().Open(t.Context(), "r1", want, name)
			if err != nil || module != want || file != name {
				t.Errorf("artifact %q of %q: %q of %q, %v", name, want, file, module, err)
				continue
			}
			_ = r.Close() // it was read as far as needed
			module, file = "", ""
			q := url.Values{"module": {want}, "path": {name}}
			if r := ask(t, f.public.URL, "GET /api/v1/runs/r1/artifact?"+q.Encode(), "", asRead); text(t, r) != "bytes" || module != want || file != name {
				t.Errorf("artifact by the query: %d, %q of %q", r.StatusCode, file, module)
			}
		}
	}
}

// TestNames_refused: what may stand in the name of a module may not stand elsewhere.
func TestNames_refused(t *testing.T) {
	n := newNode(t, listing())
	for _, path := range []string{
		"/api/v1/runs/r1/modules%2Fm/logs", "/api/v1/runs/r1/modules/m/lo%2Fgs", "/api/v1%2Fruns/r1/modules/m/logs", "/api/v1/runs/r%2Fx/modules/m/logs",
		"/api/v1/runs/r1/modules/logs", "/api/v1/runs/r1/modules/logs?module=a%0Ab", "/api/v1/runs/r1/modules/m/logs?module=n", "/api/v1/runs/r1/artifact?module=m",
		"/api/v1/runs/r1/artifact?path=f", "/api/v1/runs/r1/artifact?module=m&path=..%2Ff",
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

// TestNames_runs: a run is found once, on the node that serves the call, however it is
// named; a whole id is not looked up.
func TestNames_runs(t *testing.T) {
	whole := strings.Repeat("0123456789abcdef", 2)
	var found, got string
	leader := &apitest.Backend{Runs: apitest.Runs{
		FindRunFunc: func(_ context.Context, ref pipeline.RunRef, stale bool) (pipeline.RunID, error) {
			found = fmt.Sprint(ref.Text, stale)
			if ref.Text == "abc" {
				return "", pipeline.Errorf(pipeline.Invalid, "run abc is ambiguous")
			}
			return "r1", nil
		},
		SummaryFunc: func(_ context.Context, id pipeline.RunID) (wire.RunSummary, error) {
			got = string(id)
			return wire.RunSummary{ID: id, Number: 7}, nil
		},
	}}
	f, _ := pair(t, &apitest.Backend{}, leader)
	c := newClient(t, "read", f.public.URL)
	for _, tc := range []struct{ path, found, want string }{
		{"7?brief=1", "7false", "r1"}, {"last?brief=1", "lastfalse", "r1"}, {"release%2F7?brief=1", "release/7false", "r1"}, {whole + "?brief=1", "", whole},
	} {
		found, got = "", ""
		if r := ask(t, f.public.URL, "GET /api/v1/runs/"+tc.path, "", asRead); r.StatusCode != 200 || got != tc.want || found != tc.found {
			t.Errorf("%s: %d for %q, found by %q", tc.path, r.StatusCode, got, found)
		}
	}
	problem(t, ask(t, f.public.URL, "GET /api/v1/runs/abc", "", asRead), 400, pipeline.Invalid)
	for _, text := range []string{"7", "release/7", "last", "abcd"} {
		ref, err := pipeline.ParseRunRef(text)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := c.Runs().Find(t.Context(), ref); id != "r1" || err != nil || found != text+"false" {
			t.Errorf("%s: %s, %v, found by %q", text, id, err, found)
		}
	}
	found = ""
	if id, err := c.Runs().Find(t.Context(), pipeline.RunRef{Text: whole, Prefix: whole}); string(id) != whole || err != nil || found != "" {
		t.Errorf("a whole id: %s, %v, found by %q", id, err, found)
	}
}
