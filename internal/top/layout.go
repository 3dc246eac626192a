package top

import (
	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/color"

	"github.com/pipelined/pipelined/internal/terminal"
)

// The styles. The sixteen colours of the terminal are used, so that its theme decides.
var (
	plain   = tcell.StyleDefault
	bold    = plain.Bold(true)
	dim     = plain.Dim(true)
	good    = plain.Foreground(color.PaletteColor(2))
	bad     = plain.Foreground(color.PaletteColor(1))
	odd     = plain.Foreground(color.PaletteColor(3))
	cached  = plain.Foreground(color.PaletteColor(5))
	running = plain.Foreground(color.PaletteColor(12))
)

// layout are the columns of the three tables. In a narrow one columns that matter less
// are left out: they are 0.
type layout struct {
	role, slots, cpu, memory, lag, status int
	state, done, took, submitted, by      int
	where, since, last                    int
	bar, runBar                           int
	keys                                  string
}

// wideFrom is how many columns a terminal has for the wide layout.
const wideFrom = 100

var (
	wideLayout = layout{role: 16, slots: 26, cpu: 47, memory: 55, lag: 71, status: 78, bar: 12,
		state: 26, done: 40, took: 66, submitted: 75, by: 86, runBar: 14, where: 32, since: 44, last: 62,
		keys: "l logs  w why  c cancel  r retry  d drain  / find  Tab nodes, runs, modules  ? help  q leave"}
	narrowLayout = layout{role: 12, slots: 22, lag: 36, status: 42, bar: 6,
		state: 20, done: 31, took: 48, by: 56, runBar: 6, where: 20, since: 29, last: 37,
		keys: "? help  q leave  l logs  w why  c cancel  r retry  d drain  / find  Tab"}
)

func (p *painter) layout() *layout {
	if w, _ := p.screen.Size(); w < wideFrom {
		return &narrowLayout
	}
	return &wideLayout
}

// at is a cell at a column, or none if the layout has none.
func at(column int, text string, style tcell.Style) []cell {
	if column == 0 {
		return nil
	}
	return []cell{{column, text, style}}
}

// marks are those of states, with the parts of bars and of rows.
type marks struct {
	*terminal.Marks
	full, empty, leads, chosen, keys string
}

func marksOf(unicode bool) *marks {
	m := &marks{terminal.MarksOf(unicode), "#", "-", " *", ">", "j k choose  Enter open  "}
	if unicode {
		m.full, m.empty, m.leads, m.chosen, m.keys = "━", "─", " ★", "▸", "↑↓ choose  ⏎ open  "
	}
	return m
}
