package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// painter draws the view; the screen sends only what differs.
type painter struct {
	*model
	ui     *interaction
	screen tcell.Screen
	marks  *marks
}

// cell is a piece of a row that begins at a column; 0 continues behind the one before.
type cell struct {
	at    int
	text  string
	style tcell.Style
}

// line draws cells on a row of the screen. A cell is cut where the next one begins.
func (p *painter) line(y int, base tcell.Style, cells ...cell) {
	w, h := p.screen.Size()
	if y < 0 || y >= h {
		return
	}

	x := 0
	for i, c := range cells {
		if c.at > 0 {
			x = c.at
		}
		end := w
		if i+1 < len(cells) && cells[i+1].at > 0 {
			end = min(w, cells[i+1].at-1)
		}
		text := displaywidth.TruncateString(c.text, max(0, end-x), "")
		style := c.style
		if base.HasReverse() {
			style = style.Reverse(true)
		}
		p.screen.PutStrStyled(x, y, text, style)
		x += displaywidth.String(text)
	}
}

// draw draws everything; the screen sends only what differs.
func (p *painter) draw() {
	p.screen.Clear()
	_, h := p.screen.Size()
	if p.ui.pager != nil {
		p.drawPager(h)
	} else {
		p.drawTables(h)
	}
	p.screen.Show()
}

// pagerHeight is how many lines of a text are in view.
func (p *painter) pagerHeight() int {
	_, h := p.screen.Size()
	return max(1, h-3)
}

func (p *painter) drawPager(h int) {
	text := p.ui.pager
	lines := text.window(p.pagerHeight())
	where := fmt.Sprintf("  %d to %d of %d", min(text.top+1, len(text.all())), text.top+len(lines), len(text.all()))
	p.line(0, plain, cell{0, text.title, bold}, cell{0, where, dim}, cell{0, "  " + text.note, odd})
	for i, line := range lines {
		p.line(2+i, plain, cell{0, line, plain})
	}
	p.line(h-1, plain, cell{0, "PgUp PgDn scroll  G end, follow  q back", dim})
}

// drawTables draws the three tables. Nodes and runs leave at least half to modules.
func (p *painter) drawTables(h int) {
	p.drawHead()
	nodes, runs := p.rows(nodesTable), p.rows(runsTable)
	space := max(h-10, 3)
	nNodes := min(len(nodes), max(1, space/4))
	nRuns := min(len(runs), max(1, space/4))
	y := 2
	y = p.drawTable(y, nodesTable, nNodes, p.nodeHead(), p.nodeRow)
	y = p.drawTable(y+1, runsTable, nRuns, p.runHead(), p.runRow)
	p.drawTable(y+1, modulesTable, max(1, h-y-4), p.moduleHead(), p.moduleRow)
	p.drawFoot(h)
}

func (p *painter) drawHead() {
	w, _ := p.screen.Size()
	h := &p.state.Health
	status, style := "", good
	switch {
	case h.NodeID == "":
		status, style = "connecting", dim
	case h.Status != "healthy" || slices.ContainsFunc(p.state.Nodes, func(n Node) bool { return len(n.Reasons) > 0 }):
		status, style = p.marks.Warning+" degraded", odd
	default:
		status = p.marks.Running + " healthy"
	}

	facts := ""
	switch {
	case h.NodeID == "":
	case h.Leader == "":
		facts = "no leader"
	default:
		facts = fmt.Sprintf("%s leads, term %d, index %d", terminal.Flat(h.Leader), h.Term, h.CommitIndex)
	}
	for _, why := range h.Reasons {
		facts += "; " + terminal.Flat(why)
	}
	p.line(0, plain, cell{0, "pipelined top", bold}, cell{0, "  " + status, style}, cell{0, "  " + facts, dim}, cell{max(1, w-8), p.now().Format(time.TimeOnly), dim})
}

