//go:build linux

package executor

import (
	"strings"
	"syscall"
	"testing"
)

// A system that refuses to start a process with EINVAL, as old emulators of other
// processors do, is not taken for a mistake in the command.
func TestExplain_refused(t *testing.T) {
	p := Process{Argv: []string{"/bin/sh"}, WorkDir: t.TempDir()}
	if err := explain(&p, syscall.EINVAL); !strings.Contains(err.message, "invalid argument") {
		t.Errorf("got %q", err.message)
	}
	p.Env = []string{"A=\x00"}
	if err := explain(&p, syscall.EINVAL); !strings.Contains(err.message, "zero byte") {
		t.Errorf("with a zero byte: %q", err.message)
	}
}
