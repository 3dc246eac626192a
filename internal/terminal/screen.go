package terminal

import (
	"fmt"
	"time"
)

const (
	// frameEvery is how often the live block is drawn at most.
	frameEvery = 100 * time.Millisecond
	// maxPending is how many bytes wait for the next frame; beyond it one is due.
	maxPending = 64 << 10
	// maxBlock is how many lines the live block has at most, and never more than half
	// of the terminal.
	maxBlock = 20
	// minBlock is how many it has on the smallest terminal.
	minBlock = 3
)

// Sequences of the live block. Between the two of synchronized output a terminal shows
// nothing of what it gets; one that does not know them ignores them.
const (
	syncBegin  = "\x1b[?2026h"
	syncEnd    = "\x1b[?2026l"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// screen is a block of lines at the bottom of a terminal that is drawn again and again,
// below lines that stay. It uses neither the alternate screen nor absolute positions, so
// that scrolling, copying and searching stay the terminal's. One goroutine uses it.
type screen struct {
	err *Stream
	now func() time.Time

	// drawn are the widths of the lines of the block that stand on the terminal; below
	// are lines that were typed under it.
	drawn []int
	below int
	// pending are lines that stay, of the streams they go to, for the next frame.
	pending []piece
	bytes   int
	last    time.Time
}

type piece struct {
	to   *Stream
	text []byte
}

// above adds text with its line break, which stands above the block from the next frame
// on. The text is copied.
func (s *screen) above(to *Stream, text []byte) {
	if n := len(s.pending); n > 0 && s.pending[n-1].to == to {
		s.pending[n-1].text = append(s.pending[n-1].text, text...)
	} else {
		s.pending = append(s.pending, piece{to, append([]byte(nil), text...)})
	}
	s.bytes += len(text)
}

// due reports whether a frame may be drawn, or must be.
func (s *screen) due() bool {
	return s.bytes > maxPending || s.now().Sub(s.last) >= frameEvery
}

// height is how many lines the block may have.
func (s *screen) height() int {
	_, rows := s.err.size()
	return max(min(rows/2, maxBlock), minBlock)
}

// width is how many columns a line of the block may take: one less than there are, so
// that no terminal wraps it.
func (s *screen) width() int {
	columns, _ := s.err.size()
	return max(columns-1, 10)
}

// frame prints what is pending and draws the block below it.
func (s *screen) frame(block []row, color bool) {
	s.err.WriteString(syncBegin)
	overwrite := len(s.pending) == 0
	s.home(!overwrite)
	s.print()

	s.drawn = s.drawn[:0]
	width := s.width()
	for _, r := range block {
		r = r.cut(width)
		s.err.WriteString(r.render(color))
		if overwrite {
			s.err.WriteString(eraseLine)
		}
		s.err.WriteString("\n")
		s.drawn = append(s.drawn, r.width())
	}

	if overwrite {
		s.err.WriteString(eraseBelow)
	}
	s.err.WriteString(syncEnd)
	s.err.Flush()
	s.last = s.now()
}

// clear takes the block away and prints what is pending.
func (s *screen) clear() {
	if len(s.drawn) > 0 || s.below > 0 {
		s.home(true)
	}
	s.print()
	s.err.Flush()
	s.drawn, s.last = s.drawn[:0], time.Time{}
}

// home moves to the beginning of the block and, with erase, empties the terminal from
// there on. A terminal that became narrower has wrapped the lines.
func (s *screen) home(erase bool) {
	columns, _ := s.err.size()
	lines := s.below
	for _, w := range s.drawn {
		lines += max(1, (w+columns-1)/columns)
	}

	if lines > 0 {
		fmt.Fprintf(s.err, "\r\x1b[%dA", lines)
	} else {
		s.err.WriteString("\r")
	}
	if erase {
		s.err.WriteString(eraseBelow)
	}
	s.below = 0
}

// print writes what is pending. Each stream is flushed before the next one is used, since
// they share the terminal.
func (s *screen) print() {
	for _, p := range s.pending {
		if p.to != s.err {
			s.err.Flush()
		}
		p.to.Write(p.text)
		if p.to != s.err {
			p.to.Flush()
		}
	}
	s.pending, s.bytes = nil, 0
}
