package terminal

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
)

func TestLineSplitter(t *testing.T) {
	var got []string
	s := newLineSplitter(func(m string, line []byte) { got = append(got, m+"|"+string(line)) }, func(m string, n int) { got = append(got, m+"#"+string(rune('0'+n))) })
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
