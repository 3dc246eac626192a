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

// moduleOf finds a module of a run.
func moduleOf(t *testing.T, run wire.Run, name string) wire.Module {
	t.Helper()
	for _, m := range run.Modules {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("run %s has no module %s", run.ID, name)
	return wire.Module{}
}

// states are those of a module's attempts, in order.
func states(m wire.Module) string {
	var s []string
	for _, a := range m.Attempts {
		s = append(s, string(a.State))
	}
	return strings.Join(s, " ")
}

// A file that a module needs is on no node any more: who made it runs again.
func TestOutputsLost(t *testing.T) {
	c := harness.Start(t, 1, "-max-parallel", "2")
	n := c.Nodes[0]
	w := newWitness(c, "starts")
	gate := filepath.Join(c.Dir, "gate")
	file := c.WriteFile("p/lost.hcl", fmt.Sprintf(`pipeline "lost" {
  workspace { exclude = ["**"] }
  module "make" {
    outputs = ["thing"]
    script  = <<-SH
      %s
      echo precious > thing
    SH
  }
  module "gate" { script = "while [ ! -e %s ]; do sleep 0.1; done" }
  module "use" {
    depends_on = [module.make, module.gate]
    script     = "cat thing"
  }
}`, w.script(), gate))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", n.URL, file))
	testutil.Eventually(t, harness.Wait, func() error {
		run, err := c.Run(id)
		if err != nil {
			return err
		}
		if s := moduleOf(t, run, "make").State; s != pipeline.ModuleSucceeded {
			return fmt.Errorf("make is %s", s)
		}
		return nil
	})
	n.Kill()
	sum := sha256.Sum256([]byte("precious\n"))
	removeBlob(t, filepath.Join(n.Data, "blobs"), hex.EncodeToString(sum[:]))
	n.Start()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Whole()
	if r := c.CLI("wait", "-address", n.URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	run, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"make": "succeeded succeeded", "use": "lost succeeded", "gate": "succeeded"} {
		if got := states(moduleOf(t, run, name)); got != want {
			t.Errorf("attempts of %s: %s, want %s", name, got, want)
		}
	}
	again := moduleOf(t, run, "make").Attempts
	if len(again) == 2 && !strings.HasPrefix(again[1].Reason, "output_lost") {
		t.Errorf("make ran again because of %q", again[1].Reason)
	}
	if out := c.OK("why", "-address", n.URL, id, "make"); !strings.Contains(out, "output_lost") {
		t.Errorf("why make:\n%s", out)
	}
	if s := w.starts(t); len(s) != 2 {
		t.Errorf("make was started %d times", len(s))
	}
	if out := c.OK("logs", "-address", n.URL, id, "use"); strings.TrimSpace(out) != "precious" {
		t.Errorf("use printed %q", out)
	}
}

// removeBlob removes a blob's file behind the back of its store.
func removeBlob(t *testing.T, dir, digest string) {
	t.Helper()
	removed := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(strings.ReplaceAll(path, "/", ""), digest) {
			return err
		}
		removed++
		return os.Remove(path)
	})
	if err != nil || removed != 1 {
		t.Fatalf("removed %d files of blob %s: %v", removed, digest, err)
	}
}
