package scheduler_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

func TestSimulate(t *testing.T) {
	mod := func(name string, needs ...string) pipeline.Module {
		return pipeline.Module{Name: name, DependsOn: needs}
	}

	lock := func(m pipeline.Module, key string) pipeline.Module { m.Locks = []string{key}; return m }
	skip := func(m pipeline.Module) pipeline.Module { m.Skip = "no"; return m }
	tag := func(m pipeline.Module) pipeline.Module { m.Requires.Tags = []string{"gpu"}; return m }
	limit := func(m pipeline.Module, n int) pipeline.Module { m.Of, m.MaxParallel = "block", n; return m }
	child := func(m pipeline.Module) pipeline.Module { m.Child = &pipeline.Child{}; return m }
	ask := func(m pipeline.Module) pipeline.Module { m.Approval = &pipeline.Approval{}; return m }
	for _, tc := range []struct {
		name string
		mods []pipeline.Module
		want string
	}{
		{"longest first", []pipeline.Module{mod("1a"), mod("1b"), mod("1c"), mod("5d")}, "1a 0-1 1b 1-2 1c 2-3 5d 0-5"},
		{"a chain", []pipeline.Module{mod("1a"), mod("2b", "1a"), mod("3c", "2b")}, "1a 0-1 2b 1-3 3c 3-6"},
		{"a lock", []pipeline.Module{lock(mod("1a"), "k"), lock(mod("2b"), "k"), mod("1c")}, "1a 0-1 2b 1-3 1c 0-1"},
		{"one instance at a time", []pipeline.Module{limit(mod("1a"), 1), limit(mod("2b"), 1), mod("1c")}, "1a 2-3 2b 0-2 1c 0-1"},
		{"pipelines take no slot", []pipeline.Module{child(mod("1a")), child(mod("2b")), child(mod("3c")), mod("1d", "3c")}, "1a 0-1 2b 0-2 3c 0-3 1d 3-4"},
		{"one pipeline at a time", []pipeline.Module{limit(child(mod("1a")), 1), limit(child(mod("2b")), 1), limit(child(mod("1c")), 1)}, "1a 0-1 2b 1-3 1c 3-4"},
		{"an approval takes no slot", []pipeline.Module{ask(mod("9a")), mod("1b", "9a")}, "9a 0-0 1b 0-1"},
		{"what is skipped", []pipeline.Module{skip(mod("9a")), mod("9b", "9a"), mod("1c")}, "9a skipped 9b skipped 1c 0-1"},
		{"no worker has it", []pipeline.Module{tag(mod("1a")), mod("1b", "1a"), mod("1c")}, "1a stuck 1b stuck 1c 0-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &pipeline.Pipeline{Modules: tc.mods}
			got := ""
			for i, s := range simulated(p, worker("w", 2)) {
				text := fmt.Sprintf("%d-%d", s.Start/time.Second, s.End/time.Second)
				if s.Stuck {
					text = "stuck"
				}
				if s.Skipped {
					text = "skipped"
				}
				got += " " + p.Modules[i].Name + " " + text
			}

			if got[1:] != tc.want {
				t.Errorf("got  %s\nwant %s", got[1:], tc.want)
			}
		})
	}
}

// simulated derives each module's duration from its name.
func simulated(p *pipeline.Pipeline, workers ...*scheduler.Worker) []scheduler.Simulated {
	var expected []time.Duration
	var classes []scheduler.Class
	for i := range p.Modules {
		m := &p.Modules[i]
		expected = append(expected, time.Duration(m.Name[0]-'0')*time.Second)
		classes = append(classes, scheduler.ClassOf(m.Requires, m.Resources, ""))
	}
	return scheduler.Simulate(p, expected, classes, workers)
}

// TestSimulate_property: what is played keeps the dependencies and the slots, is
// never shorter than the longest path, and all of it ends.
func TestSimulate_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(t, "n")
		p := &pipeline.Pipeline{MaxParallel: rapid.IntRange(0, 3).Draw(t, "max")}
		index := map[string]int{}
		var expected []time.Duration
		for i := range n {
			m := pipeline.Module{Name: fmt.Sprintf("%dm%d", rapid.IntRange(1, 9).Draw(t, "takes"), i)}
			for j := range i {
				if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
					m.DependsOn = append(m.DependsOn, p.Modules[j].Name)
				}
			}
			index[m.Name] = i
			expected = append(expected, time.Duration(m.Name[0]-'0')*time.Second)
			p.Modules = append(p.Modules, m)
		}

		slots := rapid.IntRange(1, 3).Draw(t, "slots")
		out := simulated(p, worker("v", slots), worker("w", 1))
		limit := slots + 1
		if p.MaxParallel > 0 {
			limit = min(limit, p.MaxParallel)
		}

		var end time.Duration
		for i, s := range out {
			if s.Stuck || s.End-s.Start != expected[i] {
				t.Fatalf("%s: %+v", p.Modules[i].Name, s)
			}

			for _, d := range p.Modules[i].DependsOn {
				if out[index[d]].End > s.Start {
					t.Fatalf("%s starts before %s ends", p.Modules[i].Name, d)
				}
			}

			busy := 0
			for _, o := range out {
				if o.Start <= s.Start && s.Start < o.End {
					busy++
				}
			}

			if busy > limit {
				t.Fatalf("%d run at %s, at most %d may", busy, s.Start, limit)
			}

			end = max(end, s.End)
		}

		path, length := scheduler.LongestPath(p, expected)
		if end < length {
			t.Fatalf("took %s, and the longest path takes %s", end, length)
		}

		for i := 1; i < len(path); i++ {
			if !slices.Contains(p.Modules[path[i]].DependsOn, p.Modules[path[i-1]].Name) {
				t.Fatalf("the path %v is no chain", path)
			}
		}

		if diff := cmp.Diff(out, simulated(p, worker("v", slots), worker("w", 1))); diff != "" {
			t.Fatalf("the same view gives another plan:\n%s", diff)
		}
	})
}
