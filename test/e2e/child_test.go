package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// child waits for the newest run of a module's pipeline, until a condition holds.
func child(t *testing.T, c *harness.Cluster, id, module string, when func(*wire.ChildRun) bool) (found wire.ChildRun) {
	t.Helper()
	testutil.Eventually(t, harness.Wait, func() error {
		r, err := c.Run(id)
		if err != nil {
			return err
		}
		for i := range r.Modules {
			if x := r.Modules[i].Child(); r.Modules[i].Name == module && x != nil && when(x) {
				found = *x
				return nil
			}
		}
		return fmt.Errorf("%+v", r.Modules)
	})
	return found
}

// The leader is killed while the run of a module's pipeline works, and as it ends: there is
// one such run, it ends once, and its parent goes on with its results. On workers with one
// slot each, three runs that wait for theirs hold none.
func TestChildOutlivesLeaders(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "1")
	gate := filepath.Join(c.Dir, "gate")
	c.WriteFile("lib/inner.hcl", fmt.Sprintf(`pipeline "inner" {
  variable "word" {}
  module "work" {
    script = "until [ -e %s.${var.word} ]; do sleep 0.05; done; echo word=${var.word} >>$PIPELINED_OUTPUT"
  }
}
`, gate))
	file := c.WriteFile("outer.hcl", `pipeline "outer" {
  variable "word" {}
  module "first" {
    script = "echo word=${var.word} >>$PIPELINED_OUTPUT"
  }
  module "inner" {
    pipeline  = "lib/inner.hcl"
    variables = { word = module.first.result.word }
  }
  module "after" {
    command = ["echo", "got", module.inner.result.work.word]
  }
}
`)
	words := []string{"one", "two", "three"}
	var ids []string
	runs := map[string]pipeline.RunID{}
	for i, word := range words {
		ids = append(ids, strings.TrimSpace(c.OK("submit", "-detach", "-var", "word="+word, "-address", c.Nodes[i].URL, file)))
	}
	for i, id := range ids {
		runs[id] = child(t, c, id, "inner", func(x *wire.ChildRun) bool { return x.State == pipeline.RunRunning }).Run
		if r, err := c.Run(string(runs[id])); err != nil || r.Parent == nil || string(r.Parent.Run) != id || r.Parent.Module != "inner" {
			t.Errorf("%s: the run of its pipeline is %+v, %v", words[i], r.RunSummary, err)
		}
	}

	for i, id := range ids {
		n := c.Leader()
		n.Kill()
		if err := os.WriteFile(gate+"."+words[i], nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the leader dies as the run ends, not only while it works
			child(t, c, id, "inner", func(x *wire.ChildRun) bool { return x.State.Final() })
			n.Start()
			c.Whole()
			continue
		}
		n.Start()
		c.Whole()
	}
	for i, id := range ids {
		testutil.Eventually(t, time.Minute, func() error {
			r, err := c.Run(id)
			if err == nil && r.State != pipeline.RunSucceeded {
				err = fmt.Errorf("the run is %s: %s", r.State, r.Reason)
			}
			return err
		})
		if out := c.OK("logs", "-address", c.Nodes[0].URL, id, "after"); !strings.HasSuffix(out, "got "+words[i]+"\n") {
			t.Errorf("what depends on it saw %q", out)
		}
		if last := child(t, c, id, "inner", func(*wire.ChildRun) bool { return true }); last.Run != runs[id] {
			t.Errorf("%s had another run: %s, then %s", words[i], runs[id], last.Run)
		}
	}

	var list wire.RunList
	if err := json.Unmarshal([]byte(c.OK("list", "-json", "-address", c.Nodes[1].URL)), &list); err != nil || len(list.Runs) != 6 {
		t.Errorf("%d runs, want 6: %v", len(list.Runs), err)
	}
}

// A cancellation reaches the run of a module's pipeline, although its leader is killed
// right behind it; the processes are gone.
func TestChildCancelled(t *testing.T) {
	c := harness.Start(t, 3)
	c.WriteFile("sleeps.hcl", "pipeline \"sleeps\" {\n  module \"sleep\" {\n    command = [\"sleep\", \"600\"]\n  }\n}\n")
	file := c.WriteFile("outer.hcl", "pipeline \"outer\" {\n  module \"inner\" {\n    pipeline = \"sleeps.hcl\"\n  }\n}\n")
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	inner := child(t, c, id, "inner", func(x *wire.ChildRun) bool { return x.State == pipeline.RunRunning })
	n := c.Leader()
	c.OK("cancel", "-address", c.Others(n)[0].URL, id)
	n.Kill()
	n.Start()
	for _, run := range []string{id, string(inner.Run)} {
		testutil.Eventually(t, time.Minute, func() error {
			r, err := c.Run(run)
			if err == nil && r.State != pipeline.RunCancelled {
				err = fmt.Errorf("the run is %s: %s", r.State, r.Reason)
			}
			return err
		})
	}
}
