package terminal

import (
	"bytes"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// maxLine is how much of a line without an end is kept before it is shown as
// if it ended: memory is bounded whatever a module writes.
const maxLine = 256 << 10

// lineSplitter makes whole lines out of pieces of output, for each module by
// itself. One goroutine uses it.
type lineSplitter struct {
	// emit gets a line without its end; it must not keep it.
	emit func(module string, line []byte)
	// attempt is called if output of another attempt follows; may be nil.
	attempt func(module string, number int)

	open map[string]*openLine
	// at is when the line that emit gets began.
	at time.Time
}

type openLine struct {
	attempt int
	at      time.Time
	rest    []byte
}

func newLineSplitter(emit func(string, []byte), attempt func(string, int)) *lineSplitter {
	return &lineSplitter{emit: emit, attempt: attempt, open: map[string]*openLine{}}
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

		if len(o.rest) > 0 {
			o.rest = append(o.rest, text[:i]...)
			s.flush(e.Module, o)
		} else {
			s.at = e.Time
			s.emit(e.Module, text[:i])
		}

		text = text[i+1:]
	}

	if len(o.rest) == 0 {
		o.at = e.Time
	}

	if o.rest = append(o.rest, text...); len(o.rest) > maxLine {
		s.flush(e.Module, o)
	}

	if e.End {
		s.flush(e.Module, o)
	}
}

func (s *lineSplitter) tell(e *wire.LogEvent) {
	if s.attempt != nil {
		s.attempt(e.Module, e.Attempt)
	}
}

func (s *lineSplitter) flush(module string, o *openLine) {
	if len(o.rest) > 0 {
		s.at = o.at
		s.emit(module, o.rest)
		o.rest = o.rest[:0]
	}
}

// end shows what has no end yet, for when the stream ended.
func (s *lineSplitter) end() {
	for module, o := range s.open {
		s.flush(module, o)
	}
}
