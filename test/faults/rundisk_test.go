package faults

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/test/harness"
)

// TestRun_diskFull wants a run whose disk is full to end, and to say so: no other node
// stands in for it.
func TestRun_diskFull(t *testing.T) {
	needsRoot(t)
	c := harness.New(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("needs mounts of tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})

	file := c.WriteFile("p.hcl", `pipeline "full" {
  module "fill" {
    script  = "head -c 30000000 /dev/urandom > big"
    outputs = ["big"]
  }
}
`)
	r := c.Command(c.Dir, harness.Wait, "run", "-data-dir", filepath.Join(dir, "run"), file).Wait()
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	if last := lines[len(lines)-1]; r.Code == 0 || !strings.Contains(last, "pipelined: ") || !strings.Contains(last, dir) {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
