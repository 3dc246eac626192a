package attack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// volume is how many submissions an attack makes; PIPELINED_ATTACK_RUNS sets another
// number than its few.
func volume(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("PIPELINED_ATTACK_RUNS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// terms counts how often a node of the cluster has begun to lead.
func terms(tb testing.TB, c *harness.Cluster) (n int) {
	tb.Helper()
	for _, node := range c.Nodes {
		log, err := os.ReadFile(node.LogFile())
		if err != nil {
			tb.Fatal(err)
		}
		n += strings.Count(string(log), "leading: term=")
	}
	return n
}

// Waiting runs of 3,000 modules each take a new leader neither much memory nor time,
// and hold up no other run.
func TestMemory_newLeader(t *testing.T) {
	c := harness.Start(t, 3)
	lead := c.Leader()
	runs := volume(t, 12)
	for i := range runs {
		file := c.WriteFile("large.hcl", fmt.Sprintf(`pipeline "large%d" {
  workspace { exclude = ["**"] }
  module "m" {
    matrix   = { a = range(0, 60), b = range(0, 50) }
    requires = { tags = ["nobody"] }
    script   = "true"
  }
}
`, i))
		c.OK("submit", "-detach", "-address", lead.URL, file)
	}
	t.Logf("%d runs: the leader has %d MB, at most %d MB; leaders until then: %d", runs, memory(t, lead.PID(), "RssAnon"), memory(t, lead.PID(), "VmHWM"), terms(t, c))

	lead = c.Leader() // a busy machine may have changed it
	one := c.WriteFile("one.hcl", "pipeline \"one\" {\n  workspace { exclude = [\"**\"] }\n  module \"m\" { command = [\"true\"] }\n}\n")
	lead.Kill()
	began := time.Now()
	rest := c.Others(lead)
	c.OK("submit", "-quiet", "-address", rest[0].URL, one)
	took := time.Since(began)

	next := c.Leader()
	peak := memory(t, next.PID(), "VmHWM")
	t.Logf("after the death of the leader a run has ended within %s; the new leader has taken at most %d MB", took.Round(10*time.Millisecond), peak)
	if peak > 300 {
		t.Errorf("the new leader has taken %d MB, must be 300 at most", peak)
	}
}

// Sources of 8 KB that become 2,048 instances, of 16 MB of text, take little memory.
func TestMemory_definitions(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	runs := volume(t, 6)
	for i := range runs {
		file := c.WriteFile("wide.hcl", fmt.Sprintf(`pipeline "wide%d" {
  workspace { exclude = ["**"] }
  module "m" {
    matrix   = { a = range(0, 64), b = range(0, 32) }
    requires = { tags = ["nobody"] }
    script   = "# %s"
  }
}
`, i, strings.Repeat("x", 8000)))
		id := strings.Fields(c.OK("submit", "-detach", "-address", n.URL, file))[0]
		c.OK("cancel", "-address", n.URL, id)
	}

	peak := memory(t, n.PID(), "VmHWM")
	t.Logf("%d runs: at most %d MB, %d MB are left", runs, peak, memory(t, n.PID(), "RssAnon"))
	if peak > 400 {
		t.Errorf("the node has taken %d MB, must be 400 at most", peak)
	}
}
