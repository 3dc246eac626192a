package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// A run is retried with other values while leaders are killed: each command makes one
// run, which executes the modules that the values change once, and none of those whose
// results it takes over. The source outlives the node that took the submission.
func TestRetry_variables(t *testing.T) {
	c := harness.Start(t, 3)
	ran := newWitness(c, "ran").path
	c.WriteFile("p/in.txt", "a line\n")
	file := c.WriteFile("p/release.hcl", fmt.Sprintf(`pipeline "release" {
  variable "tag" {}
  module "build" {
    outputs = ["out.txt"]
    script  = <<-SH
      echo "build $PIPELINED_RUN_ID" >> %[1]s
      cp in.txt out.txt
    SH
  }
  module "test" {
    depends_on = [module.build]
    script     = "echo \"test $PIPELINED_RUN_ID\" >> %[1]s; cat out.txt"
  }
  module "push" {
    depends_on = [module.build, module.test]
    script     = <<-SH
      echo "push $PIPELINED_RUN_ID" >> %[1]s
      test ${var.tag} != bad
      cat out.txt
    SH
  }
}
`, ran))
	leader := c.Leader()
	victim := c.Others(leader)[0]
	id := strings.TrimSpace(c.OK("submit", "-detach", "-var", "tag=bad", "-address", victim.URL, file))
	if r := c.CLI("wait", "-address", victim.URL, id); r.Code != 1 {
		t.Fatalf("wait: exit %d: %s", r.Code, r.Stderr)
	}

	victim.KillAll()
	plan := c.OK("retry", "-dry-run", "-var", "tag=1.0", "-address", liveURL(c), id)
	if want := "push    runs   changed: script"; !strings.Contains(plan, want) || strings.Count(plan, "kept") != 2 {
		t.Errorf("plan without the node that took the submission:\n%s", plan)
	}
	victim.Start()
	c.Whole()

	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL)
	}
	const rounds, atOnce = 3, 5
	var made []string
	for round := range rounds {
		var running []*harness.Running
		for i := range atOnce {
			running = append(running, c.Command(c.Dir, time.Minute, "retry", "-detach", "-var", fmt.Sprintf("tag=%d.%d", round, i), "-address", strings.Join(urls, ","), id))
		}
		n := c.Leader()
		n.Kill()
		for _, r := range running {
			res := r.Wait()
			if res.Code != 0 {
				t.Fatalf("retry: exit %d: %s", res.Code, res.Stderr)
			}
			made = append(made, strings.TrimSpace(res.Stdout))
		}
		n.Start()
		c.Whole()
	}

	for _, one := range made {
		if r := c.CLI("wait", "-address", c.Nodes[0].URL, one); r.Code != 0 {
			t.Fatalf("wait: exit %d: %s", r.Code, r.Stderr)
		}
	}
	witness, err := os.ReadFile(ran)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"build", "test"} {
		if n := strings.Count(string(witness), name+" "); n != 1 {
			t.Errorf("%s ran %d times, want once", name, n)
		}
	}
	for _, one := range made {
		if n := strings.Count(string(witness), "push "+one); n != 1 {
			t.Errorf("push of run %s ran %d times, want once", one, n)
		}
		run, err := c.Run(one)
		if err != nil {
			t.Fatal(err)
		}
		if run.RetryOf == nil || string(run.RetryOf.ID) != id || run.Modules[0].State != pipeline.ModuleCached || run.Modules[1].State != pipeline.ModuleCached {
			t.Errorf("run %s: %+v", one, run)
		}
	}

	var list wire.RunList
	if err := json.Unmarshal([]byte(c.OK("list", "-json", "-limit", "1000", "-pipeline", "release", "-address", c.Nodes[0].URL)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Runs) != 1+rounds*atOnce {
		t.Errorf("%d runs, want %d", len(list.Runs), 1+rounds*atOnce)
	}
}
