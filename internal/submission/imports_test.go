package submission

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An import is a regular file of the workspace, also behind links.
func TestReadImport(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "secret.hcl", "locals {}")
	writeFile(t, dir, "ws/lib/a.hcl", "text")
	writeFile(t, dir, "ws/ci/p.hcl", "")
	ci := filepath.Join(dir, "ws/ci")
	for name, to := range map[string]string{"inner.hcl": "../lib/a.hcl", "outer.hcl": "../../secret.hcl", "absolute.hcl": filepath.Join(dir, "secret.hcl"), "loop.hcl": "loop.hcl"} {
		if err := os.Symlink(to, filepath.Join(ci, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(ci, "pipe.hcl"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(ci, "dir.hcl"), 0o700); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"../lib/a.hcl", "inner.hcl"} {
		if text, err := readImport(ci)("..", "p.hcl", name); err != nil || string(text) != "text" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}

	// Each file is read once, whatever it is called.
	read := readImport(ci)
	for _, name := range []string{"inner.hcl", "../lib/a.hcl", "../ci/inner.hcl"} {
		want := "text"
		if name != "inner.hcl" {
			want = "# the same file as inner.hcl\n"
		}
		if text, err := read("..", "p.hcl", name); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if text, err := read("..", "other.hcl", "../lib/a.hcl"); err != nil || string(text) != "text" {
		t.Errorf("for another pipeline: %q, %v", text, err)
	}
	for name, want := range map[string]string{"outer.hcl": "a link in its path is absolute, or leads out of the workspace", "absolute.hcl": "a link in its path", "pipe.hcl": "no regular file", "dir.hcl": "is a directory", "none.hcl": "no such file", "inner.hcl/b.hcl": "does not exist", "loop.hcl": "too many"} {
		if text, err := read("..", "p.hcl", name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "statat") {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if text, err := read(".", "p.hcl", "../lib/a.hcl"); err == nil {
		t.Errorf("above the root: %q", text)
	}
}
