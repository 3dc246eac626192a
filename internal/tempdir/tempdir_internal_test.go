package tempdir

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A directory goes when its process is gone, unless somebody has it locked whose
// number is only not known here.
func TestMake(t *testing.T) {
	base := t.TempDir()
	own, err := Make(base, "test")
	if err != nil {
		t.Fatal(err)
	}
	const nobody = "pipelined-test-2147483646-" // beyond the greatest process number
	for _, name := range []string{nobody + "dead", nobody + "locked", "pipelined-other-2147483646-x", "pipelined-test-x-y"} {
		if err := os.MkdirAll(filepath.Join(base, name, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := lockDirectory(filepath.Join(base, nobody+"locked"))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if _, err := Make(base, "test"); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, n := range names {
		left = append(left, n.Name())
	}
	if got := strings.Join(left, " "); len(left) != 5 || strings.Contains(got, "dead") || !strings.Contains(got, filepath.Base(own)) {
		t.Errorf("left: %s", got)
	}
}
