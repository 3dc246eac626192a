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

func (p *painter) moduleHead() []cell {
	title := "MODULE"
	if p.run.ID != "" {
		title += " (" + runTitle(&p.run.RunSummary) + ")"
	}
	last := "LAST LINE"
	if len(p.run.Modules) > 0 {
		last += "   " + terminal.CountModules(p.run.Modules).String()
		if left := terminal.Remaining(p.run.Modules, p.now()); left != "" && !p.run.State.Final() {
			last += ", " + left
		}
	}
	l := p.layout()
	took := "TOOK / USUAL"
	if l != &wideLayout {
		took = "TOOK"
	}
	return slices.Concat([]cell{{0, title, dim}}, at(l.modules.where, "WHERE", dim), at(l.modules.since, took, dim), at(l.modules.last, last, dim))
}

// moduleLines gives what draws a row of the table of modules by its name.
func (p *painter) moduleLines() func(name string) [][]cell {
	rows := p.moduleRows()
	return func(name string) [][]cell {
		return p.linesOf(&rows[slices.IndexFunc(rows, func(r moduleRow) bool { return r.name == name })])
	}
}

// linesOf is one module with a line for what became of the attempt before, or the
// instances of a block that are folded.
func (p *painter) linesOf(row *moduleRow) [][]cell {
	m := row.members[0]
	mark, style := p.moduleMark(m)
	text, note := terminal.Flat(row.name), p.note(m)
	if len(row.members) > 1 {
		text, note = row.title(), p.foldedNote(row)
	} else if n := terminal.CountTries(m.Attempts); n > 1 && p.layout() == &wideLayout {
		text += fmt.Sprintf(", try %d", n)
	}

	where, took := row.where(), row.took(p.now(), p.layout() == &wideLayout)
	l := &p.layout().modules
	lines := [][]cell{slices.Concat([]cell{{0, mark + " ", style}, {0, text, plain}}, at(l.where, where, dim), at(l.since, took, plain), at(l.last, terminal.Flat(note), dim))}
	if before := attemptBefore(m); before != nil && len(row.members) == 1 {
		lines = append(lines, slices.Concat([]cell{{0, p.marks.Warning + " ", odd}, {0, fmt.Sprintf("  attempt %d", before.Number+1), plain}}, at(l.last, p.endOf(before), dim)))
	}
	return lines
}

// note is the end of the row of a module: why it waits or how it ended, else its last
// line.
func (p *painter) note(m *wire.Module) string {
	switch {
	case terminal.NeedsApproval(m):
		return "waits for approval: " + m.Approval.Message
	case m.State == pipeline.ModuleWaiting:
		return p.reasons[m.Name]
	case m.State.Final() && m.Reason != "":
		return m.Reason
	case m.State.Final():
		return string(m.State)
	case m.Child() != nil:
		return m.Reason
	}
	return p.lines[m.Name]
}

// foldedNote is the newest line of those that run, and else how many there are of each
// state, and why the first one waits.
func (p *painter) foldedNote(row *moduleRow) string {
	if row.members[0].State == pipeline.ModuleRunning {
		for _, m := range row.members {
			if text := p.lines[m.Name]; text != "" && m.State == pipeline.ModuleRunning {
				return text
			}
		}
		return ""
	}

	modules := make([]wire.Module, len(row.members))
	for i, m := range row.members {
		modules[i] = *m
	}
	text := terminal.CountModules(modules).String()
	if why := p.reasons[row.members[0].Name]; why != "" && row.members[0].State == pipeline.ModuleWaiting {
		text += ": " + why
	}
	return text
}

func (p *painter) moduleMark(m *wire.Module) (string, tcell.Style) {
	if terminal.NeedsApproval(m) {
		return p.marks.Approval, odd
	}
	return p.marks.Of(m.State), moduleStyle(m.State)
}

func moduleStyle(s pipeline.ModuleState) tcell.Style {
	switch s {
	case pipeline.ModuleSucceeded:
		return good
	case pipeline.ModuleCached:
		return cached
	case pipeline.ModuleFailed:
		return bad
	case pipeline.ModuleRunning:
		return running
	}
	return dim
}

// title names a block with how many of its instances are folded in a row: "unit [2 of
// 24]" if two of them run.
func (r *moduleRow) title() string {
	running := 0
	for _, m := range r.members {
		if m.State == pipeline.ModuleRunning {
			running++
		}
	}
	name := terminal.Flat(r.name)
	switch {
	case running > 0:
		return fmt.Sprintf("%s [%d of %d]", name, running, r.instances)
	case len(r.members) < r.instances:
		return fmt.Sprintf("%s [%d of %d]", name, len(r.members), r.instances)
	}
	return fmt.Sprintf("%s [%d]", name, r.instances)
}

// where names the nodes on which its modules run or ran: two, or how many there are.
func (r *moduleRow) where() string {
	var names []string
	for _, m := range r.members {
		x := m.Last()
		if x == nil || m.State == pipeline.ModuleWaiting || len(r.members) > 1 && m.State != r.members[0].State {
			continue
		}
		if name := terminal.Flat(x.Worker); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return "-"
	case 1, 2:
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%d nodes", len(names))
}

// took is how long its modules take: the longest of those that run. With usual it says
// how long they usually do.
func (r *moduleRow) took(now time.Time, usual bool) string {
	var took, expected time.Duration
	begun := false
	for _, m := range r.members {
		if m.State == pipeline.ModuleWaiting || len(r.members) > 1 && m.State != r.members[0].State {
			continue
		}
		if !m.State.Final() {
			expected = max(expected, terminal.Seconds(m.ExpectedSeconds))
		}
		if x := m.Last(); x != nil && x.StartedAt != nil {
			end := now
			if x.FinishedAt != nil {
				end = *x.FinishedAt
			}
			begun, took = true, max(took, end.Sub(*x.StartedAt))
		}
	}

	text := ""
	if begun {
		text = terminal.ShortDuration(took)
	}
	if usual && expected >= time.Second {
		text = strings.TrimPrefix(text+" / "+terminal.ShortDuration(expected), " ")
	}
	return text
}

// attemptBefore says how the last attempt ended of a module that is tried again, or waits
// for that; nil if it is the first one.
func attemptBefore(m *wire.Module) *wire.Attempt {
	if m.State.Final() {
		return nil
	}
	list := m.Attempts
	if m.State == pipeline.ModuleRunning && len(list) > 0 {
		list = list[:len(list)-1]
	}
	for i := len(list) - 1; i >= 0; i-- {
		// One that was given back before it began is none.
		if x := &list[i]; x.FinishedAt != nil && (x.StartedAt != nil || x.State != pipeline.AttemptCancelled) {
			return x
		}
	}
	return nil
}

// endOf says how and when an attempt ended.
func (p *painter) endOf(x *wire.Attempt) string {
	text := fmt.Sprintf("%d %s", x.Number, pipeline.Words(x.State))
	switch {
	case x.State.Lost():
		text = fmt.Sprintf("%d was lost with %s", x.Number, terminal.Flat(x.Worker))
	case x.Worker != "":
		text += " on " + terminal.Flat(x.Worker)
	}
	text += " at " + x.FinishedAt.In(p.now().Location()).Format(time.TimeOnly)
	if x.Reason != "" && !x.State.Lost() {
		text += ": " + terminal.Flat(x.Reason)
	}
	return text
}
