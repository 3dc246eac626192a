package faults

import (
	"context"
	"os"
	"os/exec"
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
		t.Skip("no mounts here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})

	file := filepath.Join(t.TempDir(), "p.hcl")
	text := `pipeline "full" {
  module "fill" {
    script  = "head -c 30000000 /dev/urandom > big"
    outputs = ["big"]
  }
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Bin, "run", "-data-dir", filepath.Join(dir, "run"), file)
	cmd.Env = c.Env
	out, err := cmd.CombinedOutput()
	last := string(out[strings.LastIndexByte(strings.TrimSpace(string(out)), '\n')+1:])
	if err == nil || ctx.Err() != nil || !strings.Contains(last, "pipelined: ") || !strings.Contains(last, dir) {
		t.Errorf("%v, %v\n%s", err, ctx.Err(), out)
	}
}
