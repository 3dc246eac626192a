package ui_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/ui"
)

func get(t *testing.T, d *ui.Dashboard, path string, header ...string) *http.Response {
	t.Helper()
	if !d.Serves(path) {
		t.Fatalf("%s is not served", path)
	}
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)

	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDashboard_pages(t *testing.T) {
	d := ui.New(func() []string { return []string{"http://127.0.0.2:8080"} })

	for _, path := range []string{"/", "/runs", "/runs/7", "/runs/7/log", "/cluster"} {
		r := get(t, d, path)
		if got := r.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
			t.Errorf("%s is of type %s", path, got)
		}
		if got := r.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s may be cached: %s", path, got)
		}
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s allows too much: %s", path, policy)
		}
		if !strings.HasSuffix(policy, "connect-src 'self' http://127.0.0.2:8080") {
			t.Errorf("%s may connect elsewhere than to the members: %s", path, policy)
		}
	}

	for _, path := range []string{"/api", "/api/v1/runs", "/runsx", "/assets/", "/assets/index.html", "/index.html", "/assets/../ui.go"} {
		if d.Serves(path) {
			t.Errorf("%s is served", path)
		}
	}
}

// What the page needs comes from the node, and its names change with its bytes.
func TestDashboard_assets(t *testing.T) {
	d := ui.New(nil)
	page := body(t, get(t, d, "/"))

	if m := regexp.MustCompile(`(?i)(src|href)="(https?:)?//[^"]*|<script>|\son[a-z]+=|\sstyle="`).FindString(page); m != "" {
		t.Errorf("the page has %q", m)
	}
	assets := regexp.MustCompile(`/assets/[\w.-]+`).FindAllString(page, -1)
	if len(assets) < 3 {
		t.Fatalf("the page names %v", assets)
	}
	for _, path := range assets {
		r := get(t, d, path)
		if got := r.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		if !regexp.MustCompile(`-[0-9A-Z]{8}\.`).MatchString(path) {
			t.Errorf("%s has no digest in its name", path)
		}
	}

	licences := body(t, get(t, d, "/assets/LICENSES.txt"))
	for _, name := range []string{"preact", "@preact/signals", "@preact/signals-core", "Inter", "Geist Mono"} {
		if !strings.Contains(licences, name) {
			t.Errorf("the licence of %s is missing", name)
		}
	}
}

// The first view needs at most 200 KB over the wire.
func TestDashboard_size(t *testing.T) {
	d := ui.New(nil)
	page := get(t, d, "/", "Accept-Encoding", "br, gzip")
	if page.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("the page is not compressed")
	}

	wire := page.ContentLength
	unzipped, err := gzip.NewReader(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`/assets/[\w-]+\.(js|woff2)`).FindAllString(string(text), -1)
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		wire += get(t, d, path, "Accept-Encoding", "gzip").ContentLength
	}
	t.Logf("%d bytes", wire)
	if wire < 10_000 || wire > 200_000 {
		t.Errorf("the first view takes %d bytes", wire)
	}

	if plain := get(t, d, "/", "Accept-Encoding", "gzip;q=0"); plain.Header.Get("Content-Encoding") != "" {
		t.Error("a caller that refuses gzip got it")
	}
}
