package terminal

import (
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Of a run that is retried only what is new is printed: not the ends of modules that
// were kept, nor earlier attempts of those that were not.
func TestRunView_known(t *testing.T) {
	ended := func(name string, state pipeline.ModuleState, attempt int, s float64) wire.Module {
		a := wire.Attempt{Number: attempt, Worker: "w", State: pipeline.AttemptState(state), StartedAt: second(s - 1), FinishedAt: second(s)}
		return wire.Module{Name: name, State: state, Worker: "w", StartedAt: a.StartedAt, FinishedAt: a.FinishedAt, Attempts: []wire.Attempt{a}}
	}
	before := wire.Run{Modules: []wire.Module{ended("kept", pipeline.ModuleSucceeded, 1, 1), ended("again", pipeline.ModuleFailed, 1, 2),
		{Name: "skipped", State: pipeline.ModuleSkipped, FinishedAt: second(2)}}}

	v := newRunView()
	v.known = map[string]*wire.Module{}
	for i := range before.Modules {
		v.known[before.Modules[i].Name] = &before.Modules[i]
	}

	waiting := before.Modules[1]
	waiting.State, waiting.FinishedAt = pipeline.ModuleWaiting, nil
	if got := v.apply(wire.Run{Index: 1, Modules: []wire.Module{before.Modules[0], waiting, {Name: "skipped", State: pipeline.ModuleWaiting}}}); len(got) > 0 {
		t.Errorf("printed what is known: %v", got)
	}

	again := ended("again", pipeline.ModuleSucceeded, 2, 100)
	again.Attempts = append([]wire.Attempt{before.Modules[1].Attempts[0]}, again.Attempts...)
	skipped := before.Modules[2]
	skipped.FinishedAt = second(101)
	got := v.apply(wire.Run{Index: 2, Modules: []wire.Module{again, skipped}})
	if len(got) != 2 || got[0].text != "succeeded on w in 1.0s (attempt 2)" || got[1].text != "skipped" {
		t.Errorf("printed %v", got)
	}
}
