package terminal

import "github.com/pipelined/pipelined/api/wire"

// LastLines keeps the last lines of output of modules, from the events of a stream. One
// goroutine uses it.
type LastLines struct {
	tails *tails
	lines *lineSplitter
}

// NewLastLines makes a LastLines that knows of no output.
func NewLastLines() *LastLines {
	t := newTails()
	return &LastLines{tails: t, lines: newLineSplitter(t.add, t.restart)}
}

// Add takes an event.
func (l *LastLines) Add(e *wire.LogEvent) {
	l.lines.add(e)
	l.lines.partial()
}

// Newest is the last line of a module that is not empty, without what steers a
// terminal.
func (l *LastLines) Newest(module string) string { return l.tails.newest(module) }
