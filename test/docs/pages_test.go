package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository, seen from this package's directory.
const root = "../.."

// block is a fenced block of a page.
type block struct {
	page string
	line int
	// info is what follows the fence: "sh", "sh run", "hcl", "hcl check".
	info, text string
}

// pipeline gives a block of the language as a whole pipeline: as it is, or
// inside of one.
func (b *block) pipeline() []byte {
	if strings.HasPrefix(b.text, "pipeline \"") {
		return []byte(b.text)
	}
	return []byte("pipeline \"example\" {\n" + b.text + "\n}\n")
}

// pages finds the project's own Markdown files.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, glob := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/*/*.md"} {
		m, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, m...)
	}
	if len(found) < 10 {
		t.Fatalf("only %d pages were found", len(found))
	}
	return found
}

// blocks gives the fenced blocks of all pages.
func blocks(t *testing.T) []block {
	t.Helper()
	var all []block
	for _, page := range pages(t) {
		src, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var open *block
		for i, line := range strings.Split(string(src), "\n") {
			if fence, ok := strings.CutPrefix(line, "```"); ok {
				if open == nil {
					open = &block{page: strings.TrimPrefix(page, root+"/"), line: i + 1, info: strings.TrimSpace(fence)}
				} else {
					all = append(all, *open)
					open = nil
				}
				continue
			}
			if open != nil {
				open.text += line + "\n"
			}
		}
		if open != nil {
			t.Errorf("%s:%d: the block is never closed", open.page, open.line)
		}
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)

// TestLinks wants every relative link to lead somewhere.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		src, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(src), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
			}
		}
	}
}

// TestDependencies compares docs/dependencies.md with the direct requirements.
func TestDependencies(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([a-z0-9.]+\.[a-z]+/\S+) \| \S.* \|$`)
	said := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		said[m[1]] = true
	}
	require := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	n := 0
	for _, m := range require.FindAllStringSubmatch(string(mod), -1) {
		n++
		if !said[m[1]] {
			t.Errorf("docs/dependencies.md has no sentence for %s", m[1])
		}
		delete(said, m[1])
	}
	if n == 0 {
		t.Error("no direct requirement was found in go.mod")
	}
	for name := range said {
		t.Errorf("docs/dependencies.md justifies %s, which go.mod does not require", name)
	}
}
