package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// One row a kind: its status, and that the client rebuilds the error.
func TestErrors_everyKind(t *testing.T) {
	source := &wire.SourceError{Diagnostics: []wire.Diagnostic{
		{File: "a.hcl", Line: 3, Column: 7, Summary: "unknown attribute", SourceLine: "comand = 1"},
		{File: "a.hcl", Line: 9, Column: 1, Summary: "cycle"},
	}}
	for _, tc := range []struct {
		err    error
		status int
		kind   pipeline.Kind
		detail string
	}{
		{errBoom, 500, pipeline.Internal, ""},
		{pipeline.Errorf(pipeline.Internal, "index 7: %w", errBoom), 500, pipeline.Internal, ""},
		{pipeline.Errorf(pipeline.Invalid, "variable x: want a number"), 400, pipeline.Invalid, "variable x: want a number"},
		{source, 422, pipeline.Invalid, "a.hcl:3:7: unknown attribute (and 1 more)"},
		{pipeline.Errorf(pipeline.Unauthenticated, "token: expired"), 401, pipeline.Unauthenticated, "token: expired"},
		{pipeline.Errorf(pipeline.Forbidden, "not yours"), 403, pipeline.Forbidden, "not yours"},
		{pipeline.Errorf(pipeline.NotFound, "run r1: there is none"), 404, pipeline.NotFound, "run r1: there is none"},
		{pipeline.Errorf(pipeline.Conflict, "key: used with another body"), 409, pipeline.Conflict, "key: used with another body"},
		{pipeline.Errorf(pipeline.TooLarge, "source: too long"), 413, pipeline.TooLarge, "source: too long"},
		{pipeline.ErrNoLeader, 503, pipeline.Unavailable, pipeline.ErrNoLeader.Message},
		{pipeline.ErrUnknownOutcome, 503, pipeline.Unknown, pipeline.ErrUnknownOutcome.Message},
		{pipeline.Errorf(pipeline.Canceled, "given up"), 499, pipeline.Canceled, "given up"},
		{pipeline.Errorf(pipeline.Timeout, "waited 5 s"), 504, pipeline.Timeout, "waited 5 s"},
		{context.DeadlineExceeded, 504, pipeline.Timeout, ""},
	} {
		t.Run(tc.kind.String()+"/"+tc.err.Error(), func(t *testing.T) {
			n := newNode(t, &apitest.Backend{Runs: apitest.Runs{SubmitFunc: func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error) {
				return wire.RunCreated{}, tc.err
			}}})
			p := problem(t, ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, asSubmit, isJSON), tc.status, tc.kind)
			if tc.detail != "" && p.Detail != tc.detail {
				t.Errorf("got detail %q, want %q", p.Detail, tc.detail)
			}
			if strings.Contains(p.Detail, "boom") {
				t.Errorf("an internal detail was sent: %q", p.Detail)
			}

			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			_, err := newClient(t, "submit", n.public.URL).Runs().Submit(ctx, "", wire.SubmitRequest{Source: "x"})
			if tc.status == 503 { // the client repeats these until it has no more time
				if pipeline.KindOf(err) != pipeline.Timeout {
					t.Errorf("got %v, want a repeated call that timed out", err)
				}
			} else if pipeline.KindOf(err) != tc.kind {
				t.Errorf("the client made %v (%v) of it", pipeline.KindOf(err), err)
			}
			if tc.kind == pipeline.Invalid && tc.status == 422 {
				var got *wire.SourceError
				if !errors.As(err, &got) || cmp.Diff(got, source) != "" {
					t.Errorf("the client rebuilt %v", err)
				}
			} else if tc.detail != "" && tc.status != 503 && !errors.Is(err, tc.err) {
				t.Errorf("errors.Is(%v, %v) does not hold across the network", err, tc.err)
			}
		})
	}
}

func TestErrors_retryAfter(t *testing.T) {
	n := newNode(t, &apitest.Backend{Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) {
		return wire.RunList{}, pipeline.ErrUnknownOutcome
	}}})
	r := ask(t, n.public.URL, "GET /api/v1/runs", "", asRead)
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || r.Header.Get("X-Pipelined-Kind") != "unknown" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

