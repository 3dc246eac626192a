package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// Twenty runs of ten modules over three keys, submitted to three nodes, while
// the leader is killed three times: no key ever has two holders, which the
// modules witness themselves with a directory that only one of them can make.
func TestLocksAreHeldByOne(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "4")
	dir := filepath.Join(c.Dir, "held")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := c.WriteFile("locks.hcl", fmt.Sprintf(`pipeline "locks" {
  workspace {
    exclude = ["**"]
  }
  module "m" {
    matrix          = { n = range(10) }
    not_in_parallel = ["key-${matrix.n %% 3}"]
    script          = <<-SH
      d=%s/key-${matrix.n %% 3}
      mkdir "$d" || echo "$PIPELINED_RUN_ID $PIPELINED_MODULE" >> %[1]s/violations
      sleep 0.03
      rmdir "$d"
      echo x >> %[1]s/done
    SH
  }
}
`, dir))
	ids := make([]string, 0, 20)
	for i := range 20 {
		ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[i%3].URL, file)))
	}
	for range 3 {
		before := doneLines(dir)
		n := c.Leader()
		n.Kill()
		n.Start()
		c.Whole()
		testutil.Eventually(t, harness.Wait, func() error {
			if doneLines(dir) <= before && doneLines(dir) < 200 {
				return fmt.Errorf("no module has ended since the kill")
			}
			return nil
		})
	}
	for _, id := range ids {
		testutil.Eventually(t, 2*time.Minute, func() error {
			r, err := c.Run(id)
			switch {
			case err != nil:
				return err
			case !r.State.Final():
				return fmt.Errorf("run %s is %s, %d of %d modules done", id, r.State, r.ModulesDone, r.ModuleCount)
			case r.State != pipeline.RunSucceeded:
				t.Fatalf("run %s is %s: %s", id, r.State, r.Reason)
			}
			return nil
		})
	}
	if b, err := os.ReadFile(filepath.Join(dir, "violations")); err == nil {
		t.Errorf("a key had two holders:\n%s", b)
	}
	if n := doneLines(dir); n != 200 {
		t.Errorf("%d modules ran to their end, want 200", n)
	}
}

func doneLines(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "done")) // not there before the first
	return strings.Count(string(b), "\n")
}
