package e2e

import (
	"fmt"
	"math/rand/v2"
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

// rounds is how often a kill is repeated: 5, or what PIPELINED_ROUNDS says.
func rounds(t *testing.T) int {
	s := os.Getenv("PIPELINED_ROUNDS")
	if s == "" {
		return 5
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("PIPELINED_ROUNDS=%q: want a number from 1 on", s)
	}
	return n
}

// start is one line that a module wrote when its process began.
type start struct {
	module string
	at     time.Time
	worker string
	pid    string
}

// witness is a directory in which modules leave a line at each start.
type witness struct{ path string }

func newWitness(c *harness.Cluster, name string) witness {
	return witness{filepath.Join(c.Dir, name)}
}

// script is shell that leaves the line.
func (w witness) script() string {
	return `echo "$PIPELINED_MODULE $(date +%s%N) $PIPELINED_WORKER $$" >> ` + w.path
}

func (w witness) starts(t *testing.T) []start {
	t.Helper()
	b, err := os.ReadFile(w.path)
	if err != nil {
		return nil
	}
	var out []start
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			t.Fatalf("witness line %q", line)
		}
		ns, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, start{f[0], time.Unix(0, ns), f[2], f[3]})
	}
	return out
}

func (w witness) byModule(t *testing.T) map[string][]start {
	out := map[string][]start{}
	for _, s := range w.starts(t) {
		out[s.module] = append(out[s.module], s)
	}
	return out
}

// sleepers is a pipeline of n modules that run for a while each.
func sleepers(n int, seconds string, w witness) string {
	var b strings.Builder
	b.WriteString("pipeline \"sleepers\" {\n  workspace { exclude = [\"**\"] }\n")
	for i := range n {
		fmt.Fprintf(&b, "  module \"m%02d\" {\n    script = <<-SH\n      %s\n      echo begin m%02d\n      sleep %s\n      echo end m%02d\n    SH\n  }\n",
			i, w.script(), i, seconds, i)
	}
	b.WriteString("}\n")
	return b.String()
}

// killRound is what came of one kill.
type killRound struct {
	gap     time.Duration // from the kill to the next start
	started int
	twice   []string // modules that were started more than once
	onOld   []string // modules of which an attempt was lost with the killed node
}

// killLeader submits 30 modules to the leader itself, kills its daemon in the
// middle, and tells what came of it.
func killLeader(t *testing.T, c *harness.Cluster, round int, again bool) killRound {
	t.Helper()
	w := newWitness(c, fmt.Sprintf("starts-%d-%t", round, again))
	file := c.WriteFile(fmt.Sprintf("p%d/sleepers.hcl", round), sleepers(30, "1", w))
	leader := c.Leader()
	health, err := leader.Health()
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.Command(filepath.Dir(file), 2*time.Minute, "submit", "-address", leader.URL, file)
	testutil.Eventually(t, harness.Wait, func() error {
		if n := len(w.starts(t)); n < 10 {
			return fmt.Errorf("%d modules started", n)
		}
		return nil
	})
	// Somewhere in the second that the modules of this wave run.
	pause := time.NewTimer(time.Duration(rand.IntN(900)) * time.Millisecond)
	defer pause.Stop()
	<-pause.C
	killed := time.Now()
	leader.Kill()
	if again {
		back := time.NewTimer(2 * time.Second)
		defer back.Stop()
		<-back.C
		leader.Start()
	}
	res := cmd.Wait()
	if res.Code != 0 {
		t.Fatalf("round %d: submit: exit %d\n%s\n%s", round, res.Code, res.Stdout, res.Stderr)
	}
	checkOutput(t, res.Stdout, 30)
	run, err := c.Run("last")
	if err != nil {
		t.Fatal(err)
	}
	var r killRound
	for i := range run.Modules {
		for _, a := range run.Modules[i].Attempts {
			if a.State == pipeline.AttemptLost && a.Worker == leader.Name {
				r.onOld = append(r.onOld, run.Modules[i].Name)
			}
		}
	}
	if len(r.onOld) > health.MaxLoad {
		t.Errorf("round %d: %v were lost, and the killed node runs %d at a time", round, r.onOld, health.MaxLoad)
	}
	for m, s := range w.byModule(t) {
		r.started += len(s)
		if len(s) > 1 {
			r.twice = append(r.twice, m)
		}
	}
	r.gap = nextStart(w.starts(t), killed)
	slices.Sort(r.twice)
	return r
}

// nextStart is the time from the kill to the first start that was decided
// after it. What was dispatched just before the kill may begin just after.
func nextStart(starts []start, killed time.Time) time.Duration {
	var gap time.Duration
	for _, s := range starts {
		if d := s.at.Sub(killed); d > 30*time.Millisecond && (gap == 0 || d < gap) {
			gap = d
		}
	}
	return gap
}

