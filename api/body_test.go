package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func gzipped(b []byte) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.String()
}

func zstded(tb testing.TB, b []byte) string {
	tb.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll(b, nil))
}

func digestOf(b []byte) pipeline.Digest {
	sum := sha256.Sum256(b)
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

func TestBody_encodings(t *testing.T) {
	var got string
	b := listing()
	b.Runs.SubmitFunc = func(_ context.Context, _ api.Subject, _ string, in wire.SubmitRequest) (wire.RunCreated, error) {
		got = in.Source
		return wire.RunCreated{ID: "r1"}, nil
	}
	n := newNode(t, b)
	source := strings.Repeat("module ", 1000)
	doc, _ := json.Marshal(wire.SubmitRequest{Source: source})
	bomb := append([]byte(`{"source":"`), bytes.Repeat([]byte{'a'}, 8<<20)...)
	for _, tc := range []struct {
		name, encoding, body string
		status               int
	}{
		{"plain", "", string(doc), 201},
		{"identity", "identity", string(doc), 201},
		{"gzip", "gzip", gzipped(doc), 201},
		{"zstd", "ZSTD", zstded(t, doc), 201},
		{"brotli", "br", string(doc), 415},
		{"twice", "gzip, gzip", gzipped([]byte(gzipped(doc))), 415},
		{"not gzip at all", "gzip", string(doc), 400},
		{"not zstd at all", "zstd", string(doc), 400},
		{"gzip cut short", "gzip", gzipped(doc)[:20], 400},
		{"zstd cut short", "zstd", zstded(t, doc)[:20], 400},
		{"gzip bomb", "gzip", gzipped(bomb), 413},
		{"zstd bomb", "zstd", zstded(t, bomb), 413},
		{"too large", "", `{"source":"` + strings.Repeat("a", 2<<20) + `"}`, 413},
		{"empty", "", "", 400},
		{"empty when decompressed", "gzip", gzipped(nil), 400},
	} {
		headers := []string{asSubmit, isJSON}
		if tc.encoding != "" {
			headers = append(headers, "Content-Encoding: "+tc.encoding)
		}
		got = ""
		r := ask(t, n.public.URL, "POST /api/v1/runs", tc.body, headers...)
		if r.StatusCode != tc.status || tc.status == 201 && got != source {
			t.Errorf("%s: got %d %s, want %d", tc.name, r.StatusCode, text(t, r), tc.status)
		}
	}
	// Other documents have half the room.
	r := ask(t, n.public.URL, "POST /api/v1/tokens", `{"name":"`+strings.Repeat("a", 1<<20)+`"}`, asAdmin, isJSON)
	problem(t, r, 413, pipeline.TooLarge)
}

func TestResponse_encodings(t *testing.T) {
	runs := make([]wire.RunSummary, 100)
	for i := range runs {
		runs[i] = wire.RunSummary{ID: "r1", Pipeline: "build"}
	}
	b := listing()
	b.Runs.RunsFunc = func(_ context.Context, q api.RunQuery) (wire.RunList, error) {
		return wire.RunList{Runs: runs[:q.Limit]}, nil
	}
	n := newNode(t, b)
	for _, tc := range []struct{ limit, accept, encoding string }{
		{"100", "gzip, zstd", "zstd"}, {"100", "gzip", "gzip"}, {"100", "", ""}, {"1", "gzip, zstd", ""},
	} {
		r := ask(t, n.public.URL, "GET /api/v1/runs?limit="+tc.limit, "", asRead, "Accept-Encoding: "+tc.accept)
		if got := r.Header.Get("Content-Encoding"); got != tc.encoding {
			t.Errorf("%+v: got %q", tc, got)
		}
		var body io.Reader = r.Body
		switch tc.encoding {
		case "gzip":
			body, _ = gzip.NewReader(r.Body)
		case "zstd":
			z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			body = z
		}
		var list wire.RunList
		if err := json.NewDecoder(body).Decode(&list); err != nil || len(list.Runs) == 0 {
			t.Errorf("%+v: %v", tc, err)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%+v: %v", tc, r.Header)
		}
	}
	list, err := newClient(t, "read", n.public.URL).Runs().List(t.Context(), clientList(100))
	if err != nil || len(list.Runs) != 100 {
		t.Errorf("through the client: %d, %v", len(list.Runs), err)
	}
	r := ask(t, n.public.URL, "HEAD /api/v1/runs?limit=1", "", asRead)
	if r.StatusCode != 200 || r.Header.Get("Content-Length") == "0" || text(t, r) != "" {
		t.Errorf("HEAD: %d %v", r.StatusCode, r.Header)
	}
}

// blobStore is a backend's blobs, in memory.
func blobStore(b *apitest.Backend, have map[pipeline.Digest][]byte) {
	b.Blobs.OpenBlobFunc = func(_ context.Context, d pipeline.Digest, _ bool) (api.Blob, error) {
		if data, ok := have[d]; ok {
			return apitest.Bytes(data), nil
		}
		return nil, pipeline.Errorf(pipeline.NotFound, "blob %s: there is none", d)
	}
	b.Blobs.MissingBlobsFunc = func(_ context.Context, ds []pipeline.Digest) (out []pipeline.Digest, _ error) {
		for _, d := range ds {
			if _, ok := have[d]; !ok {
				out = append(out, d)
			}
		}
		return out, nil
	}
	b.Blobs.PutBlobFunc = func(_ context.Context, d pipeline.Digest, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if digestOf(data) != d {
			return pipeline.Errorf(pipeline.Invalid, "blob %s: got other bytes", d)
		}
		have[d] = data
		return nil
	}
}

func TestBlobs(t *testing.T) {
	b := &apitest.Backend{}
	have := map[pipeline.Digest][]byte{}
	blobStore(b, have)
	b.Blobs.PutBundleFunc = func(_ context.Context, r io.Reader) (int, error) {
		data, err := io.ReadAll(r)
		if err == nil && string(data) == "damaged" {
			err = pipeline.Errorf(pipeline.Invalid, "bundle: it is damaged")
		}
		return len(data), err
	}
	n := newNode(t, b, func(c *api.Config) { c.MaxBlob, c.MaxBundle = 1<<20, 1<<20 })
	data := []byte("hello, blob")
	d := digestOf(data)
	path := "PUT /api/v1/blobs/" + string(d)
	octets := "Content-Type: application/octet-stream"

	problem(t, ask(t, n.public.URL, path, "other bytes", asSubmit, octets), 422, pipeline.Invalid)
	if len(have) != 0 {
		t.Error("other bytes were kept")
	}
	problem(t, ask(t, n.public.URL, path, strings.Repeat("x", 1<<20+1), asSubmit, octets), 413, pipeline.TooLarge)
	problem(t, ask(t, n.public.URL, path, string(data), asSubmit, isJSON), 415, pipeline.Invalid)
	problem(t, ask(t, n.public.URL, path, gzipped(bytes.Repeat([]byte("x"), 2<<20)), asSubmit, octets, "Content-Encoding: gzip"), 413, pipeline.TooLarge)
	if r := ask(t, n.public.URL, path, zstded(t, data), asWorker, octets, "Content-Encoding: zstd"); r.StatusCode != 201 || r.Header.Get("Etag") != `"`+string(d)+`"` {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	if r := ask(t, n.public.URL, path, string(data), asSubmit); r.StatusCode != 200 {
		t.Errorf("again: got %d", r.StatusCode)
	}
	problem(t, ask(t, n.public.URL, path, "other bytes", asSubmit, octets), 422, pipeline.Invalid)
	if string(have[d]) != string(data) {
		t.Error("the blob was replaced")
	}
	if r := ask(t, n.public.URL, "PUT /api/v1/blobs/"+string(pipeline.EmptyDigest), "", asSubmit); r.StatusCode != 201 {
		t.Errorf("empty blob: got %d %s", r.StatusCode, text(t, r))
	}

	get := "GET /api/v1/blobs/" + string(d)
	for _, tc := range []struct {
		header string
		status int
		want   string
	}{
		{"", 200, "hello, blob"},
		{"Range: bytes=7-", 206, "blob"},
		{"Range: bytes=0-4", 206, "hello"},
		{"Range: bytes=-4", 206, "blob"},
		{"Range: bytes=99-", 416, ""},
		{"Range: bytes=-5--1", 416, ""},
		{"Range: bytes=" + strings.Repeat("0-1,", 1000) + "2-3", 416, ""},
		{"If-None-Match: \"" + string(d) + "\"", 304, ""},
		{"If-None-Match: \"x\"", 200, "hello, blob"},
	} {
		r := ask(t, n.public.URL, get, "", asWorker, tc.header)
		if r.StatusCode == 416 {
			problem(t, r, 416, pipeline.Invalid)
			if r.Header.Get("Content-Range") != "bytes */11" || r.Header.Get("Etag") != "" {
				t.Errorf("%s: %v", tc.header, r.Header)
			}
			continue
		}
		if body := text(t, r); r.StatusCode != tc.status || body != tc.want {
			t.Errorf("%.40s: got %d %q, want %d %q", tc.header, r.StatusCode, body, tc.status, tc.want)
		}
		if r.Header.Get("Etag") != `"`+string(d)+`"` || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: %v", tc.header, r.Header)
		}
	}
	if r := ask(t, n.public.URL, "HEAD /api/v1/blobs/"+string(d), "", asRead); r.StatusCode != 200 || r.ContentLength != 11 || text(t, r) != "" {
		t.Errorf("HEAD: %d %d", r.StatusCode, r.ContentLength)
	}

	c := newClient(t, "submit", n.public.URL)
	lacking, err := c.Blobs().Missing(t.Context(), []pipeline.Digest{d, digestOf([]byte("x"))})
	if err != nil || len(lacking) != 1 || lacking[0] != digestOf([]byte("x")) {
		t.Errorf("missing: %v, %v", lacking, err)
	}
	problem(t, ask(t, n.public.URL, "POST /api/v1/blobs", "abc", asSubmit, isJSON), 415, pipeline.Invalid)
	problem(t, ask(t, n.public.URL, "POST /api/v1/blobs", "damaged", asSubmit, octets), 422, pipeline.Invalid)
	if stored, err := c.Blobs().PutBundle(t.Context(), strings.NewReader("abc")); err != nil || stored != 3 {
		t.Errorf("bundle: %d, %v", stored, err)
	}
	b.Blobs.BundleFunc = func(_ context.Context, want []pipeline.Digest) (func(io.Writer) error, error) {
		return func(w io.Writer) error {
			if _, err := io.WriteString(w, "bundle of "+strconv.Itoa(len(want))); err != nil || len(want) == 1 {
				return err
			}
			return io.ErrUnexpectedEOF
		}, nil
	}
	if in, err := c.Blobs().GetBundle(t.Context(), []pipeline.Digest{d}); err != nil {
		t.Error(err)
	} else if got, err := io.ReadAll(in); err != nil || string(got) != "bundle of 1" || in.Close() != nil {
		t.Errorf("bundle: %q, %v", got, err)
	}
	if in, err := c.Blobs().GetBundle(t.Context(), []pipeline.Digest{d, d}); err == nil {
		if got, err := io.ReadAll(in); err == nil {
			t.Errorf("a bundle that broke off: %q", got)
		}
		_ = in.Close()
	}
	for _, body := range []string{`{}`, `{"digests":["xyz"]}`, `{"digests":["` + strings.Repeat(string(d)+`","`, wire.MaxBundledBlobs) + string(d) + `"]}`} {
		problem(t, ask(t, n.public.URL, "POST /api/v1/blobs/get", body, asRead, isJSON), 400, pipeline.Invalid)
	}
	b.Blobs.MissingOfTreeFunc = func(_ context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
		return []pipeline.Digest{tree}, nil
	}
	if lacking, err := c.Blobs().MissingOf(t.Context(), d); err != nil || len(lacking) != 1 || lacking[0] != d {
		t.Errorf("missing of a tree: %v, %v", lacking, err)
	}
	for _, body := range []string{`{"tree":"xyz"}`, `{"tree":"` + string(d) + `","digests":["` + string(d) + `"]}`} {
		if r := ask(t, n.public.URL, "POST /api/v1/blobs/missing", body, asSubmit, isJSON); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d", body, r.StatusCode)
		}
	}
	if r := ask(t, n.public.URL, "POST /api/v1/blobs/missing", `{"digests":["xyz"]}`, asSubmit, isJSON); r.StatusCode != http.StatusBadRequest {
		t.Errorf("bad digest: got %d", r.StatusCode)
	}
}

