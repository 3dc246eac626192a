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
	nodes   nodeColumns
	runs    runColumns
	modules moduleColumns
	// keys are those that the last row names.
	keys string
}

// nodeColumns are those of nodes; bar is how many cells the bar of the slots has.
type nodeColumns struct{ role, slots, bar, cpu, memory, lag, disk, gossip int }

// runColumns are those of runs; bar is how many cells the bar of the modules has.
type runColumns struct{ state, done, bar, cached, failed, waits, took, left, by int }

type moduleColumns struct{ where, since, last int }

const (
	// wideFrom and narrowFrom are how many columns a terminal has for a layout.
	wideFrom   = 100
	narrowFrom = 60
)

const manyKeys = "l logs  w why  c cancel  r retry  d drain  f fold  / find  Tab nodes, runs, modules  ? help  q leave"

var (
	wideLayout = layout{
		nodes:   nodeColumns{role: 16, slots: 26, bar: 10, cpu: 44, memory: 52, lag: 65, disk: 73, gossip: 80},
		runs:    runColumns{state: 24, done: 36, bar: 10, cached: 56, failed: 64, waits: 72, took: 79, left: 88, by: 96},
		modules: moduleColumns{where: 32, since: 46, last: 64},
		keys:    manyKeys,
	}
	narrowLayout = layout{
		nodes:   nodeColumns{role: 12, slots: 22, bar: 5, lag: 36, disk: 43, gossip: 50},
		runs:    runColumns{state: 18, done: 29, bar: 4, cached: 42, failed: 50, waits: 58, took: 65, left: 73},
		modules: moduleColumns{where: 20, since: 29, last: 37},
		keys:    "? help  q leave  l logs  w why  c cancel  r retry  d drain  f fold  / find  Tab",
	}
	tinyLayout = layout{
		nodes:   nodeColumns{slots: 14, disk: 22, gossip: 29},
		runs:    runColumns{state: 16, done: 26, failed: 33, waits: 40},
		modules: moduleColumns{since: 20, last: 28},
		keys:    "? help  q leave  l logs  w why  / find  Tab",
	}
)

func (p *painter) layout() *layout {
	switch w, _ := p.screen.Size(); {
	case w < narrowFrom:
		return &tinyLayout
	case w < wideFrom:
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
