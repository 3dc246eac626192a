package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// toolCache is a backend that keeps entries in memory, and what ended each put.
type toolCache struct {
	mu      sync.Mutex // guards following
	entries map[pipeline.ToolKey]pipeline.ToolEntry
	bytes   map[pipeline.ToolKey][]byte
	ended   []error
}

func newToolCache() *toolCache {
	return &toolCache{entries: map[pipeline.ToolKey]pipeline.ToolEntry{}, bytes: map[pipeline.ToolKey][]byte{}}
}

func (m *toolCache) put(_ context.Context, e pipeline.ToolEntry, r io.Reader) error {
	b, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, err)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); e.Space == pipeline.ToolContents && hex.EncodeToString(sum[:]) != e.Key {
		return pipeline.Errorf(pipeline.Invalid, "the bytes have another digest")
	}
	e.Size = int64(len(b))
	m.entries[e.ToolKey], m.bytes[e.ToolKey] = e, b
	return nil
}

func (m *toolCache) find(_ context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*pipeline.ToolEntry, len(keys))
	for i, k := range keys {
		if e, ok := m.entries[k]; ok {
			out[i] = &e
		}
	}
	return out, nil
}

func (m *toolCache) open(_ context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok {
		return nil, e, pipeline.Errorf(pipeline.NotFound, "nothing is kept under %s", k.Key)
	}
	return apitest.Bytes(m.bytes[k]), e, nil
}

func (m *toolCache) remove(_ context.Context, k pipeline.ToolKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, k)
	return nil
}

func (m *toolCache) backend() *apitest.Backend {
	return &apitest.Backend{RemoteCache: apitest.RemoteCache{OpenToolFunc: m.open, FindToolsFunc: m.find, PutToolFunc: m.put, DeleteToolFunc: m.remove}}
}

var (
	someKey  = strings.Repeat("0123456789abcdef", 4)
	otherKey = strings.Repeat("fedcba9876543210", 4)
)

// What ccache and Bazel say, in the order in which they say it.
func TestTools_bazel(t *testing.T) {
	n := newNode(t, newToolCache().backend())
	ccache := "User-Agent: ccache/4.7.5"
	for _, prefix := range []string{"", "/team-a"} {
		path := prefix + "/ac/" + someKey
		if r := ask(t, n.public.URL, "GET "+path, "", asRead, ccache); r.StatusCode != 404 {
			t.Fatalf("%s: a miss is %d", path, r.StatusCode)
		}
		if r := ask(t, n.public.URL, "HEAD "+path, "", asRead, ccache); r.StatusCode != 404 {
			t.Errorf("%s: HEAD of a miss is %d", path, r.StatusCode)
		}
		if r := ask(t, n.public.URL, "PUT "+path, "result of"+prefix, asSubmit, ccache, "Content-Type: application/octet-stream"); r.StatusCode != 201 {
			t.Fatalf("%s: PUT is %d", path, r.StatusCode)
		}
	}
	for _, prefix := range []string{"", "/team-a"} {
		r := ask(t, n.public.URL, "GET "+prefix+"/ac/"+someKey, "", asRead)
		if got := text(t, r); r.StatusCode != 200 || got != "result of"+prefix {
			t.Errorf("%q: %d %q", prefix, r.StatusCode, got)
		}
		h := r.Header
		if h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", h)
		}
	}
	if r := ask(t, n.public.URL, "HEAD /ac/"+someKey, "", asRead); r.StatusCode != 200 || r.ContentLength != 9 || text(t, r) != "" {
		t.Errorf("HEAD: %d, %d bytes", r.StatusCode, r.ContentLength)
	}
	if r := ask(t, n.public.URL, "DELETE /ac/"+someKey, "", asSubmit); r.StatusCode != 204 {
		t.Errorf("DELETE: %d", r.StatusCode)
	}
	if r := ask(t, n.public.URL, "GET /ac/"+someKey, "", asRead); r.StatusCode != 404 {
		t.Errorf("after DELETE: %d", r.StatusCode)
	}
	// Bytes under their digest, and others.
	sum := sha256.Sum256([]byte("output"))
	if r := ask(t, n.public.URL, "PUT /cas/"+hex.EncodeToString(sum[:]), "output", asSubmit); r.StatusCode != 201 {
		t.Errorf("PUT of contents: %d", r.StatusCode)
	}
	problem(t, ask(t, n.public.URL, "PUT /cas/"+someKey, "output", asSubmit), 422, pipeline.Invalid)
	problem(t, ask(t, n.public.URL, "PUT /ac/"+someKey, "part", asSubmit, "Content-Range: bytes 0-3/9"), 400, pipeline.Invalid)
}

