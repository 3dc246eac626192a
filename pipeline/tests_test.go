package pipeline_test

import (
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

// A test is flaky if it failed before the module succeeded: in the same attempt, or in
// an earlier one and not in the last.
func TestModuleRecord_FlakyTests(t *testing.T) {
	name := func(names ...string) (out []pipeline.TestName) {
		for _, n := range names {
			out = append(out, pipeline.TestName{Class: "c", Name: n})
		}
		return out
	}
	attempt := func(n int, failing, flaked []pipeline.TestName) pipeline.Attempt {
		return pipeline.Attempt{Number: n, Tests: &pipeline.TestSummary{Failing: failing, Flaked: flaked}}
	}
	attempts := []pipeline.Attempt{attempt(1, name("a", "b"), nil), attempt(2, name("b", "c", "d"), nil), {Number: 3}, attempt(4, name("d"), name("e"))}

	for _, c := range []struct {
		state    pipeline.ModuleState
		attempts []pipeline.Attempt
		want     string
	}{
		{pipeline.ModuleSucceeded, attempts, "c.e 4, c.b 2, c.c 2, c.a 1"},
		{pipeline.ModuleFailed, attempts, ""},
		{pipeline.ModuleSucceeded, attempts[:1], ""},
		{pipeline.ModuleSucceeded, nil, ""},
	} {
		m := pipeline.ModuleRecord{State: c.state, Attempts: c.attempts}
		got := ""
		for i, f := range m.FlakyTests() {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %d", f.Title(), f.Attempt)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.state, got, c.want)
		}
	}
}