func TestErrors_unauthenticated(t *testing.T) {
	n := newNode(t, &apitest.Backend{})
	r := ask(t, n.public.URL, "GET /api/v1/runs", "")
	problem(t, r, 401, pipeline.Unauthenticated)
	if got := r.Header.Get("WWW-Authenticate"); got != `Bearer realm="pipelined"` {
		t.Errorf("got challenge %q", got)
	}
	r = ask(t, n.public.URL, "GET /api/v1/runs", "", "Authorization: Bearer stolen")
	problem(t, r, 401, pipeline.Unauthenticated)
	if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("got challenge %q", got)
	}
	for _, header := range []string{"Basic YWRhOnB3", "Bearer", "Bearer  ", "admin", "Bearer " + strings.Repeat("x", 5000)} {
		problem(t, ask(t, n.public.URL, "GET /api/v1/runs", "", "Authorization: "+header), 401, pipeline.Unauthenticated)
	}
}

// The dashboard needs no token, is served to no other node, and takes no call away.
func TestDashboard(t *testing.T) {
	n := newNode(t, &apitest.Backend{})
	for _, what := range []string{"GET /", "HEAD /runs/7/log", "GET /runs/build%2Flast/graph", "GET /cluster"} {
		r := ask(t, n.public.URL, what, "")
		if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: status %d, headers %v", what, r.StatusCode, r.Header)
		}
	}
	problem(t, ask(t, n.public.URL, "POST /", ""), 404, pipeline.NotFound)
	problem(t, ask(t, n.public.URL, "GET /", "", "Host: evil.example"), 403, pipeline.Forbidden)
}

func TestErrors_unknownPathAndMethod(t *testing.T) {
	n := newNode(t, &apitest.Backend{})
	for _, tc := range []struct{ what, nearest string }{
		{"GET /api/v1/run", "/api/v1/runs"},
		{"GET /api/v1/runs/r1/artefacts", "/api/v1/runs/{id}/artifacts"},
		{"GET /api/v1/runs/", "/api/v1/runs"},
		{"GET /api/healthz", "/api/health"},
		{"POST /v1/runs", "/api/v1/runs"},
		{"POST /runs", "/api/v1/runs"},
		{"GET /api/v1/runs/r1/modules/a%2Fb/c/d/log", "/api/v1/runs/{id}/modules/{module}/logs"},
		{"GET /a/b/c/d/e/f/g/h", "/api/"},
	} {
		p := problem(t, ask(t, n.public.URL, tc.what, ""), 404, pipeline.NotFound)
		if !strings.Contains(p.Detail, "nearest is "+tc.nearest) {
			t.Errorf("%s: %s", tc.what, p.Detail)
		}
	}
	for what, allow := range map[string]string{
		"DELETE /api/v1/runs":                           "GET, HEAD, POST",
		"PATCH /api/v1/runs/r1":                         "GET, HEAD",
		"OPTIONS /api/v1/tokens":                        "GET, HEAD, POST",
		"GET /api/execution/execute":                    "POST",
		"POST /api/v1/runs/r1/artifacts/m/a/b/c":        "GET, HEAD",
		"PUT /api/v1/runs/r1/modules/b%5Bx%2Cy%5D/logs": "GET, HEAD",
	} {
		r := ask(t, n.public.URL, what, "")
		problem(t, r, http.StatusMethodNotAllowed, pipeline.Invalid)
		if got := r.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", what, got, allow)
		}
	}
}

func TestErrors_panic(t *testing.T) {
	n := newNode(t, &apitest.Backend{Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) {
		panic("boom")
	}}})
	for range 2 { // the process lives
		p := problem(t, ask(t, n.public.URL, "GET /api/v1/runs", "", asRead, "X-Request-Id: my-id"), 500, pipeline.Internal)
		if p.RequestID != "my-id" || strings.Contains(p.Detail, "boom") {
			t.Errorf("got %+v", p)
		}
	}
}