// Other spellings of a key are refused with what would be right.
func TestTools_keys(t *testing.T) {
	n := newNode(t, newToolCache().backend())
	for path, want := range map[string]string{
		"/ac/" + strings.ToUpper(someKey):                         someKey,
		"/cas/" + strings.ToUpper(someKey):                        someKey,
		"/ac/abc":                                                 "expected 64",
		"/ac/" + someKey + "0":                                    "expected 64",
		"/ac/" + someKey[:63] + "g":                               "expected 64",
		"/ac/sha256:" + someKey:                                   "expected 64",
		"/ac/" + someKey[:63] + "%41":                             someKey[:63] + "a",
		"/a%20b/ac/" + someKey:                                    "team",
		"/v8/artifacts/a%20b":                                     "hash",
		"/v8/artifacts/abc?slug=a%2Fb":                            "team",
		"/v8/artifacts/" + strings.Repeat("x", 129):               "hash",
		"/v8/artifacts/abc?teamId=" + strings.Repeat("x", 129):    "team",
		"/" + strings.Repeat("x", 129) + "/ac/" + someKey:         "team",
		"/v8/artifacts/abc?teamId=team_" + strings.Repeat("é", 3): "team",
	} {
		for _, method := range []string{"GET", "PUT"} {
			if p := problem(t, ask(t, n.public.URL, method+" "+path, "x", asSubmit), 400, pipeline.Invalid); !strings.Contains(p.Detail, want) {
				t.Errorf("%s %s: %q, want it to say %q", method, path, p.Detail, want)
			}
		}
	}
}

// A body in chunks, of a client that asks before it sends.
func TestTools_chunkedAfterContinue(t *testing.T) {
	m := newToolCache()
	n := newNode(t, m.backend())
	for token, want := range map[string]string{"submit": "HTTP/1.1 201", "read": "HTTP/1.1 403"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.public.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT /ac/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", someKey, token)
		in := bufio.NewReader(conn)
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if token == "submit" {
			if !strings.HasPrefix(line, "HTTP/1.1 100") {
				t.Fatalf("before the body: %q", line)
			}
			_, _ = in.ReadString('\n') // the empty line after it
			fmt.Fprint(conn, "4\r\nin p\r\n5\r\narts!\r\n0\r\n\r\n")
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasPrefix(line, want) {
			t.Errorf("as %s: %q, want %s", token, line, want)
		}
	}
	if got := text(t, ask(t, n.public.URL, "GET /ac/"+someKey, "", asRead)); got != "in parts!" {
		t.Errorf("kept %q", got)
	}
}

// A body that breaks off leaves nothing, however it was announced.
func TestTools_aborted(t *testing.T) {
	m := newToolCache()
	n := newNode(t, m.backend())
	for i, head := range []string{"Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.public.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT /ac/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s", someKey, asSubmit, head)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // the server has ended the request then
		conn.Close()
		m.mu.Lock()
		if len(m.ended) != i+1 || m.ended[i] == nil || len(m.entries) > 0 {
			t.Errorf("%q: ended with %v, %d entries", head, m.ended, len(m.entries))
		}
		m.mu.Unlock()
	}
}

