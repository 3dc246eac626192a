package language

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// expected is what a case says of one module.
type expected struct {
	state, reason string
}

// testCase is one file of cases/.
type testCase struct {
	name, path string
	run        string
	flags      []string
	// retry are the flags with which the run is retried as a new one, which is what the
	// case is about then; before is how the first one ends.
	retry  []string
	before string
	kill   bool
	// cluster cases end otherwise in run, which no worker can join.
	cluster bool
	// engine cases need a container engine.
	engine bool
	// rules are the rules of the language that the case is of.
	rules []string
	// errors is what is said of a case that is invalid.
	errors   []string
	modules  map[string]expected
	attempts map[string]int
	logs     map[string][]string
	// words are the decisions about modules that wait for an approval.
	words map[string]word
}

// word is a decision: approve or reject, and what is said with it.
type word struct{ verb, text string }

// cases reads all files.
func cases(t *testing.T) []testCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("cases", "*.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var list []testCase
	host, why := harness.EngineHost()
	for _, path := range files {
		c := readCase(t, path)
		if c.engine && host == "" {
			t.Logf("left out: %s, which %s", c.name, why)
			continue
		}
		list = append(list, c)
	}
	return list
}

func readCase(t *testing.T, path string) testCase {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	c := testCase{name: strings.TrimSuffix(filepath.Base(path), ".hcl"), path: path,
		modules: map[string]expected{}, attempts: map[string]int{}, logs: map[string][]string{}, words: map[string]word{}}
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch what, name, _ := strings.Cut(key, " "); {
		case line == "kill":
			c.kill = true
		case line == "engine":
			c.engine = true
		case line == "cluster":
			c.cluster = true
		case key == "run":
			c.run = value
		case key == "rules":
			c.rules = strings.Fields(value)
		case key == "error":
			c.errors = append(c.errors, value)
		case key == "retry":
			c.retry = strings.Fields(value)
		case key == "first run":
			c.before = value
		case key == "flags":
			c.flags = strings.Fields(value)
		case what == "attempts":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatalf("%s: %q", path, line)
			}
			c.attempts[name] = n
		case what == "approve" || what == "reject":
			c.words[name] = word{what, value}
		case what == "log":
			c.logs[name] = append(c.logs[name], value)
		default:
			state, reason, _ := strings.Cut(value, " ")
			c.modules[key] = expected{state, strings.Trim(reason, `"`)}
		}
	}
	if c.run == "" || len(c.modules)+len(c.errors) == 0 || len(c.rules) == 0 {
		t.Fatalf("%s says nothing of the run, of its modules or of the rules that it is of", path)
	}
	return c
}

