package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// A node whose clock is more than a day off keeps its peers. If one more node
// dies and the third is started again, there is a leader, and every node names
// the clock.
func TestClock_oneNodeOff(t *testing.T) {
	for _, off := range []time.Duration{25 * time.Hour, -10 * 365 * 24 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			c := harness.Start(t, 3)
			dead, restarted, wrong := c.Nodes[0], c.Nodes[1], c.Nodes[2]
			if err := harness.ShiftClock(wrong.PID(), off); errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err) // it says what is needed
			} else if err != nil {
				t.Fatal(err)
			}
			dead.KillAll()
			restarted.Kill()
			restarted.Start()

			testutil.Eventually(t, harness.Wait, func() error {
				h, err := restarted.Health()
				if err != nil || h.Leader == "" || !h.Quorum {
					return fmt.Errorf("no leader: %+v, %w", h, err)
				}
				if !strings.Contains(fmt.Sprint(h.Reasons), "the clock of "+wrong.Name+" is ") {
					return fmt.Errorf("health does not name the clock: %q", h.Reasons)
				}
				log, err := os.ReadFile(restarted.LogFile())
				if err != nil || !bytes.Contains(log, []byte("the clock of another node differs")) {
					return fmt.Errorf("the log does not name the clock: %w", err)
				}
				return nil
			})

			word := map[bool]string{true: "ahead", false: "behind"}[off > 0]
			if out := c.OK("members", "-address", restarted.URL); !strings.Contains(out, word) {
				t.Errorf("members does not show the clock:\n%s", out)
			}
		})
	}
}
