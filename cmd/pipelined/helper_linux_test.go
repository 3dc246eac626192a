package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// A helper that a preferred daemon starts is not preferred itself.
func TestHidden_helperPriority(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	// The thread is not unlocked, so that it ends with the test: its priority is its own.
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -5); err != nil {
		t.Skipf("needs the right to raise a priority (CAP_SYS_NICE): %v", err)
	}
	cmd := exec.CommandContext(t.Context(), exe, bounded.Command)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		// The kernel's answer is 20 less the priority.
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, cmd.Process.Pid); err != nil || n != 20 {
			return fmt.Errorf("priority %d, %v", 20-n, err)
		}
		return nil
	})
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was asked nothing
}