// drawTable draws a table of at most n rows with the chosen one in view, and gives the
// next free row of the screen.
func (p *painter) drawTable(y int, t table, n int, head []cell, draw func(name string) []cell) int {
	names := p.rows(t)
	at := max(0, slices.Index(names, p.chosen[t]))
	top := min(max(0, at-n+1), max(0, len(names)-n))
	if p.focus == t {
		head[0].style = bold
	}
	if p.filter[t] != "" || p.ui.typing && p.focus == t {
		head[0].text += " /" + terminal.Flat(p.filter[t])
	}
	if len(names) > n {
		head = append(head, cell{0, fmt.Sprintf("  %d to %d of %d", top+1, top+n, len(names)), dim})
	}
	p.line(y, plain, head...)
	for i := top; i < min(len(names), top+n); i++ {
		y++
		cells := draw(names[i])
		base := plain
		if names[i] == p.chosen[t] {
			cells = append([]cell{{0, p.marks.chosen + " ", plain}}, cells...)
			if p.focus == t {
				base = plain.Reverse(true)
			}
		} else {
			cells = append([]cell{{0, "  ", plain}}, cells...)
		}
		p.line(y, base, cells...)
	}
	if len(names) == 0 {
		y++
		p.line(y, plain, cell{2, p.nothing(t), dim})
	}
	return y + 1
}

// nothing says why a table is empty, and what to do.
func (p *painter) nothing(t table) string {
	switch {
	case p.filter[t] != "":
		return "nothing matches; Esc shows all"
	case p.state.Health.NodeID == "" && t != modulesTable:
		return "asking the cluster"
	case t == runsTable:
		return "no run yet: pipelined submit FILE makes one"
	}
	return "none"
}

func (p *painter) nodeHead() []cell {
	l := p.layout()
	return slices.Concat([]cell{{0, "NODE", dim}}, at(l.role, "ROLE", dim), at(l.slots, "SLOTS", dim), at(l.cpu, "CPU", dim), at(l.memory, "MEMORY", dim),
		at(l.lag, "LAG", dim), at(l.status, "STATUS", dim))
}

func (p *painter) nodeRow(name string) []cell {
	l := p.layout()
	n := &p.state.Nodes[slices.IndexFunc(p.state.Nodes, func(n Node) bool { return n.Name == name })]
	style, mark := good, p.marks.Running
	switch {
	case n.Status != pipeline.MemberAlive:
		style, mark = bad, p.marks.Bad
	case n.Draining || len(n.Reasons) > 0:
		style, mark = odd, p.marks.Warning
	}

	role := n.Role
	if role == "leader" {
		role += p.marks.leads
	}
	full, empty := p.bar(n.CurrentLoad, n.MaxLoad, l.bar)
	lag := "-"
	if n.Lag >= 0 {
		lag = fmt.Sprint(n.Lag)
	}
	cpu, memory := "-", "-"
	if n.CPUs > 0 {
		cpu = fmt.Sprintf("%v/%v", n.CPU, n.CPUs)
	}
	if n.Total > 0 {
		memory = fmt.Sprintf("%s/%s", pipeline.FormatBytes(n.Memory), pipeline.FormatBytes(n.Total))
	}
	return slices.Concat([]cell{{0, mark + " ", style}, {0, terminal.Flat(n.Name), plain}, {l.role, role, plain}, {l.slots, full, running}, {0, empty, dim},
		{0, fmt.Sprintf(" %d/%d", n.CurrentLoad, n.MaxLoad), plain}}, at(l.cpu, cpu, plain), at(l.memory, memory, plain), at(l.lag, lag, plain), at(l.status, nodeStatus(n), style))
}

func nodeStatus(n *Node) string {
	text := n.Status
	if n.Draining {
		text += ", draining"
	}
	if len(n.Reasons) > 0 {
		text += ": " + terminal.Flat(n.Reasons[0])
	}
	return text
}

// bar is part of a whole in so many cells.
func (p *painter) bar(part, whole, cells int) (full, empty string) {
	n := min(cells, part*cells/max(whole, 1))
	return strings.Repeat(p.marks.full, n), strings.Repeat(p.marks.empty, cells-n)
}

