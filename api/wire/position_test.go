package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestParsePosition(t *testing.T) {
	for s, want := range map[string]struct {
		module string
		p      wire.LogPosition
	}{
		"build/1/0":                       {"build", wire.LogPosition{Attempt: 1}},
		"build/12/9223372036854775807":    {"build", wire.LogPosition{Attempt: 12, Offset: 1<<63 - 1}},
		"build[linux,amd64]/2/77":         {"build[linux,amd64]", wire.LogPosition{Attempt: 2, Offset: 77}},
		"build[a/b]/2/77":                 {"build[a/b]", wire.LogPosition{Attempt: 2, Offset: 77}},
		"":                                {},
		"build":                           {},
		"build/1":                         {},
		"/1/0":                            {},
		"build/0/0":                       {},
		"build/-1/0":                      {},
		"build/1/-1":                      {},
		"build/+1/0":                      {},
		"build/01/0":                      {},
		"build/1/ 0":                      {},
		"build/1/9223372036854775808":     {},
		"build/99999999999/0":             {},
		"a b/1/0":                         {},
		"a/b/1/0":                         {},
		"../1/0":                          {},
		"build[/1/0":                      {},
		"build[x\n]/1/0":                  {},
		"build[\xff]/1/0":                 {},
		strings.Repeat("x", 600) + "/1/0": {},
	} {
		module, p, err := wire.ParsePosition(s)
		if ok := want.module != ""; (err == nil) != ok || module != want.module || p != want.p {
			t.Errorf("%.40q: got %q %+v %v", s, module, p, err)
		}
		if err != nil && pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%q: kind %v", s, pipeline.KindOf(err))
		}
	}
}

// What is parsed is written as it was, and names a module that a path may name.
func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"build/1/0", "build[a,b]/2/77", "x/1/9223372036854775807", "//", "a/1/00", "b[a/b]/1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		module, p, err := wire.ParsePosition(s)
		if err != nil {
			return
		}
		if got := wire.FormatPosition(module, p); got != s {
			t.Fatalf("%q became %q", s, got)
		}
		if !wire.ValidModule(module) || p.Attempt < 1 || p.Offset < 0 || strings.ContainsAny(module, "\r\n\x00") {
			t.Fatalf("%q: taken as %q %+v", s, module, p)
		}
	})
}

func TestLogEvent_From(t *testing.T) {
	e := wire.LogEvent{Module: "m", Attempt: 1, Offset: 10, Text: "aéb"}
	if got := e.Next(); got != (wire.LogPosition{Attempt: 1, Offset: 14}) {
		t.Errorf("got %+v", got)
	}
	for offset, want := range map[int64]string{9: "aéb", 10: "aéb", 11: "éb", 12: "\xa9b", 13: "b", 14: ""} {
		got := e.From(offset)
		if string(got.Bytes()) != want || got.Next() != e.Next() {
			t.Errorf("from %d: got %q at %d, ends at %+v", offset, got.Bytes(), got.Offset, got.Next())
		}
	}
	raw := wire.LogEvent{Offset: 0, Text: "\uFFFD", Raw: []byte{0xff}, End: true}
	if raw.Len() != 1 || raw.Next() != (wire.LogPosition{Offset: 1, Ended: true}) {
		t.Errorf("got %d %+v", raw.Len(), raw.Next())
	}
}

func TestSourceError(t *testing.T) {
	e := &wire.SourceError{Diagnostics: []wire.Diagnostic{{File: "f", Line: 1, Column: 2, Summary: "s"}, {}}}
	if got := e.Error(); got != "f:1:2: s (and 1 more)" {
		t.Errorf("got %q", got)
	}
	if pipeline.KindOf(e) != pipeline.Invalid || (&wire.SourceError{}).Error() == "" {
		t.Error("kind or text is missing")
	}
	if errors.Is(e, pipeline.ErrNoLeader) {
		t.Error("it is no other error")
	}
}
