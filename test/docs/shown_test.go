package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shownBy is a test as docs/failure-modes.md names it: directory.Test.
var shownBy = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)`")

// TestFailureModes_testsExist wants every test that docs/failure-modes.md
// names to exist, and every row to say what shows it.
func TestFailureModes_testsExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/failure-modes.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, line := range strings.Split(string(page), "\n") {
		if strings.HasPrefix(line, "| ") && strings.HasSuffix(line, "| |") {
			t.Errorf("docs/failure-modes.md:%d does not say what shows it", i+1)
		}
		for _, m := range shownBy.FindAllStringSubmatch(line, -1) {
			n++
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("docs/failure-modes.md:%d: there is no %s in %s", i+1, m[2], m[1])
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d tests are named", n)
	}
}

func hasTest(t *testing.T, directory, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, directory, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(src), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