func (p *painter) runHead() []cell {
	l := p.layout()
	return slices.Concat([]cell{{0, "RUN", dim}}, at(l.state, "STATE", dim), at(l.done, "DONE", dim), at(l.took, "TOOK", dim), at(l.submitted, "SUBMITTED", dim), at(l.by, "BY", dim))
}

func (p *painter) runRow(name string) []cell {
	l := p.layout()
	r := &p.runs[slices.IndexFunc(p.runs, func(r wire.RunSummary) bool { return string(r.ID) == name })]
	now := p.now()
	full, empty := p.bar(r.ModulesDone, r.ModuleCount, l.runBar)
	style := runStyle(r.State)
	by := r.Submitter
	if r.Schedule != "" {
		by = "schedule " + r.Schedule
	}
	return slices.Concat([]cell{{0, runTitle(r), plain}, {l.state, pipeline.Words(r.State), style}, {l.done, full, style}, {0, empty, dim},
		{0, fmt.Sprintf(" %d/%d", r.ModulesDone, r.ModuleCount), plain}}, at(l.took, terminal.ShortDuration(r.Took(now)), plain),
		at(l.submitted, terminal.Ago(r.SubmittedAt, now), dim), at(l.by, terminal.Flat(by), dim))
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
	if l == &narrowLayout {
		took = "TOOK"
	}
	return []cell{{0, title, dim}, {l.where, "WHERE", dim}, {l.since, took, dim}, {l.last, last, dim}}
}

func (p *painter) moduleRow(name string) []cell {
	l := p.layout()
	m := &p.run.Modules[slices.IndexFunc(p.run.Modules, func(m wire.Module) bool { return m.Name == name })]
	mark, style := p.moduleMark(m)
	text, where, took := terminal.Flat(m.Name), "-", ""
	if n := terminal.CountTries(m.Attempts); n > 1 {
		text += fmt.Sprintf(", try %d", n)
	}
	if x := m.Last(); x != nil && m.State != pipeline.ModuleWaiting {
		where = terminal.Flat(x.Worker)
		if x.StartedAt != nil {
			end := p.now()
			if x.FinishedAt != nil {
				end = *x.FinishedAt
			}
			took = terminal.ShortDuration(end.Sub(*x.StartedAt))
		}
	}
	if m.ExpectedSeconds >= 1 && !m.State.Final() && l == &wideLayout {
		took += " / " + terminal.ShortDuration(terminal.Seconds(m.ExpectedSeconds))
	}

	note := p.lines[name]
	switch {
	case terminal.NeedsApproval(m):
		note = "waits for approval: " + m.Approval.Message
	case m.State == pipeline.ModuleWaiting:
		note = p.reasons[name]
	case m.State.Final() && m.Reason != "":
		note = m.Reason
	case m.State.Final():
		note = string(m.State)
	}
	return []cell{{0, mark + " ", style}, {0, text, plain}, {l.where, where, dim}, {l.since, strings.TrimPrefix(took, " "), plain}, {l.last, terminal.Flat(note), dim}}
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

// drawFoot draws what is asked, or said, and the keys.
func (p *painter) drawFoot(h int) {
	switch old := p.now().Sub(p.fresh); {
	case p.ui.question != "":
		p.line(h-2, plain, cell{0, p.ui.question + " [y/n]", odd.Bold(true)})
	case p.ui.typing:
		p.line(h-2, plain, cell{0, "/" + terminal.Flat(p.filter[p.focus]), bold}, cell{0, "  Enter keeps the filter, Esc ends it", dim})
	case p.trouble != "":
		p.line(h-2, plain, cell{0, fmt.Sprintf("%s what is shown is %s old: %s", p.marks.Warning, terminal.ShortDuration(old), p.trouble), bad})
	case p.ui.message != "" && p.ui.bad:
		p.line(h-2, plain, cell{0, p.ui.message, bad})
	case p.ui.message != "":
		p.line(h-2, plain, cell{0, p.ui.message, good})
	}
	keys := p.layout().keys
	if p.layout() == &wideLayout {
		keys = p.marks.keys + keys
	}
	p.line(h-1, plain, cell{0, keys, dim})
}
