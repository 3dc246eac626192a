package terminal

import (
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

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

// Flat is Clean for a cell of a screen: without tabs, and without spaces at its ends.
func Flat(s string) string { return flat(s) }

// Remaining is how long a run still takes, in words; "" if nothing is known of that.
func Remaining(modules []wire.Module, now time.Time) string {
	if !hasHistory(modules) {
		return ""
	}
	left, ok := estimate(modules, now)
	if !ok {
		return ""
	}
	return "about " + ShortDuration(left.Round(time.Second)) + " left"
}
