package faults

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// After all nodes were restarted none refuses a valid token: a node that has not
// applied its log yet asks another one, or answers 503.
func TestToken_afterRestartOfAll(t *testing.T) {
	c := harness.Start(t, 3)
	x := newCaller(t, c)
	for range 3 {
		for _, n := range c.Nodes {
			n.Kill()
		}
		for _, n := range c.Nodes {
			n.Start()
		}

		var wg sync.WaitGroup
		for _, n := range c.Nodes {
			wg.Go(func() {
				testutil.Eventually(t, harness.Wait, func() error {
					// One after the other, without a pause: the moment is short.
					for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
						a := x.do(n, "GET", "/api/v1/runs", "", "")
						switch a.status {
						case 200:
							return nil
						case 401:
							t.Errorf("%s refused a valid token: %s", n.Name, a.body)
							return nil
						}
					}
					return fmt.Errorf("%s does not answer", n.Name)
				})
			})
		}
		wg.Wait()
		c.Whole()
	}
}
