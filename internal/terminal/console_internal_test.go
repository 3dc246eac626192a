package terminal

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// golden compares with a file of testdata. Escapes are written out, so that the
// file can be read.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.NewReplacer("\x1b", "<ESC>", "\r", "<CR>").Replace(got)
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", path, diff)
	}
}

// story is a run with everything that can be told of one.
func story() []wire.Run {
	attempt := func(n int, worker string, s pipeline.AttemptState, from, to float64, reason string) wire.Attempt {
		a := wire.Attempt{Number: n, Worker: worker, State: s, Reason: reason, StartedAt: second(from)}
		if s.Final() {
			a.FinishedAt = second(to)
		}
		return a
	}
	head := wire.RunSummary{ID: "r1", Number: 7, Pipeline: "release", State: pipeline.RunRunning, SubmittedAt: storyStart, ModuleCount: 5}
	over := head
	over.State, over.FinishedAt = pipeline.RunFailed, second(20)
	return []wire.Run{
		{RunSummary: head, Index: 1, Modules: []wire.Module{
			{Name: "build", State: pipeline.ModuleWaiting}, {Name: "test", State: pipeline.ModuleWaiting, DependsOn: []string{"build"}},
			{Name: "lint", State: pipeline.ModuleWaiting}, {Name: "pack", State: pipeline.ModuleWaiting, DependsOn: []string{"test", "lint"}},
			{Name: "docs", State: pipeline.ModuleWaiting}}},
		{RunSummary: head, Index: 2, Modules: []wire.Module{
			{Name: "build", State: pipeline.ModuleRunning, Attempts: []wire.Attempt{attempt(1, "node-1", pipeline.AttemptRunning, 1, 0, "")}},
			{Name: "lint", State: pipeline.ModuleRunning, Attempts: []wire.Attempt{attempt(1, "node-2", pipeline.AttemptAssigned, 0, 0, "")}}}},
		{RunSummary: head, Index: 3, Modules: []wire.Module{
			{Name: "docs", State: pipeline.ModuleSucceeded, Worker: "node-2", StartedAt: second(1), FinishedAt: second(1.25), Attempts: []wire.Attempt{attempt(1, "node-2", pipeline.AttemptSucceeded, 1, 1.25, "")}},
			{Name: "build", State: pipeline.ModuleRunning, Attempts: []wire.Attempt{
				attempt(1, "node-1", pipeline.AttemptLost, 1, 3, "its worker died"), attempt(2, "node-2", pipeline.AttemptRunning, 4, 0, "")}},
			{Name: "lint", State: pipeline.ModuleWaiting, NotBefore: second(5.5), Attempts: []wire.Attempt{attempt(1, "node-2", pipeline.AttemptFailed, 2, 4.5, "exit code 75")}}}},
		{RunSummary: over, Index: 4, Modules: []wire.Module{
			{Name: "build", State: pipeline.ModuleSucceeded, Worker: "node-2", StartedAt: second(4), FinishedAt: second(9), Attempts: []wire.Attempt{
				attempt(1, "node-1", pipeline.AttemptSuperseded, 1, 3, "its worker died"), attempt(2, "node-2", pipeline.AttemptSucceeded, 4, 9, "")}},
			{Name: "lint", State: pipeline.ModuleFailed, Worker: "node-1", Reason: "exit code 75", StartedAt: second(6), FinishedAt: second(7), Attempts: []wire.Attempt{
				attempt(1, "node-2", pipeline.AttemptFailed, 2, 4.5, "exit code 75"), attempt(2, "node-1", pipeline.AttemptFailed, 6, 7, "exit code 75")}},
			{Name: "test", State: pipeline.ModuleCancelled, Worker: "node-2", Reason: "the run failed", StartedAt: second(9), FinishedAt: second(10)},
			{Name: "pack", State: pipeline.ModuleSkipped, Reason: "lint failed"}}},
	}
}

// newTestConsole makes a display on buffers or a terminal, at a clock of the test.
func newTestConsole(out, err *Stream, clock *time.Time, cfg ConsoleConfig) *Console {
	cfg.Out, cfg.Err, cfg.Now = out, err, func() time.Time { return *clock }
	return NewConsole(cfg)
}

// play shows the story on a console, with output between its parts.
func play(c *Console, clock *time.Time) {
	for i, r := range story() {
		*clock = storyStart.Add(time.Duration(i) * 4 * time.Second)
		c.update(r)
		if i > 0 {
			c.part(part{"build", fmt.Appendf(nil, "line %d", i), true, true})
			c.part(part{"lint", []byte("\x1b[31mred"), true, true})
		}
		c.flush()
		if i == 1 {
			*clock = clock.Add(liveTick)
			c.tick()
		}
	}
	last := wire.Run{RunSummary: c.view.run, File: "/src/p.hcl", Modules: c.view.modules}
	for i := range last.Modules {
		last.Modules[i].Line = 10 + i
	}
	c.finish(&last)
}

func TestConsole_plain(t *testing.T) {
	var out, err bytes.Buffer
	var clock time.Time
	play(newTestConsole(NewStream(&out), NewStream(&err), &clock, ConsoleConfig{Dir: "/src", FlagsLater: "-address 127.0.0.1:8080", Page: func() string { return "http://n1:8080/runs/1284" }}), &clock)
	golden(t, "plain.stdout", out.String())
	golden(t, "plain.stderr", err.String())
}

