package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
)

// TestRoutes compares the table in docs/http.md with the calls that there
// are: who may make them, and what they are for.
func TestRoutes(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/http.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|DELETE) \\S+)` \\| ([a-z, ]+) \\| (\\S.*) \\|$")
	said, texts := map[string]string{}, map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		said[m[1]], texts[m[1]] = m[2], m[3]
	}
	for _, r := range api.Routes() {
		call := r.Method + " " + r.Pattern
		want := string(r.Role)
		if want == "" {
			want = "none"
		}
		if r.Worker {
			want += ", worker"
		}
		switch got, ok := said[call]; {
		case !ok:
			t.Errorf("docs/http.md lacks %s (%s)", call, r.Summary)
		case got != want:
			t.Errorf("docs/http.md says that %s is for %s; it is for %s", call, got, want)
		}

		// The page may add something to the summary.
		if more, ok := strings.CutPrefix(texts[call], r.Summary); !ok || more != "" && !strings.HasPrefix(more, "; ") && !strings.HasPrefix(more, " (") {
			t.Errorf("docs/http.md says of %s %q, and the table of routes %q", call, texts[call], r.Summary)
		}
		delete(said, call)
	}
	for call := range said {
		t.Errorf("docs/http.md has %s, which does not exist", call)
	}
	if strings.Count(string(page), "```")%2 != 0 {
		t.Error("docs/http.md has a block that is never closed")
	}
}
