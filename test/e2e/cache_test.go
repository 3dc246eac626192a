package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// cacheStates says of a run what became of its modules, in the order of the
// source.
func cacheStates(t *testing.T, c *harness.Cluster, id string) string {
	t.Helper()
	r, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range r.Modules {
		list = append(list, m.Name+" "+string(m.State))
		if m.State == pipeline.ModuleCached && (len(m.Attempts) > 0 || m.CachedFrom == nil) {
			t.Errorf("run %s: cached %s has attempts %v, from %v", id, m.Name, m.Attempts, m.CachedFrom)
		}
	}
	return strings.Join(list, ", ")
}

// submitted submits a file to a node, waits for the end of the run and gives
// its id.
func submitted(c *harness.Cluster, n *harness.Node, file string, flags ...string) string {
	id := strings.TrimSpace(c.OK(append([]string{"submit", "-detach", "-address", n.URL}, append(flags, file)...)...))
	c.OK("wait", "-address", n.URL, id)
	return id
}

func cachePipeline(w witness) string {
	return fmt.Sprintf(`pipeline "cached" {
  module "make" {
    inputs  = ["in.txt"]
    outputs = ["out.txt"]
    cache   = true
    script  = <<-SH
      %[1]s
      echo making
      sed s/a/A/ in.txt > out.txt
      echo "n=1" >> "$PIPELINED_OUTPUT"
    SH
  }
  module "use" {
    inputs  = ["more.txt"]
    outputs = ["final.txt"]
    cache   = true
    script  = <<-SH
      %[1]s
      echo using ${module.make.result.n}
      cat out.txt more.txt > final.txt
    SH
  }
}`, strings.ReplaceAll(w.script(), "\n", "\n      "))
}

// The second run of the same files starts nothing, whichever node it goes to,
// and leaves the same files and logs; a file that changed makes run again what
// depends on it, and why names it. So it is after all nodes were killed.
func TestCache(t *testing.T) {
	c := harness.Start(t, 3)
	w := newWitness(c, "starts")
	file := c.WriteFile("p/cached.hcl", cachePipeline(w))
	c.WriteFile("p/in.txt", "a\n")
	c.WriteFile("p/more.txt", "more\n")
	first := submitted(c, c.Nodes[0], file)
	for i, n := range c.Nodes {
		id := submitted(c, n, file)
		if got := cacheStates(t, c, id); got != "make cached, use cached" {
			t.Fatalf("run at node %d: %s", i, got)
		}
		if a, b := c.OK("logs", "-address", n.URL, first), c.OK("logs", "-address", n.URL, id); a != b || !strings.Contains(b, "using 1") {
			t.Errorf("logs %q, then %q", a, b)
		}
		dir := filepath.Join(c.Dir, "out", id)
		c.OK("artifacts", "-address", n.URL, "-o", dir, id)
		if b, err := os.ReadFile(filepath.Join(dir, "use", "final.txt")); err != nil || string(b) != "A\nmore\n" {
			t.Errorf("artifact %q, %v", b, err)
		}
	}
	if s := w.starts(t); len(s) != 2 {
		t.Fatalf("%d modules were started, want 2", len(s))
	}

	c.WriteFile("p/more.txt", "other\n")
	plan := c.OK("plan", "-address", c.Nodes[2].URL, file)
	if !strings.Contains(plan, "cached: result of run "+first) || !strings.Contains(plan, "file more.txt changed") {
		t.Errorf("plan: %s", plan)
	}
	id := submitted(c, c.Nodes[1], file)
	if got := cacheStates(t, c, id); got != "make cached, use succeeded" {
		t.Errorf("after a change: %s", got)
	}
	if why := c.OK("why", "-address", c.Nodes[0].URL, id, "use"); !strings.Contains(why, "file more.txt changed") {
		t.Errorf("why: %s", why)
	}

	for _, n := range c.Nodes {
		n.KillAll()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.Whole()
	for flag, want := range map[string]string{"-quiet": "make cached, use cached", "-refresh": "make succeeded, use succeeded", "-no-cache": "make succeeded, use succeeded"} {
		if got := cacheStates(t, c, submitted(c, c.Nodes[0], file, flag)); got != want {
			t.Errorf("with %s: %s, want %s", flag, got, want)
		}
	}
	c.OK("cache", "prune", "-all", "-address", c.Nodes[0].URL)
	if got := cacheStates(t, c, submitted(c, c.Nodes[0], file)); got != "make succeeded, use succeeded" {
		t.Errorf("after all results were removed: %s", got)
	}
}

// A cached result whose bytes are bad or gone on every node is not taken: the
// module runs again, and is recorded again.
func TestCache_damage(t *testing.T) {
	c := harness.Start(t, 3)
	w := newWitness(c, "starts")
	file := c.WriteFile("p/cached.hcl", cachePipeline(w))
	c.WriteFile("p/in.txt", "a\n")
	c.WriteFile("p/more.txt", "more\n")
	submitted(c, c.Nodes[0], file)
	sum := sha256.Sum256([]byte("A\n"))
	for name, harm := range map[string]func(path string) error{
		"flipped": func(path string) error {
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("B\n"), 0o600)
		},
		"removed": os.Remove,
	} {
		if n := everyBlob(t, c, hex.EncodeToString(sum[:]), harm); n == 0 {
			t.Fatalf("%s: the blob was nowhere", name)
		}
		if got := cacheStates(t, c, submitted(c, c.Nodes[1], file)); got != "make succeeded, use cached" {
			t.Errorf("%s: %s", name, got)
		}
		if got := cacheStates(t, c, submitted(c, c.Nodes[2], file)); got != "make cached, use cached" {
			t.Errorf("%s, and then: %s", name, got)
		}
	}
}