// The five protocol calls say in their own words what went wrong.
func TestErrors_protocolBodies(t *testing.T) {
	fail := pipeline.Errorf(pipeline.NotFound, "execution e1: there is none")
	n := newNode(t, &apitest.Backend{
		Executions: apitest.Executions{ExecuteFunc: func(_ context.Context, _ api.Subject, in wire.ExecuteRequest, async bool) (wire.ExecuteResponse, bool, error) {
			switch in.ExecutionID {
			case "bad":
				return wire.ExecuteResponse{}, false, pipeline.Errorf(pipeline.Conflict, "it runs already with another module")
			case "fails":
				return wire.ExecuteResponse{ExecutionID: "fails", ErrorMessage: "exit code 3", ExceptionType: "failed", StackTrace: "…"}, true, nil
			}
			return wire.ExecuteResponse{ExecutionID: in.ExecutionID, Success: true}, !async, nil
		},
			CancelExecutionFunc: func(context.Context, api.Subject, wire.CancelExecution) error { return fail }},
		Workers: apitest.Workers{RegisterFunc: func(context.Context, api.Subject, wire.RegisterRequest) (wire.RegisterResponse, error) {
			return wire.RegisterResponse{}, pipeline.Errorf(pipeline.Invalid, "endpoint: want a URL")
		}},
	})
	for _, tc := range []struct {
		what, body string
		status     int
		want       string
	}{
		{"POST /api/execution/execute", `{"executionId":"ok","moduleTypeName":"m","unknownField":1}`, 200, `"success":true`},
		{"POST /api/execution/execute", `{"executionId":"fails"}`, 500, `"errorMessage":"exit code 3","exceptionType":"failed","stackTrace":"…"`},
		{"POST /api/execution/execute", `{"executionId":"bad"}`, 409, `"errorMessage":"it runs already with another module","exceptionType":"conflict"`},
		{"POST /api/execution/execute", `{"executionId":"bad`, 400, `"exceptionType":"invalid"`},
		{"POST /api/execution/execute", `{"executionId":"a\u0000"}`, 400, `"success":false`},
		{"POST /api/execution/execute", `{"moduleTypeName":"m"}`, 400, `"errorMessage":"executionId: expected`},
		{"POST /api/execution/execute", `{"executionId":"r1/build[a,b]/2"}`, 200, `"executionId":"r1/build[a,b]/2"`},
		{"POST /api/execution/cancel", `{"executionId":"e1"}`, 404, `{"success":false,"errorMessage":"execution e1: there is none"}`},
		{"POST /api/workers/register", `{"workerNode":{"id":"w1"}}`, 400, `{"success":false,"errorMessage":"endpoint: want a URL"}`},
	} {
		r := ask(t, n.public.URL, tc.what, tc.body, asAdmin, isJSON)
		if body := text(t, r); r.StatusCode != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s: got %d %s, want %d with %s", tc.what, tc.body, r.StatusCode, body, tc.status, tc.want)
		}
	}

	r := ask(t, n.public.URL, "POST /api/execution/execute", `{"executionId":"ok"}`, asSubmit, isJSON, "Prefer: wait=10, Respond-Async")
	if r.StatusCode != 202 || r.Header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}

	c := newClient(t, "submit", n.public.URL)
	out, done, err := c.Executions().Execute(t.Context(), wire.ExecuteRequest{ExecutionID: "fails"}, false)
	if err != nil || !done || out.Success || out.ErrorMessage != "exit code 3" {
		t.Errorf("a failed module: got %+v, %v, %v", out, done, err)
	}
	if _, done, err := c.Executions().Execute(t.Context(), wire.ExecuteRequest{ExecutionID: "ok"}, true); err != nil || done {
		t.Errorf("async: got %v, %v", done, err)
	}
	if _, _, err := c.Executions().Execute(t.Context(), wire.ExecuteRequest{ExecutionID: "bad"}, false); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("got %v", err)
	}
	if err := c.Executions().Cancel(t.Context(), wire.CancelExecution{ExecutionID: "e1"}); !errors.Is(err, fail) {
		t.Errorf("got %v", err)
	}
}
