package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

func TestRanks(t *testing.T) {
	mod := func(name string, needs ...string) pipeline.Module {
		return pipeline.Module{Name: name, DependsOn: needs}
	}

	for _, tc := range []struct {
		name string
		mods []pipeline.Module
		want []int
	}{
		{"none", nil, []int{}},
		{"one", []pipeline.Module{mod("a")}, []int{1}},
		{"chain", []pipeline.Module{mod("a"), mod("b", "a"), mod("c", "b")}, []int{3, 2, 1}},
		{"chain, against the source", []pipeline.Module{mod("c", "b"), mod("b", "a"), mod("a")}, []int{1, 2, 3}},
		{"diamond", []pipeline.Module{mod("a"), mod("b", "a"), mod("c", "a"), mod("d", "b", "c")}, []int{3, 2, 2, 1}},
		{"the longer way counts", []pipeline.Module{mod("a"), mod("b", "a"), mod("c", "b"), mod("d", "a", "c")}, []int{4, 3, 2, 1}},
		{"two that know nothing of each other", []pipeline.Module{mod("a"), mod("b", "a"), mod("x")}, []int{2, 1, 1}},
		{"a need twice, and one that is not there", []pipeline.Module{mod("a"), mod("b", "a", "a", "gone")}, []int{2, 1}},
		{"a cycle ends", []pipeline.Module{mod("a", "b"), mod("b", "a"), mod("c", "c")}, []int{1, 1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, scheduler.Ranks(&pipeline.Pipeline{Modules: tc.mods}, nil)); diff != "" {
				t.Errorf("ranks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRanks_expected(t *testing.T) {
	p := &pipeline.Pipeline{Modules: []pipeline.Module{{Name: "a"}, {Name: "b", DependsOn: []string{"a"}}, {Name: "slow"}, {Name: "none"}}}
	got := scheduler.Ranks(p, []time.Duration{2 * time.Millisecond, 3 * time.Millisecond, 50 * time.Millisecond, 0})
	if diff := cmp.Diff([]int{5, 3, 50, 1}, got); diff != "" {
		t.Errorf("ranks (-want +got):\n%s", diff)
	}
}

func TestGuess(t *testing.T) {
	got := scheduler.Guess([]time.Duration{2, 0, 4})
	if diff := cmp.Diff([]time.Duration{2, 3, 4}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := scheduler.Guess([]time.Duration{0, 0}); got != nil {
		t.Errorf("from nothing: %v", got)
	}
}

// TestRanks_property: a rank is one more than the greatest rank among those
// that need the module.
func TestRanks_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		names := rapid.Permutation(seq(n)).Draw(t, "order") // the order of the modules in the source
		p := &pipeline.Pipeline{Modules: make([]pipeline.Module, n)}
		for i := range n {
			m := pipeline.Module{Name: string(rune('A' + i))}
			for j := range i {
				if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
					m.DependsOn = append(m.DependsOn, string(rune('A'+j)))
				}
			}
			p.Modules[names[i]] = m
		}

		rank := map[string]int{}
		for i, r := range scheduler.Ranks(p, nil) {
			rank[p.Modules[i].Name] = r
		}

		want := map[string]int{}
		for name := range rank {
			want[name] = 1
		}

		for i := range p.Modules {
			for _, d := range p.Modules[i].DependsOn {
				want[d] = max(want[d], rank[p.Modules[i].Name]+1)
			}
		}

		if diff := cmp.Diff(want, rank); diff != "" {
			t.Fatalf("ranks (-want +got):\n%s", diff)
		}
	})
}

func TestRanks_large(t *testing.T) {
	const bound = time.Second
	for _, tc := range []struct {
		name       string
		p          *pipeline.Pipeline
		first, end int
	}{
		{"a chain of 25,000", layered(25_000, 1, 1), 25_000, 1},
		{"100 layers of 250", layered(100, 250, 3), 100, 1},
		{"two layers of 12,500", layered(2, 12_500, 5), 2, 1},
		{"25,000 side by side", layered(1, 25_000, 0), 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := cpuTime(t)
			ranks := scheduler.Ranks(tc.p, nil)
			if took := cpuTime(t) - start; took > bound {
				t.Errorf("took %v, want less than %v", took, bound)
			}
			if ranks[0] != tc.first || ranks[len(ranks)-1] != tc.end {
				t.Errorf("ranks from %d to %d, want %d to %d", ranks[0], ranks[len(ranks)-1], tc.first, tc.end)
			}
		})
	}
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}
