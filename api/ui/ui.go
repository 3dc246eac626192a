// Package ui serves the dashboard: one page, its script and its fonts, which are
// part of the binary. It knows nothing of the cluster; the page asks the API like
// every other caller. src holds the sources, and make ui rebuilds dist from them.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:dist
var dist embed.FS

// pages are the first segments of the addresses that the page answers by itself.
var pages = map[string]bool{"": true, "runs": true, "approvals": true, "pipelines": true, "schedules": true, "cluster": true, "cache": true, "locks": true, "secrets": true}

const (
	assetsPath   = "/assets/"
	licencesPath = assetsPath + "LICENSES.txt"
)

// Dashboard serves the page and its files. It is safe for concurrent use.
type Dashboard struct {
	files map[string]*file
	shell *file
	// policy of the page, up to the addresses that it may connect to.
	policy string
	nodes  func() []string
}

// file is one file of the dashboard. Texts are embedded compressed, which is what almost
// every browser gets; for others they are decompressed when they are first asked for.
type file struct {
	contentType string
	plain       func() []byte
	zipped      []byte // nil if compression gains nothing
}

// New reads the embedded files. nodes gives the origins of the members of the
// cluster, to which the page may connect besides the node that served it; nil
// gives none.
func New(nodes func() []string) *Dashboard {
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		panic(err) // it is embedded
	}

	d := &Dashboard{files: map[string]*file{}, nodes: nodes}
	for _, e := range entries {
		content, err := fs.ReadFile(dist, "dist/"+e.Name())
		if err != nil {
			panic(err)
		}
		name, zipped := strings.CutSuffix(e.Name(), ".gz")
		d.files[name] = newFile(name, content, zipped)
	}
	d.shell = d.files["index.html"]
	delete(d.files, "index.html")
	d.policy = policy(d.shell.plain())

	return d
}

func newFile(name string, content []byte, zipped bool) *file {
	f := &file{plain: func() []byte { return content }, contentType: mime.TypeByExtension(path.Ext(name))}
	if zipped {
		f.zipped, f.plain = content, sync.OnceValue(func() []byte { return unzip(content) })
	}
	switch path.Ext(name) {
	case ".woff2":
		f.contentType = "font/woff2" // the types of the machine may not have it
	case ".js":
		f.contentType = "text/javascript; charset=utf-8"
	case ".txt":
		f.contentType = "text/plain; charset=utf-8"
	case ".html":
		f.contentType = "text/html; charset=utf-8"
	}

	return f
}

func unzip(content []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		panic(err) // it is embedded
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}

	return plain
}

// policy allows the page what it has: its own script, fonts and images, and the
// one style sheet in it, by its digest. No other script or style runs, whatever
// a module wrote.
func policy(page []byte) string {
	_, rest, _ := bytes.Cut(page, []byte("<style>"))
	style, _, _ := bytes.Cut(rest, []byte("</style>"))
	sum := sha256.Sum256(style)

	return "default-src 'none'; script-src 'self'; font-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; connect-src 'self'"
}

// Serves reports whether a path is one of the dashboard's.
func (d *Dashboard) Serves(path string) bool {
	if name, ok := strings.CutPrefix(path, assetsPath); ok {
		return d.files[name] != nil
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return pages[first]
}

// ServeHTTP answers a GET or HEAD of a path that Serves accepts.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer") // addresses name pipelines and modules
	h.Set("Cross-Origin-Opener-Policy", "same-origin")

	if name, ok := strings.CutPrefix(r.URL.Path, assetsPath); ok {
		f := d.files[name]
		if r.URL.Path == licencesPath {
			h.Set("Cache-Control", "no-cache")
		} else {
			h.Set("Cache-Control", "public, max-age=31536000, immutable") // the name has the digest
		}
		f.serve(w, r)
		return
	}

	// The page names the files of this version: it is asked for each time.
	h.Set("Cache-Control", "no-cache")
	policy := d.policy
	if d.nodes != nil {
		for _, origin := range d.nodes() {
			policy += " " + origin
		}
	}
	h.Set("Content-Security-Policy", policy)
	d.shell.serve(w, r)
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	var body []byte
	if f.zipped != nil {
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body = f.zipped
		}
	}
	if body == nil {
		body = f.plain()
	}

	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the caller may be gone
	}
}

func acceptsGzip(values []string) bool {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(item), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(params, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}
