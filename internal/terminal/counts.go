package terminal

import (
	"fmt"
	"slices"
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
	for _, p := range c.parts() {
		parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
	}
	return strings.Join(parts, ", ")
}

// count is how many modules are in a state.
type count struct {
	n     int
	what  string
	style style
}

// parts are the counts above zero.
func (c Counts) parts() []count {
	return slices.DeleteFunc([]count{
		{c.succeeded, "succeeded", goodStyle},
		{c.cached, "cached", cachedStyle},
		{c.failed, "failed", badStyle},
		{c.skipped, "skipped", dimStyle},
		{c.cancelled, "cancelled", dimStyle},
		{c.running, "running", runningStyle},
		{c.waiting, "waiting", dimStyle},
	}, func(p count) bool { return p.n == 0 })
}

func (v *runView) counts() Counts { return CountModules(v.modules) }

func CountModules(modules []wire.Module) Counts {
	var c Counts
	for i := range modules {
		c.add(modules[i].State)
	}

	return c
}

func (c *Counts) add(s pipeline.ModuleState) {
	switch s {
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

// Summary is the last line of a followed run.
func Summary(r *wire.RunSummary, c Counts) string {
	text := fmt.Sprintf("run %s %s", r.ID, pipeline.Words(r.State))
	if r.FinishedAt != nil {
		text += " in " + ShortDuration(r.Took(*r.FinishedAt))
	}

	text += ReasonSuffix(r.Reason)
	if c.Total() > 0 {
		text += " (" + c.String() + ")"
	}

	return text
}

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
