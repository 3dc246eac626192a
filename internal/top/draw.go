package top

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/clipperhouse/displaywidth"
	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/internal/terminal"
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
	space := max(h-11, 4)
	nNodes := min(len(nodes), max(1, space/4))
	nRuns := min(len(runs), max(1, space/4))
	y := 3
	y = p.drawTable(y, nodesTable, nNodes, p.nodeHead(), p.nodeRow)
	y = p.drawTable(y+1, runsTable, nRuns, p.runHead(), p.runRow)
	p.drawTable(y+1, modulesTable, max(1, h-y-4), p.moduleHead(), p.moduleLines())
	p.drawFoot(h)
}

// drawHead draws how the cluster is, and below what hinders it: connections that do not
// work, and what waits.
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
		facts = fmt.Sprintf("%s leads, term %d, index %s", terminal.Flat(h.Leader), h.Term, grouped(h.CommitIndex))
		if c := p.state.Commits; c != nil {
			facts += ", commit " + milliseconds(c.MedianSeconds)
		}
	}
	for _, why := range h.Reasons {
		facts += "; " + terminal.Flat(why)
	}
	p.line(0, plain, cell{0, "pipelined top", bold}, cell{0, "  " + status, style}, cell{0, "  " + facts, dim}, cell{max(1, w-8), p.now().Format(time.TimeOnly), dim})

	var notes []cell
	for _, text := range p.state.Findings {
		notes = append(notes, cell{0, p.marks.Warning + " " + terminal.Flat(text) + "  ", odd})
	}
	p.line(1, plain, append(notes, cell{0, waitsText(p.state.Waiting), dim})...)
}

// grouped writes a number with a comma between thousands.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// milliseconds has two digits that mean something.
func milliseconds(seconds float64) string {
	digits := 1
	switch ms := seconds * 1000; {
	case ms < 1:
		digits = 2
	case ms >= 10:
		digits = 0
	}
	return strconv.FormatFloat(seconds*1000, 'f', digits, 64) + " ms"
}

// drawTable draws a table of at most n rows with the chosen one in view, and gives the
// next free row of the screen.
func (p *painter) drawTable(y int, t table, n int, head []cell, draw func(name string) [][]cell) int {
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
		head[0].text += fmt.Sprintf(" %d-%d of %d", top+1, top+n, len(names))
	}
	p.line(y, plain, head...)
	shown := make([][][]cell, 0, n) // rows have one line, or more if there is space
	lines := 0
	for _, name := range names[top:min(len(names), top+n)] {
		shown = append(shown, draw(name))
		lines += len(shown[len(shown)-1])
	}
	for i, row := range shown {
		if lines > n {
			row = row[:1]
		}
		for k, cells := range row {
			y++
			mark, base := "  ", plain
			if k == 0 && names[top+i] == p.chosen[t] {
				mark = p.marks.chosen + " "
				if p.focus == t {
					base = plain.Reverse(true)
				}
			}
			p.line(y, base, append([]cell{{0, mark, plain}}, cells...)...)
		}
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

// drawFoot draws what is asked, or said, and the keys.
func (p *painter) drawFoot(h int) {
	w, _ := p.screen.Size()
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
	if p.layout() == &wideLayout && displaywidth.String(p.marks.keys+keys) <= w {
		keys = p.marks.keys + keys
	}
	p.line(h-1, plain, cell{0, keys, dim})
}
