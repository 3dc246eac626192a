package faults

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// pause stops a daemon until the function is called, or the test ends.
func pause(t *testing.T, n *harness.Node) (resume func()) {
	t.Helper()
	if err := syscall.Kill(n.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() {
		if err := syscall.Kill(n.PID(), syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	t.Cleanup(resume)
	return resume
}

// A submission with a workspace, to a follower, waits for a leader that hangs no
// longer than the others need to elect the next one.
func TestSubmit_leaderHangs(t *testing.T) {
	c := harness.Start(t, 3)
	for round := range 2 {
		c.Whole()
		old := c.Leader()
		c.WriteFile("w/data", fmt.Sprint("data", round))
		file := c.WriteFile("w/p.hcl", "pipeline \"w\" {\n  module \"m\" { script = \"true\" }\n}\n")
		resume := pause(t, old)

		// Before the leader's connections are given up, which takes 10 s.
		r := c.Command(c.Dir+"/w", time.Minute, "submit", "-detach", "-address", c.Others(old)[0].URL, file).Wait()
		if r.Code != 0 || r.Took > 8*time.Second {
			t.Errorf("exit %d after %v: %s%s", r.Code, r.Took, r.Stdout, r.Stderr)
		}
		t.Logf("accepted after %v", r.Took)
		resume()
	}
}

// A node that reaches no majority refuses a write soon, whether it led or not.
func TestWrite_minority(t *testing.T) {
	for _, led := range []bool{true, false} {
		t.Run(fmt.Sprintf("led=%t", led), func(t *testing.T) {
			c := harness.Start(t, 3)
			x := newCaller(t, c)
			left := c.Leader()
			if !led {
				left = c.Others(left)[0]
			}
			for _, n := range c.Others(left) {
				pause(t, n)
			}
			id, a := x.submit(left, pausedPipeline, "key")
			if id != "" || a.status != 503 || a.took > 8*time.Second {
				t.Errorf("run %q, status %d after %v: %s", id, a.status, a.took, a.body)
			}
			t.Logf("refused after %v: %s", a.took, a.body)
		})
	}
}
