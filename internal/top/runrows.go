package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

func (p *painter) runHead() []cell {
	l := &p.layout().runs
	return slices.Concat([]cell{{0, "RUN", dim}}, at(l.state, "STATE", dim), at(l.done, "DONE", dim), at(l.cached, "CACHED", dim), at(l.failed, "FAILED", dim),
		at(l.waits, "WAITS", dim), at(l.took, "TOOK", dim), at(l.left, "LEFT", dim), at(l.by, "BY", dim))
}

func (p *painter) runRow(name string) [][]cell {
	l := &p.layout().runs
	r := &p.runs[slices.IndexFunc(p.runs, func(r wire.RunSummary) bool { return string(r.ID) == name })]
	full, empty := p.bar(r.ModulesDone, r.ModuleCount, l.bar)
	done := fmt.Sprintf("%d/%d", r.ModulesDone, r.ModuleCount)
	if l.bar > 0 {
		done = " " + done
	}
	state, style := string(pipeline.Words(r.State)), runStyle(r.State)
	if r.Approvals > 0 && !r.State.Final() {
		state, style = "approval", odd
	}
	by := r.Submitter
	if r.Schedule != "" {
		by = "schedule " + r.Schedule
	}
	failed := plain
	if r.ModulesFailed > 0 {
		failed = bad
	}
	waits := r.ModuleCount - r.ModulesDone - r.ModulesRunning
	return [][]cell{slices.Concat([]cell{{0, runTitle(r), plain}, {l.state, state, style}, {l.done, full, style}, {0, empty, dim}, {0, done, plain}},
		at(l.cached, fmt.Sprintf("%6d", r.ModulesCached), cached), at(l.failed, fmt.Sprintf("%6d", r.ModulesFailed), failed),
		at(l.waits, fmt.Sprintf("%5d", max(0, waits)), plain), at(l.took, terminal.ShortDuration(r.Took(p.now())), plain),
		at(l.left, p.left(r), plain), at(l.by, terminal.Flat(by), dim))}
}

// left is how long a run still takes: by its modules if it is the one that is chosen,
// else by how long runs of its pipeline usually take; "" if that is not known.
func (m *model) left(r *wire.RunSummary) string {
	if r.State.Final() || r.Approvals > 0 {
		return ""
	}
	left, known := m.usual[r.Pipeline]-r.Took(m.now()), true
	if r.ID == m.run.ID && len(m.run.Modules) > 0 {
		left, known = terminal.Left(m.run.Modules, m.now())
	}
	if !known || left <= 0 {
		return ""
	}
	return "~" + terminal.ShortDuration(left.Round(time.Second))
}

func runStyle(s pipeline.RunState) tcell.Style {
	switch s {
	case pipeline.RunSucceeded:
		return good
	case pipeline.RunFailed:
		return bad
	case pipeline.RunRunning:
		return running
	}
	return odd
}

// waitKinds are what modules wait for, in words.
var waitKinds = map[string]string{"lock": "for a lock", "slots": "for a slot", "resources": "for resources", "tags": "for a worker that fits",
	"approval": "for an approval", "backoff": "to be tried again", "group": "for another run", "limit": "at the limit of their run",
	"cache": "for the cache", "expression": "for expressions", "turn": "for their turn"}

// waitsText says how many modules of all runs wait, and for what: most first.
func waitsText(kinds map[string]int) string {
	type kind struct {
		text string
		n    int
	}
	var list []kind
	total := 0
	for name, n := range kinds {
		text := waitKinds[name]
		if n == 0 || name == "dependency" {
			continue
		}
		if text == "" {
			text = name
		}
		list = append(list, kind{text, n})
		total += n
	}
	if total == 0 {
		return ""
	}

	slices.SortFunc(list, func(a, b kind) int {
		if d := b.n - a.n; d != 0 {
			return d
		}
		return strings.Compare(a.text, b.text)
	})
	parts := make([]string, len(list))
	for i, k := range list {
		parts[i] = fmt.Sprintf("%d %s", k.n, k.text)
	}
	text := fmt.Sprintf("%d modules wait: ", total)
	if total == 1 {
		text = "1 module waits: "
	}
	text += strings.Join(parts, ", ")
	if n := kinds["dependency"]; n > 0 {
		text += fmt.Sprintf("; %d for other modules of their run", n)
	}
	return text
}