// everyBlob harms a blob on every node that has it.
func everyBlob(t *testing.T, c *harness.Cluster, digest string, harm func(path string) error) (harmed int) {
	t.Helper()
	for _, n := range c.Nodes {
		err := filepath.WalkDir(filepath.Join(n.Data, "blobs"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != digest {
				return err
			}
			harmed++
			return harm(path)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return harmed
}

// Runs that want the same work at the same time share it, while the leader is
// killed and started again: every work is done once.
func TestCache_sharedWhileLeadersDie(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "4")
	w := newWitness(c, "starts")
	file := c.WriteFile("p/shared.hcl", fmt.Sprintf(`pipeline "shared" {
  workspace {
    exclude = ["**"]
  }
  module "m" {
    matrix = { n = range(6) }
    cache  = true
    script = <<-SH
      # ${matrix.n}
      %s
      sleep 1
      echo "n=${matrix.n}" >> "$PIPELINED_OUTPUT"
    SH
  }
}`, strings.ReplaceAll(w.script(), "\n", "\n      ")))
	var ids []string
	for i := range 4 {
		ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[i%3].URL, file)))
	}
	for range 2 {
		before := len(w.starts(t))
		n := c.Leader()
		n.Kill()
		n.Start()
		c.Whole()
		testutil.Eventually(t, harness.Wait, func() error {
			if s := len(w.starts(t)); s <= before && s < 6 {
				return fmt.Errorf("nothing was started since the kill")
			}
			return nil
		})
	}
	cached := 0
	for _, id := range ids {
		var run wire.Run
		testutil.Eventually(t, harness.Wait, func() error {
			var err error
			if run, err = c.Run(id); err == nil && !run.State.Final() {
				err = fmt.Errorf("run %s is %s", id, run.State)
			}
			return err
		})
		if run.State != pipeline.RunSucceeded {
			t.Errorf("run %s is %s: %s", id, run.State, run.Reason)
		}
		for _, m := range run.Modules {
			if m.State == pipeline.ModuleCached {
				cached++
			}
		}
	}
	if s := w.starts(t); len(s) != 6 || cached != 18 {
		t.Errorf("%d works were started, want 6; %d modules took a result, want 18", len(s), cached)
	}
}
