package faults

import (
	"fmt"
	"os"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// runIs waits until a run, and its first module, are in a state.
func runIs(tb testing.TB, c *harness.Cluster, id, want string) wire.Run {
	tb.Helper()
	var run wire.Run
	testutil.Eventually(tb, harness.Wait, func() (err error) {
		if run, err = c.Run(id); err != nil {
			return err
		}
		if string(run.State) != want || len(run.Modules) == 0 || string(run.Modules[0].State) != want {
			return fmt.Errorf("run %s is %s: %+v", id, run.State, run.Modules)
		}
		return nil
	})
	return run
}