// checkOutput checks that the whole log of every module arrived once, in
// order.
func checkOutput(t *testing.T, out string, modules int) {
	t.Helper()
	seen := map[string][]string{}
	for line := range strings.Lines(out) {
		if m, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | "); ok {
			m = strings.TrimSpace(m)
			seen[m] = append(seen[m], text)
		}
	}
	for i := range modules {
		m := fmt.Sprintf("m%02d", i)
		lines := seen[m]
		if len(lines) < 2 || lines[len(lines)-2] != "begin "+m || lines[len(lines)-1] != "end "+m {
			t.Errorf("output of %s is %q", m, lines)
		}
	}
}

func TestLeaderKilled_startedAgain(t *testing.T) {
	c := harness.Start(t, 3)
	var gaps []time.Duration
	for i := range rounds(t) {
		c.Whole()
		r := killLeader(t, c, i, true)
		if len(r.twice) > 0 || r.started != 30 {
			t.Fatalf("round %d: %d starts, twice: %v", i, r.started, r.twice)
		}
		t.Logf("round %2d: next start after %4d ms, %d starts", i, r.gap.Milliseconds(), r.started)
		gaps = append(gaps, r.gap)
	}
	slices.Sort(gaps)
	t.Logf("gap: median %s, worst %s", gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
}

func TestLeaderKilled_forGood(t *testing.T) {
	for i := range min(5, rounds(t)) {
		c := harness.Start(t, 3)
		r := killLeader(t, c, i, false)
		for _, m := range r.twice {
			if !slices.Contains(r.onOld, m) {
				t.Errorf("round %d: %s was started again and did not run on the killed node (%v)", i, m, r.onOld)
			}
		}
		if r.started > 30+len(r.onOld) {
			t.Errorf("round %d: %d starts with %d modules on the killed node", i, r.started, len(r.onOld))
		}
		t.Logf("round %2d: next start after %4d ms, %d starts, on the killed node %v, twice %v", i, r.gap.Milliseconds(), r.started, r.onOld, r.twice)
	}
}

func TestAllKilled(t *testing.T) {
	c := harness.Start(t, 3)
	w := newWitness(c, "starts")
	file := c.WriteFile("p/sleepers.hcl", sleepers(24, "2", w))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[1].URL, file))
	testutil.Eventually(t, harness.Wait, func() error {
		if n := len(w.starts(t)); n < 8 {
			return fmt.Errorf("%d modules started", n)
		}
		return nil
	})
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	if r := c.CLI("wait", "-address", c.Nodes[2].URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	for m, s := range w.byModule(t) {
		if len(s) != 1 {
			t.Errorf("%s was started %d times: %v", m, len(s), s)
		}
	}
}

func TestWorkerKilledForGood(t *testing.T) {
	c := harness.Start(t, 3)
	w := newWitness(c, "starts")
	file := c.WriteFile("p/sleepers.hcl", sleepers(6, "4", w))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	leader := c.Leader()
	victim := c.Others(leader)[0]
	testutil.Eventually(t, harness.Wait, func() error {
		for _, s := range w.starts(t) {
			if s.worker == victim.Name {
				return nil
			}
		}
		return fmt.Errorf("nothing runs on %s", victim.Name)
	})
	killed := time.Now()
	victim.KillAll()
	if r := c.CLI("wait", "-address", leader.URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	run, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	again := 0
	for _, m := range run.Modules {
		if len(m.Attempts) < 2 {
			continue
		}
		again++
		if a := m.Attempts[0]; a.State != pipeline.AttemptLost || a.Worker != victim.Name {
			t.Errorf("%s: first attempt is %s on %s", m.Name, a.State, a.Worker)
		}
		if a := m.Attempts[1]; a.Number != 2 || a.Worker == victim.Name || a.State != pipeline.AttemptSucceeded {
			t.Errorf("%s: second attempt %+v", m.Name, a)
		}
		if d := m.Attempts[1].StartedAt.Sub(killed); d > 10*time.Second {
			t.Errorf("%s: its second attempt began %s after the kill", m.Name, d)
		}
	}
	if again == 0 {
		t.Error("no module was run again")
	}
}

func TestRollingRestart(t *testing.T) {
	c := harness.Start(t, 3)
	w := newWitness(c, "starts")
	file := c.WriteFile("p/sleepers.hcl", sleepers(40, "1", w))
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	for _, n := range c.Nodes {
		testutil.Eventually(t, harness.Wait, func() error {
			if len(w.starts(t)) < 4 {
				return fmt.Errorf("%d modules started", len(w.starts(t)))
			}
			return nil
		})
		n.Term()
		n.Start()
		c.Whole()
		// It is back, and takes work again.
		testutil.Eventually(t, 5*time.Second, func() error {
			if out := c.OK("members", "-json", "-address", n.URL); strings.Contains(out, "awayUntil") {
				return fmt.Errorf("%s is still away: %s", n.Name, out)
			}
			return nil
		})
	}
	if r := c.CLI("wait", "-address", c.Nodes[0].URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	run, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range run.Modules {
		if len(m.Attempts) != 1 {
			t.Errorf("%s has %d attempts: %+v", m.Name, len(m.Attempts), m.Attempts)
		}
	}
	for m, s := range w.byModule(t) {
		if len(s) != 1 {
			t.Errorf("%s was started %d times", m, len(s))
		}
	}
}
