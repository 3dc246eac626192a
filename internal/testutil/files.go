package testutil

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// WriteFile writes a file with exactly this mode, and makes the directories above
// it.
func WriteFile(tb testing.TB, path, text string, mode os.FileMode) {
	tb.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), mode)
	}
	if err == nil {
		err = os.Chmod(path, mode) // past the umask
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// WriteFiles writes files below dir, by path; "->x" makes a link to x.
func WriteFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for path, text := range files {
		full := filepath.Join(dir, path)
		target, link := strings.CutPrefix(text, "->")
		if !link {
			WriteFile(tb, full, text, 0o644)
			continue
		}

		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if err == nil {
			err = os.Symlink(target, full)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
