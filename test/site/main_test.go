package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSite makes the site of the pages as they are, which checks their links, and
// wants every page to be reached from the index.
func TestSite(t *testing.T) {
	out := t.TempDir()
	if err := run("../..", filepath.Join(out, "site")); err != nil {
		t.Fatal(err)
	}
	pages, err := readPages("../..")
	if err != nil {
		t.Fatal(err)
	}

	for _, p := range pages {
		text, err := os.ReadFile(filepath.Join(out, "site", url(p.path)))
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(text), "<h1") {
			t.Errorf("%s has no title", url(p.path))
		}
	}

	listed := map[string]bool{}
	for _, g := range index(pages, pages[0]) {
		for _, i := range g.Items {
			listed[i.URL] = true
		}
	}
	for _, p := range pages {
		if u := url(p.path); !listed[u] && !strings.HasPrefix(p.path, "docs/adr/0") && p.path != "docs/README.md" && !strings.HasPrefix(p.path, "examples/") {
			t.Errorf("docs/README.md does not name %s", p.path)
		}
	}

	search, err := os.ReadFile(filepath.Join(out, "site", "search.js"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(search), `"url":"docs/howto/external-worker.html","page":"Write a worker in another language","id":"heartbeatmessage"`) {
		t.Error("search.js does not have the section HeartbeatMessage")
	}
}

func TestCheckLinks(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "b.md"), []byte("# B\n\n## Second part\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"b.md": "", "b.md#second-part": "", "#a": "", "https://example.com": "",
		"c.md": "leads nowhere", "b.md#third": "names no heading", "#z": "names no heading",
	} {
		src := []byte("# A\n\n[x](" + link + ")\n")
		if err := os.WriteFile(filepath.Join(root, "a.md"), src, 0o600); err != nil {
			t.Fatal(err)
		}
		var pages []*page
		for _, name := range []string{"a.md", "b.md"} {
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			p, err := parse(name, text, []string{"a.md", "b.md"})
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, p)
		}
		err := errors.Join(checkLinks(root, pages)...)
		if got := err != nil; got != (want != "") || got && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", link, err, want)
		}
	}
}
