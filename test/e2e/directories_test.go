package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// largeWorkspace writes a workspace of several thousand files with a pipeline
// of one module that changes many of them, waits for a gate, and goes on.
func largeWorkspace(c *harness.Cluster, gate string) (file string) {
	const directories, files = 60, 50
	for d := range directories {
		for f := range files {
			c.WriteFile(fmt.Sprintf("ws/d%02d/f%02d", d, f), fmt.Sprintf("file %d of directory %d\n", f, d))
		}
	}
	return c.WriteFile("ws/large.hcl", fmt.Sprintf(`pipeline "large" {
  workspace {}
  module "work" {
    outputs = ["out"]
    script  = <<-SH
      find d?? -type f | wc -l
      mv d00 moved
      rm -r d01
      echo changed > d02/f00
      while [ ! -e %s ]; do sleep 0.05; done
      { find d?? moved -type f | wc -l; cat d02/f00 moved/f49 d59/f49; } > out
      cat out
    SH
  }
}`, gate))
}

const largeOutput = "3000\n2950\nchanged\nfile 49 of directory 0\nfile 49 of directory 59\n"

// mountsBelow lists what is mounted below a directory.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			list = append(list, f[4])
		}
	}
	return list
}

func openGate(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// untilMounted waits for the overlay of an attempt, and for its module to wait.
func untilMounted(t *testing.T, dir string) string {
	t.Helper()
	var at string
	testutil.Eventually(t, harness.Wait, func() error {
		for _, at = range mountsBelow(t, dir) {
			if _, err := os.Stat(filepath.Join(at, "moved")); err == nil {
				return nil
			}
		}
		return fmt.Errorf("no directory of a module is mounted below %s", dir)
	})
	return at
}

func noMounts(t *testing.T, dir string) {
	t.Helper()
	testutil.Eventually(t, harness.Wait, func() error {
		if m := mountsBelow(t, dir); len(m) > 0 {
			return fmt.Errorf("still mounted: %q", m)
		}
		return nil
	})
}

// needOverlays skips where the log of an agent says that there are none.
func needOverlays(t *testing.T, n *harness.Node) {
	t.Helper()
	for line := range strings.SplitSeq(n.Log(), "\n") {
		if strings.Contains(line, "module directories ") {
			if !strings.Contains(line, "use overlay mounts") {
				t.Skipf("needs overlay mounts, which take root and a kernel that allows them: %s", line)
			}
			return
		}
	}
	t.Fatalf("the agent does not say how it lays out directories:\n%s", n.Log())
}

// The daemon is killed while a module works in a mounted directory: the next one
// takes it up, sees what it left, and takes the mount away.
func TestLargeDirectory_daemonKilled(t *testing.T) {
	c := harness.Start(t, 1, "-max-parallel", "2")
	n := c.Nodes[0]
	needOverlays(t, n)
	gate := filepath.Join(c.Dir, "gate")
	file := largeWorkspace(c, gate)
	submit := func() string { return strings.TrimSpace(c.OK("submit", "-detach", "-address", n.URL, file)) }
	id := submit()
	untilMounted(t, n.Data)
	n.Kill()
	if m := mountsBelow(t, n.Data); len(m) != 1 {
		t.Errorf("mounted: %q", m)
	}
	n.Start()
	c.Whole()
	openGate(t, gate)
	check := func(id string) {
		t.Helper()
		if r := c.CLI("wait", "-address", n.URL, id); r.Code != 0 {
			t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
		}
		run, err := c.Run(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := states(moduleOf(t, run, "work")); got != string(pipeline.AttemptSucceeded) {
			t.Errorf("attempts: %s, want one that succeeded", got)
		}
		if out := c.OK("logs", "-address", n.URL, id, "work"); out != largeOutput {
			t.Errorf("it printed %q", out)
		}
		c.OK("artifacts", "-address", n.URL, "-o", filepath.Join(c.Dir, id), id)
		if text, err := os.ReadFile(filepath.Join(c.Dir, id, "work/out")); err != nil || "3000\n"+string(text) != largeOutput {
			t.Errorf("it left %q, %v", text, err)
		}
	}
	check(id)
	noMounts(t, n.Data)
	// The next attempt sees the files as they were, and an agent that stops leaves
	// no mount.
	check(submit())
	n.Term()
	if m := mountsBelow(t, n.Data); len(m) > 0 {
		t.Errorf("after the stop: mounted %q", m)
	}
}

// What a `run` that was killed has mounted, the next one takes away.
func TestLargeDirectory_runKilled(t *testing.T) {
	c := harness.New(t)
	gate := filepath.Join(c.Dir, "gate")
	file := largeWorkspace(c, gate)
	data := filepath.Join(c.Dir, "data")
	probe := c.Command(c.Dir, harness.Wait, "run", "-data-dir", data+"-probe", "-layout", "overlay", c.WriteFile("small/p.hcl", `pipeline "p" { module "m" { script = "true" } }`)).Wait()
	if probe.Code != 0 {
		t.Skipf("needs overlay mounts, which take root and a kernel that allows them: %s", probe.Stderr)
	}
	first := c.Command(c.Dir, harness.Wait, "run", "-data-dir", data, file)
	untilMounted(t, data)
	first.Signal(syscall.SIGKILL)
	first.Wait()
	openGate(t, gate)
	second := c.Command(c.Dir, harness.Wait, "run", "-quiet", "-data-dir", data, file).Wait()
	if want := "work | " + strings.ReplaceAll(strings.TrimSpace(largeOutput), "\n", "\nwork | ") + "\n"; second.Code != 0 || second.Stdout != want {
		t.Errorf("exit %d, printed %q, %s", second.Code, second.Stdout, second.Stderr)
	}
	if m := mountsBelow(t, data); len(m) > 0 {
		t.Errorf("mounted: %q", m)
	}
}