func TestArtifacts(t *testing.T) {
	data := []byte("<script>alert(1)</script>")
	var module, file string
	n := newNode(t, &apitest.Backend{
		Artifacts: apitest.Artifacts{ArtifactsFunc: func(_ context.Context, _ pipeline.RunID, m string) (wire.ArtifactList, error) {
			return wire.ArtifactList{Artifacts: []wire.Artifact{{Module: m, Path: "bin/x", Mode: 0o755}}}, nil
		},
			OpenArtifactFunc: func(_ context.Context, _ pipeline.RunID, m, p string) (api.Blob, wire.Artifact, error) {
				module, file = m, p
				return apitest.Bytes(data), wire.Artifact{Module: m, Path: p, Mode: 0o755, Digest: digestOf(data)}, nil
			}},
	})
	c := newClient(t, "read", n.public.URL)
	for _, want := range []string{"bin/app", "a b/ü+%.html", "x;y/..z", "a,b/[c]"} {
		r, a, err := c.Artifacts().Open(t.Context(), "r1", "build[linux,amd64]", want)
		if err != nil {
			t.Errorf("%q: %v", want, err)
			continue
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(got) != string(data) || a.Mode != 0o755 || a.Digest != digestOf(data) || a.Size != int64(len(data)) {
			t.Errorf("%q: got %q, %+v, %v", want, got, a, err)
		}
		if module != "build[linux,amd64]" || file != want {
			t.Errorf("the backend was asked for %q %q", module, file)
		}
	}
	r := ask(t, n.public.URL, "GET /api/v1/runs/r1/artifacts/m/x.html", "", asRead, "Range: bytes=1-6")
	if r.StatusCode != 206 || text(t, r) != "script" || !strings.HasPrefix(r.Header.Get("Content-Disposition"), "attachment") || r.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	list, err := c.Artifacts().List(t.Context(), "r1", "m")
	if err != nil || len(list.Artifacts) != 1 || list.Artifacts[0].Module != "m" {
		t.Errorf("got %+v, %v", list, err)
	}
}
