package terminal

import (
	"fmt"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Counts are the modules of a run by state.
type Counts struct {
	waiting, running, succeeded, cached, failed, skipped, cancelled int
}

func (c Counts) Total() int {
	return c.waiting + c.running + c.succeeded + c.cached + c.failed + c.skipped + c.cancelled
}

func (c Counts) done() int { return c.Total() - c.waiting - c.running }

// String lists what there is: "3 succeeded, 1 failed".
func (c Counts) String() string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(c.succeeded, "succeeded")
	add(c.cached, "cached")
	add(c.failed, "failed")
	add(c.skipped, "skipped")
	add(c.cancelled, "cancelled")
	add(c.running, "running")
	add(c.waiting, "waiting")
	return strings.Join(parts, ", ")
}

func (v *runView) counts() Counts { return CountModules(v.modules) }

func CountModules(modules []wire.Module) Counts {
	var c Counts
	for i := range modules {
		switch modules[i].State {
		case pipeline.ModuleRunning:
			c.running++
		case pipeline.ModuleSucceeded:
			c.succeeded++
		case pipeline.ModuleCached:
			c.cached++
		case pipeline.ModuleFailed:
			c.failed++
		case pipeline.ModuleSkipped:
			c.skipped++
		case pipeline.ModuleCancelled:
			c.cancelled++
		default:
			c.waiting++
		}
	}

	return c
}

// Summary is the last line of a followed run.
func Summary(r *wire.RunSummary, c Counts) string {
	text := fmt.Sprintf("run %s %s", r.ID, StateWords(string(r.State)))
	if r.FinishedAt != nil {
		text += " in " + ShortDuration(r.Took(*r.FinishedAt))
	}

	text += ReasonSuffix(r.Reason)
	if c.Total() > 0 {
		text += " (" + c.String() + ")"
	}

	return text
}

// StateWords turns a state into what people say.
func StateWords(state string) string { return strings.ReplaceAll(state, "_", " ") }

// ReasonSuffix gives ": reason" where there is one.
func ReasonSuffix(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// attemptNote names an attempt where others were tried before it.
func attemptNote(m *wire.Module, i int) string {
	if CountTries(m.Attempts[:i]) == 0 {
		return ""
	}
	return fmt.Sprintf(" (attempt %d)", m.Attempts[i].Number)
}

// CountTries counts attempts, but for those that were queued behind another, never
// started, and given back.
func CountTries(list []wire.Attempt) int {
	n := 0
	for i := range list {
		if list[i].State != pipeline.AttemptCancelled || list[i].StartedAt != nil {
			n++
		}
	}

	return n
}

func LastAttempt(m *wire.Module) *wire.Attempt {
	if len(m.Attempts) == 0 {
		return nil
	}
	return &m.Attempts[len(m.Attempts)-1]
}
