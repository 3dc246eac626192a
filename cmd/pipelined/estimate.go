package main

import (
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// estimate guesses how long a run still takes, from what its own modules took
// so far: what is left needs at least its longest chain, and at least its sum
// over as many modules as run side by side. ok is false while nothing is known.
func estimate(modules []wire.Module, now time.Time) (left time.Duration, ok bool) {
	var sum time.Duration
	n := 0
	for i := range modules {
		if m := &modules[i]; m.State == pipeline.ModuleSucceeded && m.StartedAt != nil && m.FinishedAt != nil {
			sum += m.FinishedAt.Sub(*m.StartedAt)
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	mean := sum / time.Duration(n)
	need := make(map[string]time.Duration, len(modules))
	deps := make(map[string][]string, len(modules))
	var total time.Duration
	running := 0
	for i := range modules {
		m := &modules[i]
		deps[m.Name] = m.DependsOn
		switch m.State {
		case pipeline.ModuleWaiting:
			need[m.Name] = mean
		case pipeline.ModuleRunning:
			running++
			need[m.Name] = mean
			if a := lastAttempt(m); a != nil && a.StartedAt != nil {
				// One that takes longer than most may take as long again.
				gone := now.Sub(*a.StartedAt)
				need[m.Name] = max(mean-gone, gone/4, 0)
			}
		}
		total += need[m.Name]
	}
	return max(longestChain(need, deps), total/time.Duration(max(running, 1))), true
}

// longestChain is the greatest sum of needs along dependencies.
func longestChain(need map[string]time.Duration, deps map[string][]string) time.Duration {
	known := make(map[string]time.Duration, len(need))
	var longest time.Duration
	for name := range need {
		longest = max(longest, chainTo(name, need, deps, known))
	}
	return longest
}

// chainTo walks without recursion, since a chain may be as long as a run; a
// cycle, which no accepted run has, counts once.
func chainTo(name string, need map[string]time.Duration, deps map[string][]string, known map[string]time.Duration) time.Duration {
	const visiting = time.Duration(-1)
	stack := []string{name}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		if d, ok := known[top]; ok && d != visiting {
			stack = stack[:len(stack)-1]
			continue
		}
		first := known[top] != visiting
		known[top] = visiting
		var before time.Duration
		pending := false
		for _, dep := range deps[top] {
			switch d, ok := known[dep]; {
			case need[dep] == 0:
			case !ok && first:
				stack = append(stack, dep)
				pending = true
			case ok && d != visiting:
				before = max(before, d)
			}
		}
		if !pending {
			known[top] = before + need[top]
			stack = stack[:len(stack)-1]
		}
	}
	return known[name]
}

func lastAttempt(m *wire.Module) *wire.Attempt {
	if len(m.Attempts) == 0 {
		return nil
	}
	return &m.Attempts[len(m.Attempts)-1]
}