// Bytes reach the node while the client still sends: none are collected first.
func TestTools_streamed(t *testing.T) {
	first := make(chan struct{})
	b := &apitest.Backend{RemoteCache: apitest.RemoteCache{PutToolFunc: func(_ context.Context, _ pipeline.ToolEntry, r io.Reader) error {
		if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
			return err
		}
		close(first)
		_, err := io.Copy(io.Discard, r)
		return err
	}}}
	n := newNode(t, b)
	pr, pw := io.Pipe()
	go func() {
		_, _ = pw.Write([]byte("first"))
		select {
		case <-first:
			_, _ = pw.Write([]byte(" and the rest"))
			pw.Close()
		case <-time.After(30 * time.Second):
			pw.CloseWithError(errors.New("the first bytes did not arrive"))
		}
	}()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", n.public.URL+"/ac/"+someKey, pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer submit")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestTools_limits(t *testing.T) {
	n := newNode(t, newToolCache().backend(), func(c *api.Config) { c.MaxEntry = 10 })
	if r := ask(t, n.public.URL, "PUT /ac/"+someKey, "0123456789", asSubmit); r.StatusCode != 201 {
		t.Errorf("ten bytes: %d", r.StatusCode)
	}
	problem(t, ask(t, n.public.URL, "PUT /ac/"+otherKey, "0123456789a", asSubmit), 413, pipeline.TooLarge)
	req, err := http.NewRequest("PUT", n.public.URL+"/ac/"+otherKey, io.MultiReader(strings.NewReader("01234"), strings.NewReader("56789a")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer submit")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // in chunks
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	problem(t, resp, 413, pipeline.TooLarge)
	if r := ask(t, n.public.URL, "GET /ac/"+otherKey, "", asRead); r.StatusCode != 404 {
		t.Errorf("too large an entry is kept: %d", r.StatusCode)
	}
}

func TestTools_full(t *testing.T) {
	b := &apitest.Backend{RemoteCache: apitest.RemoteCache{PutToolFunc: func(context.Context, pipeline.ToolEntry, io.Reader) error {
		return &api.NoSpaceError{Reason: "disk low: 1 MiB are free"}
	}}}
	n := newNode(t, b)
	for _, path := range []string{"/ac/" + someKey, "/v8/artifacts/abc"} {
		if p := problem(t, ask(t, n.public.URL, "PUT "+path, "x", asSubmit), 507, pipeline.Unavailable); p.Detail != "disk low: 1 MiB are free" {
			t.Errorf("%s: %q", path, p.Detail)
		}
	}
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// A token comes as the password of an address too, on these calls alone.
func TestTools_basic(t *testing.T) {
	n := newNode(t, newToolCache().backend())
	for _, tc := range []struct {
		what, auth string
		status     int
	}{
		{"PUT /ac/" + someKey, basic("anybody", "submit"), 201},
		{"PUT /ac/" + someKey, basic("", "submit"), 201},
		{"PUT /ac/" + someKey, basic("anybody", "read"), 403},
		{"GET /ac/" + someKey, basic("anybody", "read"), 200},
		{"GET /ac/" + someKey, basic("read", "wrong"), 401},
		{"GET /ac/" + someKey, basic("read", ""), 401},
		{"GET /ac/" + someKey, "Authorization: Basic ???", 401},
		{"GET /ac/" + someKey, "Authorization: Basic", 401},
		{"GET /v8/artifacts/status", basic("x", "read"), 200},
		{"GET /api/v1/cache/tools", basic("x", "read"), 401},
		{"GET /api/v1/runs", basic("x", "admin"), 401},
	} {
		r := ask(t, n.public.URL, tc.what, "x", tc.auth)
		if r.StatusCode != tc.status {
			t.Errorf("%s with %s: %d, want %d", tc.what, tc.auth, r.StatusCode, tc.status)
		}
		if c := r.Header.Get("WWW-Authenticate"); strings.Contains(c, "Basic") {
			t.Errorf("%s: basic authentication is asked for, and a browser would keep it: %q", tc.what, c)
		}
	}
}

// What Turborepo says.
func TestTools_turbo(t *testing.T) {
	n := newNode(t, newToolCache().backend())
	do := func(what, body string, headers ...string) *http.Response {
		return ask(t, n.public.URL, what, body, append([]string{asSubmit, "User-Agent: turbo 2.11.11 rustc linux x86_64"}, headers...)...)
	}
	if got := text(t, do("GET /v8/artifacts/status?slug=web", "")); !strings.Contains(got, `"status":"enabled"`) {
		t.Errorf("status: %s", got)
	}
	r := do("PUT /v8/artifacts/abc123?slug=web", "tar", "X-Artifact-Duration: 1500", "X-Artifact-Tag: c2lnbmVk", "Content-Type: application/octet-stream")
	var stored wire.TurboStored
	if err := json.NewDecoder(r.Body).Decode(&stored); err != nil || r.StatusCode != 202 || len(stored.URLs) != 1 {
		t.Fatalf("PUT: %d, %+v, %v", r.StatusCode, stored, err)
	}
	for _, method := range []string{"GET", "HEAD"} {
		r := do(method+" /v8/artifacts/abc123?slug=web", "")
		if r.StatusCode != 200 || r.ContentLength != 3 || r.Header.Get("X-Artifact-Duration") != "1500" || r.Header.Get("X-Artifact-Tag") != "c2lnbmVk" {
			t.Errorf("%s: %d, %v", method, r.StatusCode, r.Header)
		}
		if got := text(t, r); got != map[string]string{"GET": "tar", "HEAD": ""}[method] {
			t.Errorf("%s: %q", method, got)
		}
		for _, other := range []string{"", "?slug=app", "?teamId=web2"} {
			if r := do(method+" /v8/artifacts/abc123"+other, ""); r.StatusCode != 404 {
				t.Errorf("%s of another team: %d", method, r.StatusCode)
			}
		}
	}
	var found map[string]*wire.TurboArtifact
	r = do("POST /v8/artifacts?slug=web", `{"hashes":["abc123","none"],"later":1}`, isJSON)
	if err := json.NewDecoder(r.Body).Decode(&found); err != nil || len(found) != 2 || found["none"] != nil || found["abc123"] == nil ||
		*found["abc123"] != (wire.TurboArtifact{Size: 3, TaskDurationMs: 1500, Tag: "c2lnbmVk"}) {
		t.Errorf("query: %+v, %v", found, err)
	}
	for what, status := range map[string]int{
		`POST /v8/artifacts {"hashes":["a b"]}`:                                   400,
		`POST /v8/artifacts {"hashes":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`: 400,
		`POST /v8/artifacts/events?slug=web [{"event":"HIT","hash":"abc123"}]`:    200,
		`POST /v8/artifacts/events [`:                                             400,
		`POST /v8/artifacts/events "` + strings.Repeat("x", 1<<20) + `"`:          413,
	} {
		method, rest, _ := strings.Cut(what, " ")
		path, body, _ := strings.Cut(rest, " ")
		if r := do(method+" "+path, body, isJSON); r.StatusCode != status {
			t.Errorf("%.80s: %d, want %d", what, r.StatusCode, status)
		}
	}
	for _, header := range []string{"X-Artifact-Duration: soon", "X-Artifact-Duration: -1", "X-Artifact-Duration: 1.5", "X-Artifact-Tag: caf\xe9", "X-Artifact-Tag: " + strings.Repeat("x", 1025)} {
		problem(t, do("PUT /v8/artifacts/abc", "x", header), 400, pipeline.Invalid)
	}
}

// badBlob gives some bytes and then an error.
type badBlob struct{ *bytes.Reader }

func (b badBlob) Size() int64  { return b.Reader.Size() }
func (b badBlob) Close() error { return nil }
func (b badBlob) Read(p []byte) (int, error) {
	if b.Len() <= 5 {
		return 0, pipeline.Errorf(pipeline.NotFound, "the rest is nowhere")
	}
	return b.Reader.Read(p[:min(len(p), 5)])
}

// An answer whose bytes end too early is cut, so that nobody takes it for whole.
func TestTools_cut(t *testing.T) {
	b := &apitest.Backend{RemoteCache: apitest.RemoteCache{OpenToolFunc: func(_ context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
		return badBlob{bytes.NewReader(make([]byte, 20))}, pipeline.ToolEntry{ToolKey: k, Size: 20}, nil
	}}}
	n := newNode(t, b)
	r := ask(t, n.public.URL, "GET /ac/"+someKey, "", asRead)
	if got, err := io.ReadAll(r.Body); err == nil || r.ContentLength != 20 {
		t.Errorf("%d bytes of %d without an error", len(got), r.ContentLength)
	}
}

func TestTools_list(t *testing.T) {
	var asked string
	b := &apitest.Backend{RemoteCache: apitest.RemoteCache{ListToolsFunc: func(_ context.Context, kind string, limit int, after pipeline.ToolKey) (wire.ToolList, error) {
		asked = fmt.Sprintf("%s%d %s", kind, limit, after)
		return wire.ToolList{}, nil
	}}}
	n := newNode(t, b)
	if got := text(t, ask(t, n.public.URL, "GET /api/v1/cache/tools?kind=turbo&limit=7&cursor=turbo/web/abc", "", asRead)); asked != "turbo7 turbo/web/abc" || got != `{"entries":[]}` {
		t.Errorf("asked for %q, answered %s", asked, got)
	}
	for _, q := range []string{"kind=results", "limit=0", "limit=1001", "cursor=x", "cursor=ac//abc"} {
		problem(t, ask(t, n.public.URL, "GET /api/v1/cache/tools?"+q, "", asRead), 400, pipeline.Invalid)
	}
	for _, body := range []string{`{"kind":"odd","all":true}`, `{"kind":"bazel","pipeline":"p"}`, `{"kind":"bazel"}`} {
		problem(t, ask(t, n.public.URL, "POST /api/v1/cache/prune", body, asAdmin, isJSON), 400, pipeline.Invalid)
	}
}
