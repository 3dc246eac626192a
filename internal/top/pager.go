package top

import (
	"strings"

	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/internal/terminal"
)

// maxPagerLines is how many lines of output a pager keeps; `pipelined logs` has all.
const maxPagerLines = 5000

// pager shows text over the tables.
type pager struct {
	title string
	// lines are complete, rest is the beginning of the next one.
	lines []string
	rest  string
	// top is the first line that is shown; with atEnd the last one is in view.
	top   int
	atEnd bool
	// note is about the end of the text.
	note string
	// stop ends what fills it; may be nil.
	stop func()
}

// add appends text, without what steers a terminal.
func (p *pager) add(text string) {
	p.rest += text
	for {
		line, rest, ok := strings.Cut(p.rest, "\n")
		if !ok {
			break
		}
		p.lines, p.rest = append(p.lines, cleanLine(line)), rest
	}

	if n := len(p.lines) - maxPagerLines; n > 0 {
		p.lines = append([]string(nil), p.lines[n:]...)
		p.top = max(0, p.top-n)
	}
}

// cleanLine keeps the indentation, with a tab as four spaces.
func cleanLine(line string) string {
	return strings.ReplaceAll(terminal.Clean(strings.TrimRight(line, "\r")), "\t", "    ")
}

// all are the lines that can be shown.
func (p *pager) all() []string {
	if p.rest == "" {
		return p.lines
	}
	return append(p.lines[:len(p.lines):len(p.lines)], cleanLine(p.rest))
}

// key handles a key and reports whether the pager is to be closed.
func (p *pager) key(e *tcell.EventKey, height int) (done bool) {
	last := max(0, len(p.all())-height)
	if p.atEnd {
		p.top = last
	}

	move := 0
	switch e.Key() {
	case tcell.KeyEsc, tcell.KeyEnter:
		return true
	case tcell.KeyUp:
		move = -1
	case tcell.KeyDown:
		move = 1
	case tcell.KeyPgUp:
		move = -height
	case tcell.KeyPgDn:
		move = height
	case tcell.KeyHome:
		move = -len(p.lines)
	case tcell.KeyEnd:
		move = len(p.lines)
	case tcell.KeyRune:
		switch e.Str() {
		case "q":
			return true
		case "k":
			move = -1
		case "j":
			move = 1
		case " ":
			move = height
		case "g":
			move = -len(p.lines)
		case "G", "f":
			move = len(p.lines)
		}
	}

	p.top = min(max(p.top+move, 0), last)
	p.atEnd = p.top == last && (p.atEnd && move >= 0 || move > 0)
	return false
}

// window gives the lines that are in view.
func (p *pager) window(height int) []string {
	all := p.all()
	if p.atEnd {
		p.top = max(0, len(all)-height)
	}
	p.top = min(p.top, max(0, len(all)-1))
	return all[p.top:min(len(all), p.top+height)]
}

const helpText = `up, down, j, k    choose a row          PgUp PgDn Home End   by pages
Tab, left, right  nodes, runs, modules  Enter               open: a run's modules, a module's output, a node
l                 output of the module  w                   why the module, or the run, is in its state
c                 cancel the run        r                   retry the run where it failed
d                 drain the node, or use it again
f                 fold the instances of a block into one row, or show each
/                 filter the table      Esc                 no filter
Ctrl-L            draw anew             q, Ctrl-C           leave; nothing ends by that

In a text: up, down, PgUp, PgDn, g (beginning), G or f (end, and follow), q or Esc (back).
What changes something asks first.
`
