package terminal

import (
	"slices"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// estimate guesses how long a run still takes, from what its modules took in
// earlier runs, and for those that are new from what the others took. What is left
// needs at least its longest chain, and at least its sum over as many modules as
// run side by side. ok is false while nothing is known.
func estimate(modules []wire.Module, now time.Time) (left time.Duration, ok bool) {
	mean, ok := typical(modules)
	if !ok {
		return 0, false
	}

	need := make(map[string]time.Duration, len(modules))
	deps := make(map[string][]string, len(modules))
	var total time.Duration
	running := 0
	for i := range modules {
		m := &modules[i]
		deps[m.Name] = m.DependsOn
		whole := mean
		if m.ExpectedSeconds > 0 {
			whole = Seconds(m.ExpectedSeconds)
		}

		switch m.State {
		case pipeline.ModuleWaiting:
			need[m.Name] = whole
		case pipeline.ModuleRunning:
			running++
			need[m.Name] = whole
			if a := m.Last(); a != nil && a.StartedAt != nil {
				// One that takes longer than most may take as long again.
				gone := now.Sub(*a.StartedAt)
				need[m.Name] = max(whole-gone, gone/4, 0)
			}
		}

		total += need[m.Name]
	}

	chain := longestChain(need, deps)
	if running == 0 {
		return chain, true // how many will run side by side is not known yet
	}

	return max(chain, total/time.Duration(running)), true
}

// Remaining is how long a run still takes, in words; "" if nothing is known of that, or
// if it waits for a person.
func Remaining(modules []wire.Module, now time.Time) string {
	left, ok := Left(modules, now)
	if !ok {
		return ""
	}
	return "about " + ShortDuration(left) + " left"
}

// Left is how long a run still takes; false if nothing is known of that, or if it waits
// for a person or a free slot.
func Left(modules []wire.Module, now time.Time) (time.Duration, bool) {
	if !hasHistory(modules) || slices.ContainsFunc(modules, func(m wire.Module) bool { return NeedsApproval(&m) }) {
		return 0, false
	}
	if !slices.ContainsFunc(modules, func(m wire.Module) bool { return m.State == pipeline.ModuleRunning }) {
		return 0, false // how long it waits is not known
	}
	left, ok := estimate(modules, now)
	return left.Round(time.Second), ok
}

// hasHistory reports whether earlier runs tell how long a module that is left takes.
// Without that an estimate is a guess from this run alone, which only counts up.
func hasHistory(modules []wire.Module) bool {
	return slices.ContainsFunc(modules, func(m wire.Module) bool { return m.ExpectedSeconds > 0 && !m.State.Final() })
}

// typical is what a module takes of which nothing is known: the mean of those that
// have ended, or of what is expected of the others.
func typical(modules []wire.Module) (mean time.Duration, ok bool) {
	var took, expected time.Duration
	var ended, ahead int
	for i := range modules {
		m := &modules[i]
		switch {
		case m.State == pipeline.ModuleSucceeded && m.StartedAt != nil && m.FinishedAt != nil:
			took += m.FinishedAt.Sub(*m.StartedAt)
			ended++
		case m.ExpectedSeconds > 0:
			expected += Seconds(m.ExpectedSeconds)
			ahead++
		}
	}

	switch {
	case ended > 0:
		return took / time.Duration(ended), true
	case ahead > 0:
		return expected / time.Duration(ahead), true
	}

	return 0, false
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