func TestConsole_quiet(t *testing.T) {
	var out, err bytes.Buffer
	var clock time.Time
	c := newTestConsole(NewStream(&out), NewStream(&err), &clock, ConsoleConfig{Quiet: true})
	for _, r := range story() {
		c.update(r)
		c.part(part{"build", []byte("line 1"), true, true})
		c.flush()
	}
	if err.String() != "" || !strings.Contains(out.String(), "build | line 1\n") {
		t.Errorf("stderr %q, stdout %q", err.String(), out.String())
	}
}

func TestRunView_order(t *testing.T) {
	v := newRunView()
	s := story()
	v.apply(s[2])
	if got := v.apply(s[1]); got != nil || v.index != 3 {
		t.Errorf("an older answer changed the view: %+v", got)
	}
	if got := v.apply(s[2]); len(got) != 0 {
		t.Errorf("what was told is told again: %+v", got)
	}
}

func TestEstimate(t *testing.T) {
	done := func(name string, seconds float64) wire.Module {
		return wire.Module{Name: name, State: pipeline.ModuleSucceeded, StartedAt: second(0), FinishedAt: second(seconds)}
	}
	runs := func(name string, since float64) wire.Module {
		return wire.Module{Name: name, State: pipeline.ModuleRunning, Attempts: []wire.Attempt{{StartedAt: second(since)}}}
	}
	waits := func(name string, deps ...string) wire.Module {
		return wire.Module{Name: name, State: pipeline.ModuleWaiting, DependsOn: deps}
	}
	expects := func(m wire.Module, seconds float64) wire.Module { m.ExpectedSeconds = seconds; return m }
	now := storyStart.Add(10 * time.Second)
	for _, tc := range []struct {
		name    string
		modules []wire.Module
		want    float64
	}{
		{"nothing known", []wire.Module{waits("a"), runs("b", 9)}, -1},
		{"all done", []wire.Module{done("a", 4)}, 0},
		{"a chain", []wire.Module{done("a", 4), waits("b", "a"), waits("c", "b"), waits("d", "c")}, 12},
		{"side by side", []wire.Module{done("a", 4), runs("b", 9), runs("c", 9), waits("d"), waits("e")}, 7},
		{"one runs long", []wire.Module{done("a", 4), runs("b", -10)}, 5},
		{"a diamond", []wire.Module{done("a", 2), waits("b", "a"), waits("c", "a"), waits("d", "b", "c"), runs("e", 10), runs("f", 10)}, 5},
		{"what earlier runs took", []wire.Module{expects(runs("a", 8), 6), expects(waits("b", "a"), 3)}, 7},
		{"one that is new", []wire.Module{expects(runs("a", 8), 6), waits("b", "a")}, 10},
		{"nothing runs yet", []wire.Module{expects(waits("a"), 6), expects(waits("b"), 4)}, 6},
		{"a cycle", []wire.Module{done("a", 2), waits("b", "c"), waits("c", "b")}, 4},
	} {
		left, ok := estimate(tc.modules, now)
		if tc.want < 0 != !ok || ok && left.Seconds() != tc.want {
			t.Errorf("%s: %s, %v, want %v s", tc.name, left, ok, tc.want)
		}
	}
}

func TestShortDuration(t *testing.T) {
	for seconds, want := range map[float64]string{-1: "0.00s", 0: "0.00s", 0.034: "0.03s", 0.994: "0.99s", 0.996: "1.0s", 1.25: "1.2s", 9.97: "10s", 42.4: "42s", 59.6: "1m00s",
		185: "3m05s", 3599.7: "1h00m", 7440: "2h04m", 266400: "3d2h"} {
		if got := ShortDuration(time.Duration(seconds * float64(time.Second))); got != want {
			t.Errorf("%v s: %s, want %s", seconds, got, want)
		}
	}
}

// TestTries: what was queued behind another and given back was no try.
func TestTries(t *testing.T) {
	began := time.Unix(1, 0)
	back := wire.Attempt{Number: 1, State: pipeline.AttemptCancelled}
	ok := wire.Attempt{Number: 2, State: pipeline.AttemptSucceeded, StartedAt: &began}
	bad := wire.Attempt{Number: 1, State: pipeline.AttemptFailed, StartedAt: &began}
	lost := wire.Attempt{Number: 1, State: pipeline.AttemptLost}
	for _, tc := range []struct {
		list []wire.Attempt
		n    int
		note string
	}{
		{[]wire.Attempt{back, ok}, 1, ""},
		{[]wire.Attempt{bad, ok}, 2, " (attempt 2)"},
		{[]wire.Attempt{lost, ok}, 2, " (attempt 2)"},
		{[]wire.Attempt{back}, 0, ""},
	} {
		if n := CountTries(tc.list); n != tc.n {
			t.Errorf("%+v: %d tries, want %d", tc.list, n, tc.n)
		}
		if note := attemptNote(&wire.Module{Attempts: tc.list}, len(tc.list)-1); note != tc.note {
			t.Errorf("%+v: %q, want %q", tc.list, note, tc.note)
		}
	}
}