// check compares a finished run, and the lines of its output, with the case.
func (c *testCase) check(r wire.Run, lines []string) error {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if string(r.State) != c.run {
		add("the run is %s (%s), want %s", r.State, r.Reason, c.run)
	}
	seen := map[string]bool{}
	for _, m := range r.Modules {
		seen[m.Name] = true
		want, ok := c.modules[m.Name]
		switch {
		case !ok:
			add("module %s (%s: %s) is not expected", m.Name, m.State, m.Reason)
		case string(m.State) != want.state || !strings.Contains(m.Reason, want.reason):
			add("%s is %s (%q), want %s (%q)", m.Name, m.State, m.Reason, want.state, want.reason)
		}
		// An attempt that was given back unstarted is no try.
		tries := 0
		for _, a := range m.Attempts {
			if a.StartedAt != nil && a.State != pipeline.AttemptLost {
				tries++
			}
		}
		if n, ok := c.attempts[m.Name]; ok && n != tries {
			add("%s had %d attempts, want %d: %+v", m.Name, tries, n, m.Attempts)
		}
	}
	for name := range c.modules {
		if !seen[name] {
			add("module %s is not there", name)
		}
	}
	for name, want := range c.logs {
		for _, text := range want {
			if !slices.Contains(lines, name+" | "+text) {
				add("%s did not write %q; the output is %q", name, text, lines)
			}
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %s", c.name, strings.Join(wrong, "\n  "))
	}
	return nil
}

// invalid is the state of what never becomes a run.
const invalid = "invalid"

// refused compares what is said of an invalid case.
func (c *testCase) refused(stderr string) error {
	for _, text := range c.errors {
		if !strings.Contains(stderr, text) {
			return fmt.Errorf("%s: %q is not said in %s", c.name, text, stderr)
		}
	}
	return nil
}

// exitOf is the exit code that follows from the state of a run.
func exitOf(state string) int {
	switch state {
	case "failed":
		return 1
	case invalid:
		return 2
	case "cancelled":
		return 3
	}
	return 0
}

// TestRun runs every case with `run`, each with a state directory of its own.
func TestRun(t *testing.T) {
	t.Parallel()
	bin := harness.Binary(t)
	host, _ := harness.EngineHost()
	g := errgroup.Group{}
	g.SetLimit(4)
	for _, c := range cases(t) {
		if c.cluster {
			continue
		}
		dir := t.TempDir()
		g.Go(func() error {
			var stderr lockedText
			run := func(args ...string) ([]byte, error) {
				cmd := exec.Command(bin, args...)
				cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CASE_VAR=from outside", "CASE_OTHER=x", "CASE_TOKEN=a credential", "DOCKER_HOST="+host)
				stderr.Reset()
				cmd.Stderr = &stderr
				stop := c.decide(stderr.String, func(args ...string) error {
					cmd := exec.Command(bin, args...)
					cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+dir, "XDG_CONFIG_HOME="+dir)
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Errorf("%s: %v: %s", c.name, args, out)
					}
					return err
				})
				out, err := cmd.Output()
				stop()
				if exit, ok := err.(*exec.ExitError); ok && slices.Contains([]int{exitOf(c.run), exitOf(c.before)}, exit.ExitCode()) {
					err = nil
				}
				return out, err
			}
			out, err := run(append([]string{"run", "-json", "-timeout", "90s"}, append(c.flags, c.path)...)...)
			if err == nil && c.retry != nil {
				out, err = run(append(append([]string{"-address", "run", "retry", "-json"}, c.retry...), idOf(out))...)
			}
			if err != nil {
				t.Errorf("%s: run: %v: %s%s", c.name, err, out, &stderr)
				return nil
			}
			if c.run == invalid {
				if err := c.refused(stderr.String()); err != nil {
					t.Error(err)
				}
				return nil
			}
			var r wire.Run
			if err := json.Unmarshal(out, &r); err != nil {
				t.Errorf("%s: %v in %s", c.name, err, out)
				return nil
			}
			logs, err := run("-address", "run", "logs", string(r.ID))
			if err == nil || exitOf(c.run) != 0 {
				err = c.check(r, strings.Split(strings.TrimSpace(string(logs)), "\n"))
			}
			if err != nil {
				t.Error(err)
			}
			return nil
		})
	}
	_ = g.Wait() // every failure was told
}

// idOf is the id of the run that a command printed as JSON; "" if there is none.
func idOf(out []byte) string {
	var r wire.Run
	_ = json.Unmarshal(out, &r) // without one the next command fails
	return string(r.ID)
}

// start starts three nodes; what is submitted there comes from an environment
// that the cases know.
func start(t *testing.T) *harness.Cluster {
	t.Helper()
	host, _ := harness.EngineHost()
	cl := harness.Start(t, 3, "-config", harness.ConfigFile(t, "container_host = \""+cmp.Or(host, "off")+"\"\n"))
	cl.Env = append(cl.Env, "CASE_VAR=from outside", "CASE_OTHER=x", "CASE_TOKEN=a credential")
	return cl
}

