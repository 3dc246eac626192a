package node

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// The session of a preferred daemon is preferred too. A process in a session of its own
// tries it: that of the test stays as it is.
func TestSetPriority_session(t *testing.T) {
	const child = "PIPELINED_TEST_SET_PRIORITY"
	if os.Getenv(child) != "" {
		ok := SetPriority(daemonNice)
		group, _ := os.ReadFile("/proc/self/autogroup")
		fmt.Printf("allowed %v, session %s", ok, group)
		return
	}

	if _, err := os.Stat("/proc/self/autogroup"); err != nil {
		t.Skip("needs a kernel that schedules by session (CONFIG_SCHED_AUTOGROUP)")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSetPriority_session$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "allowed false") {
		t.Skip("needs the right to raise a priority (CAP_SYS_NICE)")
	}
	if want := fmt.Sprintf(" nice %d\n", daemonNice); !strings.Contains(string(out), want) {
		t.Errorf("got %s; want%s", out, want)
	}
}
