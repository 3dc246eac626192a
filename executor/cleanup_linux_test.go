package executor_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/testutil"
)

func cleaned(p executor.Process, script string) executor.Process {
	p.Cleanup = []string{"/bin/sh", "-eu", "-c", script}
	return p
}

// The cleanup runs last, however the attempt ended, and changes nothing of that.
func TestRunner_cleanup(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		for _, tc := range []struct {
			script string
			code   int
		}{{"echo main", 0}, {"echo main; exit 7", 7}} {
			p := hooked(cleaned(b.shell(tc.script), "echo cleaned; exit 3"), map[executor.When]string{executor.HookAfter: "echo after"})
			st := b.run(p)
			if got := output(t, st); st.ExitCode != tc.code || st.HookFailed != "" || st.StartError != "" || !strings.HasSuffix(got, "after\ncleaned\n") {
				t.Errorf("%s: %+v, %q", tc.script, st, got)
			}
		}

		// Killed at once, and stopped again while it is cleaned up.
		p := cleaned(b.shell("echo $$ >$DIR/child; trap '' TERM; while true; do sleep 1; done"), "touch $DIR/begun; while [ ! -e $DIR/go ]; do sleep 0.01; done; touch $DIR/done")
		b.start(p)
		pid := pidIn(t, p.Dir+"/child")
		b.stop(p.ID, 0)
		testutil.Eventually(t, testTimeout, func() error { _, err := os.Stat(p.Dir + "/begun"); return err })
		mustBeDead(t, pid)
		b.stop(p.ID, 0)
		if err := os.WriteFile(p.Dir+"/go", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		st := b.wait(p.ID)
		if _, err := os.Stat(p.Dir + "/done"); err != nil || !st.Stopped || st.Signal != "SIGKILL" {
			t.Errorf("killed: %+v, %v", st, err)
		}
		if since := time.Since(st.ExitedAt); since < 0 || since > time.Hour {
			t.Errorf("it exited %s ago", since)
		}

		// What was never started has nothing to be cleaned up.
		p = cleaned(b.shell(""), "touch $DIR/done")
		p.Argv = []string{"./missing"}
		st = b.run(p)
		if _, err := os.Stat(p.Dir + "/done"); err == nil || st.StartError == "" {
			t.Errorf("not started: %+v, %v", st, err)
		}
	})
}
