package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// testsPipeline has a module whose first attempt fails because of one test, and one with
// a report that is cut. They report as gotestsum does.
const testsPipeline = `pipeline "tested" {
  module "unit" {
    script = <<-SH
      fail=''
      [ "$PIPELINED_ATTEMPT" != 1 ] || fail='<failure message="Failed" type="">=== RUN   TestRetain
          retain_test.go:91: want 3 logs, have 2</failure>'
      mkdir reports
      cat > reports/unit.xml <<XML
      <testsuites><testsuite tests="3" name="example.com/fsm">
      <testcase classname="example.com/fsm" name="TestRetain" time="0.31">$fail</testcase>
      <testcase classname="example.com/fsm" name="TestApply/one" time="2.5"></testcase>
      <testcase classname="example.com/fsm" name="TestDisk" time="0"><skipped message="no disk to fill"></skipped></testcase>
      </testsuite></testsuites>
      XML
      [ -z "$fail" ]
    SH
    reports { junit = ["reports/*.xml"] }
    retry {
      attempts = 2
      backoff  = "100ms"
    }
  }
  module "cut" {
    script = "printf '<testsuite><testcase name=\"one\"/><testc' > x.xml"
    reports { junit = ["*.xml"] }
  }
}
`

// TestTests follows the tests of a run over three nodes: every node answers with them, the
// retry makes one flaky, and history and reports have them.
func TestTests(t *testing.T) {
	c := harness.Start(t, 3)
	file := c.WriteFile("tested.hcl", testsPipeline)
	dir := t.TempDir()
	var id string
	for range 2 {
		id = submitted(c, c.Nodes[0], file)
	}
	c.OK("wait", "-address", c.Nodes[1].URL, id, "-report", "junit="+filepath.Join(dir, "r.xml"), "-report", "md="+filepath.Join(dir, "r.md"))

	for _, n := range c.Nodes {
		run, err := c.Run(id)
		if err != nil {
			t.Fatal(err)
		}
		m := run.Modules[0]
		if m.Tests == nil || m.Tests.Total != 3 || m.Tests.Passed != 2 || m.Tests.Flaky != 1 || m.Tests.Skipped != 1 || len(m.Attempts) != 2 || m.State != pipeline.ModuleSucceeded {
			t.Errorf("at %s: %+v", n.Name, m.Tests)
		}
		if w := run.Modules[1]; w.State != pipeline.ModuleSucceeded || len(w.Warnings) != 1 || w.Tests == nil || w.Tests.Passed != 1 {
			t.Errorf("at %s: %+v", n.Name, w)
		}
	}

	var h wire.PipelineHistory
	if err := json.Unmarshal([]byte(c.OK("history", "-json", "-address", c.Nodes[2].URL, "tested")), &h); err != nil {
		t.Fatal(err)
	}
	if h.Tests == nil || h.Tests.Runs != 2 || len(h.Tests.Flaky) != 1 || h.Tests.Flaky[0].Name != "TestRetain" || h.Tests.Flaky[0].Rate != 1 || h.Tests.Flaky[0].Last.Attempt != 1 {
		t.Errorf("history: %+v", h.Tests)
	}

	for name, want := range map[string][]string{
		"r.xml": {`<testcase classname="example.com/fsm" name="TestRetain"`, `<flakyFailure message="Failed"`, "retain_test.go:91: want 3 logs, have 2", `<skipped message="no disk to fill"`},
		"r.md":  {"4 tests: 3 passed", "1 flaky", "TestRetain"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s lacks %q:\n%s", name, w, text)
			}
		}
	}
}
