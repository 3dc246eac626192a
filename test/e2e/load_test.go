package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// loadTime is for how long the machine is kept busy: 15 s, or what
// PIPELINED_LOAD says. docs/performance.md has the log of ten minutes.
func loadTime(t *testing.T) time.Duration {
	s := os.Getenv("PIPELINED_LOAD")
	if s == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("PIPELINED_LOAD=%q: %v", s, err)
	}
	return d
}

// Modules that burn every core, three times over, bring no election.
func TestFullLoadBringsNoElection(t *testing.T) {
	c := harness.Start(t, 3)
	var b strings.Builder
	b.WriteString("pipeline \"burn\" {\n  workspace { exclude = [\"**\"] }\n")
	for i := range 24 {
		fmt.Fprintf(&b, "  module \"burn%d\" {\n    script = \"timeout 2 sh -c 'while :; do :; done' || true\"\n  }\n", i)
	}
	b.WriteString("}\n")
	file := c.WriteFile("p/burn.hcl", b.String())
	first, err := c.Nodes[0].Health()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for runs := 1; time.Since(began) < loadTime(t); runs++ {
		if r := c.CLI("submit", "-quiet", "-address", c.Nodes[runs%3].URL, file); r.Code != 0 {
			t.Fatalf("submit: exit %d %s", r.Code, r.Stderr)
		}
		h, err := c.Nodes[runs%3].Health()
		if err != nil {
			t.Fatal(err)
		}
		load, _ := os.ReadFile("/proc/loadavg")
		t.Logf("%4.0f s: run %3d, term %d, leader %s, entries %d, load %.14s", time.Since(began).Seconds(), runs, h.Term, h.Leader, h.CommitIndex, load)
		if h.Term != first.Term {
			t.Errorf("an election: term %d became %d", first.Term, h.Term)
			first.Term = h.Term
		}
	}
}
