package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// maxEvent bounds one line of a stream of events, in bytes.
const maxEvent = 16 << 20

// event is one server-sent event.
type event struct {
	id, kind string
	data     []byte
}

// events reads server-sent events. An event that was not ended by an empty
// line when the stream broke off is none.
type events struct {
	lines *bufio.Scanner
	// beat is called for every line, comments included.
	beat func()
}

func newEvents(r io.Reader, beat func()) *events {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 8<<10), maxEvent)
	return &events{lines: lines, beat: beat}
}

// next reads up to the end of an event. io.ErrUnexpectedEOF is a stream that
// ended; whether that is right is for its reader to know. data is valid until
// the next call.
func (e *events) next() (event, error) {
	var ev event
	filled := false
	for e.lines.Scan() {
		e.beat()
		line := e.lines.Bytes()
		if len(line) == 0 {
			if filled {
				return ev, nil
			}
			continue
		}

		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			ev.id = string(value)
		case "event":
			ev.kind, filled = string(value), true
		case "data":
			if ev.data != nil {
				ev.data = append(ev.data, '\n')
			}
			ev.data, filled = append(ev.data, value...), true
		}
	}

	if err := e.lines.Err(); err != nil {
		return event{}, fmt.Errorf("read events: %w", err)
	}

	return event{}, io.ErrUnexpectedEOF
}
