package terminal

import (
	"bytes"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// maxLine is how much of a line without an end is kept before it is shown as
// if it ended: memory is bounded whatever a module writes.
const maxLine = 256 << 10

// partialAfter is how long the beginning of a line waits for the rest before it is
// shown: dots, prompts and counters mean something before their line ends.
const partialAfter = time.Second

// part is a line of output, or a piece of one. The text is not kept.
type part struct {
	module string
	text   []byte
	// begins is set on the first piece of a line, ends on the last one.
	begins, ends bool
}

// lineSplitter makes lines out of pieces of output, for each module by itself.
// One goroutine uses it.
type lineSplitter struct {
	// emit gets lines without their ends.
	emit func(part)
	// attempt is called if output of another attempt follows; may be nil.
	attempt func(module string, number int)

	open map[string]*openLine
	// waiting are those of open whose beginning was not shown yet. It is kept so that
	// no event costs a look at all modules.
	waiting map[string]*openLine
	// at is when the line that emit gets began.
	at time.Time
}

type openLine struct {
	attempt int
	at      time.Time
	rest    []byte
	// shown is set once a piece of the line was shown.
	shown bool
}

func newLineSplitter(emit func(part), attempt func(string, int)) *lineSplitter {
	return &lineSplitter{emit: emit, attempt: attempt, open: map[string]*openLine{}, waiting: map[string]*openLine{}}
}

// add takes an event. Output of an earlier attempt is never glued to that of a
// later one.
func (s *lineSplitter) add(e *wire.LogEvent) {
	if e.Module == "" {
		return
	}

	o := s.open[e.Module]
	if o == nil {
		o = &openLine{attempt: e.Attempt}
		s.open[e.Module] = o
		if e.Attempt > 1 {
			s.tell(e)
		}
	} else if o.attempt != e.Attempt {
		s.flush(e.Module, o)
		o.attempt = e.Attempt
		s.tell(e)
	}

	text := e.Bytes()
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			break
		}

		if len(o.rest) > 0 || o.shown {
			o.rest = append(o.rest, text[:i]...)
			s.flush(e.Module, o)
		} else {
			s.at = e.Time
			s.emit(part{e.Module, text[:i], true, true})
		}

		text = text[i+1:]
	}

	if len(o.rest) == 0 && !o.shown {
		o.at = e.Time
	}

	if o.rest = append(o.rest, text...); len(o.rest) > maxLine {
		s.flush(e.Module, o)
	}

	if e.End {
		s.flush(e.Module, o)
	}

	if len(o.rest) > 0 {
		s.waiting[e.Module] = o
	}
}

func (s *lineSplitter) tell(e *wire.LogEvent) {
	if s.attempt != nil {
		s.attempt(e.Module, e.Attempt)
	}
}

// flush shows what there is of a line as its end.
func (s *lineSplitter) flush(module string, o *openLine) {
	if len(o.rest) > 0 || o.shown {
		s.at = o.at
		s.emit(part{module, o.rest, !o.shown, true})
		o.rest, o.shown = o.rest[:0], false
		delete(s.waiting, module)
	}
}

// waits reports whether the beginning of a line was not shown yet.
func (s *lineSplitter) waits() bool { return len(s.waiting) > 0 }

// partial shows the beginnings of lines that have no end yet.
func (s *lineSplitter) partial() {
	for module, o := range s.waiting {
		s.at = o.at
		s.emit(part{module, o.rest, !o.shown, false})
		o.rest, o.shown = o.rest[:0], true
	}
	clear(s.waiting)
}

// end shows what has no end yet, for when the stream ended.
func (s *lineSplitter) end() {
	for module, o := range s.open {
		s.flush(module, o)
	}
}
