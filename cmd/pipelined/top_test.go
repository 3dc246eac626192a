package main

import (
	"strings"
	"testing"
)

// TestTop_refused wants a terminal and a cluster.
func TestTop_refused(t *testing.T) {
	c := newCommand(t, newFakeCluster(t))
	if code, stdout, stderr := c.exec("top"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "top: needs a terminal") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}

	c.interactive, c.stdout.Terminal = true, true
	if code, _, stderr := c.exec("-address", "run", "top"); code != exitUsage || !strings.Contains(stderr, "top: needs a cluster") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}