// submit runs a case on a cluster and gives what is wrong.
func submit(cl *harness.Cluster, c testCase) error {
	var nodes []string
	for _, n := range cl.Nodes {
		nodes = append(nodes, n.URL)
	}
	address := strings.Join(nodes, ",")
	var failed error
	follow := func(command string, args ...string) harness.Result {
		running := cl.Command(cl.Dir, 5*time.Minute, append([]string{command, "-json", "-timeout", "120s", "-address", address}, args...)...)
		stop := c.decide(running.Stderr, func(args ...string) error {
			res := cl.CLI(append(args, "-address", address)...)
			if res.Code != 0 {
				failed = fmt.Errorf("%s: %v ended %d: %s", c.name, args, res.Code, res.Stderr)
			}
			return failed
		})
		defer stop()
		return running.Wait()
	}
	res := follow("submit", append(c.flags, c.path)...)
	if c.retry != nil && failed == nil {
		if res.Code != exitOf(c.before) {
			return fmt.Errorf("%s: submit ended %d, want %d: %s", c.name, res.Code, exitOf(c.before), res.Stderr)
		}
		res = follow("retry", append(c.retry, idOf([]byte(res.Stdout)))...)
	}
	if failed != nil {
		return failed
	}
	if res.Code != exitOf(c.run) {
		return fmt.Errorf("%s: submit ended %d, want %d: %s", c.name, res.Code, exitOf(c.run), res.Stderr)
	}
	if c.run == invalid {
		return c.refused(res.Stderr)
	}
	var r wire.Run
	if err := json.Unmarshal([]byte(res.Stdout), &r); err != nil {
		return fmt.Errorf("%s: %w in %s", c.name, err, res.Stdout)
	}
	logs := cl.CLI("logs", "-address", address, string(r.ID))
	return c.check(r, strings.Split(strings.TrimSpace(logs.Stdout), "\n"))
}

// TestCluster runs every case on three nodes.
func TestCluster(t *testing.T) {
	cl := start(t)
	g := errgroup.Group{}
	g.SetLimit(6)
	for _, c := range cases(t) {
		g.Go(func() error {
			if err := submit(cl, c); err != nil {
				t.Error(err)
			}
			return nil
		})
	}
	_ = g.Wait() // every failure was told
}

// TestCluster_leaderKilled runs the cases that ask for it while one leader after
// another is killed and started again. Outcomes are the same.
func TestCluster_leaderKilled(t *testing.T) {
	cl := start(t)
	var todo []testCase
	for _, c := range cases(t) {
		if c.kill {
			todo = append(todo, c)
		}
	}
	if len(todo) < 20 {
		t.Errorf("%d cases ask for kills, want 20", len(todo))
	}
	const wanted = 4
	var kills atomic.Int32
	done := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			n := cl.Leader()
			n.Kill()
			n.Start()
			cl.Whole()
			kills.Add(1)
		}
	})
	// Again and again until enough leaders have died in the middle of it.
	for round := 0; round < 20 && (round == 0 || kills.Load() < wanted) && !t.Failed(); round++ {
		g := errgroup.Group{}
		g.SetLimit(4)
		for _, c := range todo {
			g.Go(func() error {
				if err := submit(cl, c); err != nil {
					t.Error(err)
				}
				return nil
			})
		}
		_ = g.Wait() // every failure was told
	}
	close(done)
	killer.Wait()
	if n := kills.Load(); n < wanted {
		t.Errorf("%d leaders were killed, want %d", n, wanted)
	}
}

// TestCases_rules wants two cases at least of each rule of the language.
func TestCases_rules(t *testing.T) {
	count := map[string]int{}
	for _, c := range cases(t) {
		for _, r := range c.rules {
			count[r]++
		}
	}
	for _, r := range strings.Fields("1 2 3 4 5 6 7 8 9 10 s21 s22 s23 s24 s25 s26 s27 s28 s29 approval runs imports child container notify retry") {
		if count[r] < 2 {
			t.Errorf("rule %s has %d cases, want 2", r, count[r])
		}
		delete(count, r)
	}
	for r := range count {
		t.Errorf("there is no rule %s", r)
	}
}
