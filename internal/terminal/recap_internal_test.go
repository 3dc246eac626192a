package terminal

import (
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// The recap names the tests that failed, and nothing of them reaches the terminal as an
// escape sequence.
func TestRecap_failedTests(t *testing.T) {
	tests := func(failed int, names ...string) *wire.ModuleTests {
		return &wire.ModuleTests{TestCounts: wire.TestCounts{Total: 9, Failed: failed}, FailedNames: names}
	}
	for _, c := range []struct {
		tests *wire.ModuleTests
		want  string
	}{
		{nil, ""},
		{tests(0), ""},
		{tests(1, "fsm.TestRetain"), "1 of 9 tests failed: fsm.TestRetain"},
		{tests(7, "a", "b\x1b[31m\nc"), "7 of 9 tests failed: a, b c and 5 more"},
	} {
		if got := failedTests(&wire.Module{Tests: c.tests}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// The address leads to the line that names a file that is there, else to the last one;
// a module that never began has no output to look at.
func TestRecap_anchor(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{nil, "?m=unit"},
		{[]string{"start", "gone.go:12: undefined: foo", "main.go:12: undefined: foo", "exit"}, "?m=unit#L3"},
		{[]string{"start", "gone.go:12: undefined: foo"}, "?m=unit#L2"},
	} {
		console, p := &Console{tails: newTails()}, &recap{exists: func(name string) bool { return name == "main.go" }}
		for _, text := range c.lines {
			console.tails.add(part{module: "unit", text: []byte(text), begins: true})
		}
		if got := p.anchor(console, []*wire.Module{{Name: "unit"}}); got != c.want {
			t.Errorf("%q: got %q, want %q", c.lines, got, c.want)
		}
	}
}

// Of a module that never began, neither its output nor a command for it is shown.
func TestRecap_neverBegan(t *testing.T) {
	began := time.Unix(0, 0)
	for _, c := range []struct {
		module wire.Module
		want   bool
	}{
		{wire.Module{Name: "gpu", State: pipeline.ModuleFailed, Reason: "no worker has tag gpu"}, false},
		{wire.Module{Name: "gpu", State: pipeline.ModuleFailed, Reason: "no worker has tag gpu", Attempts: []wire.Attempt{{Number: 1, State: pipeline.AttemptLost}}}, false},
		{wire.Module{Name: "quiet", State: pipeline.ModuleFailed, StartedAt: &began, Attempts: []wire.Attempt{{Number: 1, State: pipeline.AttemptFailed, StartedAt: &began}}}, true},
	} {
		console, p := &Console{tails: newTails(), view: newRunView()}, &recap{marks: &Marks{}}
		run := &wire.Run{RunSummary: wire.RunSummary{Number: 7, State: pipeline.RunFailed}}
		var text strings.Builder
		for _, r := range append(p.module(console, run, &c.module), p.commands(console, run, []*wire.Module{&c.module})...) {
			text.WriteString(r.render(false) + "\n")
		}
		got := text.String()
		if strings.Contains(got, "printed nothing") != c.want || strings.Contains(got, "pipelined logs") != c.want || !strings.Contains(got, "pipelined why") {
			t.Errorf("%+v:\n%s", c.module, got)
		}
	}
}

// Nothing is estimated for a run of which no module runs.
func TestLeft_waits(t *testing.T) {
	for state, want := range map[pipeline.ModuleState]bool{pipeline.ModuleWaiting: false, pipeline.ModuleRunning: true} {
		if _, ok := Left([]wire.Module{{Name: "a", State: state, ExpectedSeconds: 3}}, time.Unix(0, 0)); ok != want {
			t.Errorf("%s: %v, want %v", state, ok, want)
		}
	}
}
