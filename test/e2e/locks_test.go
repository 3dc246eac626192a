package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	killLeaders(t, c, dir, 3, 200)
	wantSucceeded(t, c, ids)
	if b, err := os.ReadFile(filepath.Join(dir, "violations")); err == nil {
		t.Errorf("a key had two holders:\n%s", b)
	}
	if n := doneLines(dir); n != 200 {
		t.Errorf("%d modules ran to their end, want 200", n)
	}
}

// Pipelines that allow one, two and three holders of a key run on three nodes, while
// the leader is killed again and again. The modules count the holders themselves: each
// leaves a file with its process and its limit while it works, and looks at those of
// the others. Each has fewer beside it than any of them allows.
func TestLocks_severalHolders(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "4")
	dir := filepath.Join(c.Dir, "held")
	if err := os.MkdirAll(filepath.Join(dir, "holders"), 0o700); err != nil {
		t.Fatal(err)
	}
	var ids []string
	const rounds, instances = 4, 10
	for limit := 1; limit <= 3; limit++ {
		file := c.WriteFile(fmt.Sprintf("holders%d.hcl", limit), fmt.Sprintf(`pipeline "holders%[2]d" {
  workspace {
    exclude = ["**"]
  }
  module "m" {
    matrix          = { n = range(%[3]d) }
    not_in_parallel = { gpu = %[2]d }
%[4]s  }
}
`, dir, limit, instances, countHolders(dir, limit)))
		for i := range rounds {
			ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[i%3].URL, file)))
		}
	}

	killLeaders(t, c, dir, 4, 3*rounds*instances)
	wantSucceeded(t, c, ids)
	if b, err := os.ReadFile(filepath.Join(dir, "violations")); err == nil {
		t.Errorf("a key had too many holders:\n%s", b)
	}
	if n := doneLines(dir); n < 3*rounds*instances {
		t.Errorf("%d modules ran to their end, want %d", n, 3*rounds*instances)
	}
	b, err := os.ReadFile(filepath.Join(dir, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2", "3"} {
		if !slices.Contains(strings.Fields(string(b)), want) {
			t.Errorf("no module saw %s holders at once", want)
		}
	}
}

// Runs of a pipeline with max_parallel on three nodes, while the leader is killed again
// and again: as above, in each run by itself.
func TestMaxParallel_leaderKilled(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "4")
	dir := filepath.Join(c.Dir, "running")
	var ids []string
	const runs, instances, limit = 2, 24, 3
	for i := range runs {
		own := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(filepath.Join(own, "holders"), 0o700); err != nil {
			t.Fatal(err)
		}
		file := c.WriteFile(fmt.Sprintf("limited%d.hcl", i), fmt.Sprintf(`pipeline "limited" {
  workspace {
    exclude = ["**"]
  }
  module "m" {
    matrix        = { n = range(%d) }
    max_parallel  = %d
    on_disconnect = "kill"
%s  }
}
`, instances, limit, countHolders(own, limit)))
		ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[i].URL, file)))
	}

	killLeaders(t, c, filepath.Join(dir, "0"), 3, instances)
	wantSucceeded(t, c, ids)
	for i := range runs {
		own := filepath.Join(dir, strconv.Itoa(i))
		if b, err := os.ReadFile(filepath.Join(own, "violations")); err == nil {
			t.Errorf("too many instances ran at once:\n%s", b)
		}
		b, err := os.ReadFile(filepath.Join(own, "seen"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.Fields(string(b)), strconv.Itoa(limit)) {
			t.Errorf("no module of run %d saw %d of them at once", i, limit)
		}
	}
}

// countHolders is the script of a module that counts those that work beside it.
func countHolders(dir string, limit int) string {
	return fmt.Sprintf(`    script          = <<-SH
      own=%[1]s/holders/$$.%[2]d
      : > "$own"
      n=0 limit=%[2]d
      for f in %[1]s/holders/*; do
        name=$${f##*/}
        test -d /proc/$${name%%%%.*} || continue # it was killed
        n=$((n + 1))
        test $${name##*.} -ge $limit || limit=$${name##*.}
      done
      echo $n >> %[1]s/seen
      test $n -le $limit || echo "$PIPELINED_RUN_ID $PIPELINED_MODULE: $n holders, of which one allows $limit" >> %[1]s/violations
      sleep 0.1
      rm "$own"
      echo x >> %[1]s/done
    SH
`, dir, limit)
}

// killLeaders kills the leader n times, and waits after each for a module that has
// ended since, until all of them have.
func killLeaders(t *testing.T, c *harness.Cluster, dir string, n, all int) {
	t.Helper()
	for range n {
		before := doneLines(dir)
		leader := c.Leader()
		leader.Kill()
		leader.Start()
		c.Whole()
		testutil.Eventually(t, harness.Wait, func() error {
			if doneLines(dir) <= before && doneLines(dir) < all {
				return fmt.Errorf("no module has ended since the kill")
			}
			return nil
		})
	}
}

// wantSucceeded waits for the end of runs, which must succeed.
func wantSucceeded(t *testing.T, c *harness.Cluster, ids []string) {
	t.Helper()
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
}

func doneLines(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "done")) // not there before the first
	return strings.Count(string(b), "\n")
}
