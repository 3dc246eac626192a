package executor_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
)

func TestRunner_idleTimeout(t *testing.T) {
	everyRunner(t, executor.Config{}, func(t *testing.T, b *bench) {
		silent := b.shell(`echo begin; trap '' TERM; (trap '' TERM; sleep 1000) & echo $! >$DIR/child; wait; sleep 1000`)
		silent.IdleTimeout, silent.Grace = 200*time.Millisecond, 100*time.Millisecond
		// Output on either stream counts, however little.
		talks := b.shell(`for i in 1 2 3 4 5 6; do printf .; sleep 0.2; printf . >&2; sleep 0.2; done`)
		talks.IdleTimeout = time.Second
		b.start(silent, talks)
		st := b.wait(silent.ID)
		if !st.TimedOut || st.Stopped || st.Signal != "SIGKILL" || st.Reason != "no output for 200ms (idle_timeout)" {
			t.Errorf("silent: %+v", st)
		}
		if took := st.ExitedAt.Sub(st.StartedAt); took < 300*time.Millisecond {
			t.Errorf("silent: ended after %v, before idle timeout and grace", took)
		}
		if got := output(t, st); got != "begin\n" {
			t.Errorf("silent: output %q", got)
		}
		mustBeDead(t, pidIn(t, silent.Dir+"/child"))
		if st := b.wait(talks.ID); st.TimedOut || st.ExitCode != 0 || output(t, st) != "............" {
			t.Errorf("talks: %+v, output %q", st, output(t, st))
		}
	})
}
