package terminal

import (
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// If nothing of a run runs, an answer without news tells why modules wait: once, and
// not of those that wait for another module.
func TestRunView_reasons(t *testing.T) {
	wait := func(name, reason string, deps ...string) wire.Module {
		return wire.Module{Name: name, State: pipeline.ModuleWaiting, Reason: reason, DependsOn: deps}
	}
	run := wire.Run{Index: 3, Modules: []wire.Module{wait("a", "no worker has tag gpu"), wait("b", "waits for a", "a")}}
	v := newRunView()
	if got := v.apply(run); len(got) > 0 {
		t.Errorf("printed at once: %v", got)
	}
	if got := v.apply(run); len(got) != 1 || got[0].module != "a" || got[0].text != "waiting: no worker has tag gpu" {
		t.Errorf("printed %v", got)
	}
	if got := v.apply(run); len(got) > 0 {
		t.Errorf("printed again: %v", got)
	}

	busy := newRunView()
	run.Modules = append(run.Modules, wire.Module{Name: "c", State: pipeline.ModuleRunning})
	busy.apply(run)
	if got := busy.apply(run); len(got) > 0 {
		t.Errorf("printed while a module runs: %v", got)
	}
}

// The first run of a pipeline, of which nothing is known, shows no estimate.
func TestConsole_firstRunWithoutEstimate(t *testing.T) {
	b := &board{view: newRunView(), marks: &asciiMarks}
	ended := wire.Module{Name: "a", State: pipeline.ModuleSucceeded, StartedAt: second(0), FinishedAt: second(1)}
	running := wire.Module{Name: "b", State: pipeline.ModuleRunning, Attempts: []wire.Attempt{{Number: 1, StartedAt: second(1)}}}
	head := wire.RunSummary{State: pipeline.RunRunning, SubmittedAt: storyStart}
	b.view.apply(wire.Run{RunSummary: head, Index: 1, Modules: []wire.Module{ended, running}})
	if got := b.footer(*second(2), 80).render(false); strings.Contains(got, "left") {
		t.Errorf("footer %q", got)
	}

	running.ExpectedSeconds, b.estimated = 9, time.Time{}
	b.view.apply(wire.Run{RunSummary: head, Index: 2, Modules: []wire.Module{running}})
	if got := b.footer(*second(2), 80).render(false); !strings.Contains(got, "about 8s left") && !strings.Contains(got, "about 8.0s left") {
		t.Errorf("footer %q", got)
	}
}
