package executor_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
)

// TestRunner_memoryLimit needs a machine that can enforce it.
func TestRunner_memoryLimit(t *testing.T) {
	b := newLocal(t, executor.Config{})
	p := b.shell("x=a; while :; do x=$x$x; done")
	p.Memory, p.CPU, p.Timeout = 64<<20, 1, 20*time.Second
	if !executor.EnforcedLimits(b.cfg.DataDir).Memory {
		// It must run all the same.
		p = b.shell("true")
		p.Memory, p.CPU = 64<<20, 0.5
		if st := b.run(p); st.ExitCode != 0 || st.OutOfMemory {
			t.Errorf("%+v", st)
		}
		t.Skip("needs control groups of version 2 with memory, which this machine does not delegate")
	}
	if st := b.run(p); !st.OutOfMemory || st.Signal != "SIGKILL" || st.TimedOut {
		t.Errorf("%+v", st)
	}
}
