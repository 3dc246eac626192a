package terminal

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
)

func TestLineSplitter(t *testing.T) {
	var got []string
	s := newLineSplitter(func(p part) { got = append(got, p.module+"|"+string(p.text)) }, func(m string, n int) { got = append(got, m+"#"+string(rune('0'+n))) })
	for _, e := range []wire.LogEvent{
		{Module: "a", Attempt: 1, Text: "one\n\ntw"}, {Module: "b", Attempt: 1, Text: "other\n"}, {Module: "a", Attempt: 1, Text: "o\nrest"},
		{Module: "a", Attempt: 2, Text: "again"}, {Module: "a", Attempt: 2, Text: "\n", End: true}, {Module: "b", Attempt: 1, Text: "open"}, {RunEnd: true},
		{Module: "c", Attempt: 3, Raw: []byte("\xff\n")},
	} {
		s.add(&e)
	}
	s.end()
	want := []string{"a|one", "a|", "b|other", "a|two", "a|rest", "a#2", "a|again", "c#3", "c|\xff", "b|open"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = nil
	for range 5 {
		s.add(&wire.LogEvent{Module: "z", Attempt: 1, Text: string(make([]byte, maxLine/2))})
	}
	if len(got) != 1 || len(s.open["z"].rest) > maxLine {
		t.Errorf("%d pieces, %d bytes are kept", len(got), len(s.open["z"].rest))
	}
}

// TestConsole_partialLine shows the beginning of a line, and the rest behind it; what
// comes in between ends it.
func TestConsole_partialLine(t *testing.T) {
	var out bytes.Buffer
	c := NewConsole(ConsoleConfig{Out: NewStream(&out), Err: NewStream(io.Discard), Now: time.Now})
	s := newLineSplitter(c.part, nil)
	step := func(module, text, want string) {
		t.Helper()
		out.Reset()
		s.add(&wire.LogEvent{Module: module, Attempt: 1, Text: text})
		s.partial()
		c.flush()
		if out.String() != want {
			t.Errorf("%s %q: got %q, want %q", module, text, out.String(), want)
		}
	}

	step("a", ".", "a | .")
	step("a", ".", ".")
	step("a", ".\nnext\n", ".\na | next\n")
	step("a", "pass", "a | pass")
	step("b", "x\n", "\nb | x\n")
	step("a", "\n", "")
	step("a", "word", "a | word")
	out.Reset()
	c.note("progress")
	c.flush()
	if out.String() != "\n" {
		t.Errorf("before progress: %q", out.String())
	}
	step("a", "? yes\n", "a | ? yes\n")
	step("b", "end", "b | end")
	out.Reset()
	s.end()
	c.close()
	if out.String() != "\n" {
		t.Errorf("at the end: %q", out.String())
	}
}

// TestHeldChanges keeps the order of a module's output, its end and what follows.
func TestHeldChanges(t *testing.T) {
	h := heldChanges{on: true}
	texts := func(list []change) (out string) {
		for _, ch := range list {
			out += ch.text
		}
		return out
	}
	if got := texts(h.add([]change{{module: "a", text: "1"}, {module: "a", text: "2", after: 1}, {module: "a", text: "3"}, {module: "b", text: "4"}})); got != "14" {
		t.Errorf("at first: %s", got)
	}
	if got := texts(h.logEnded("a", 1)); got != "23" {
		t.Errorf("after the output: %s", got)
	}
	if got := texts(h.add([]change{{module: "a", text: "5", after: 1}, {module: "a", text: "6", after: 2}})); got != "5" {
		t.Errorf("known: %s", got)
	}
	if got := texts(h.release()); got != "6" {
		t.Errorf("at the end: %s", got)
	}
}
