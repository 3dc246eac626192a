package terminal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// failing is a device that accepts nothing.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestStream(t *testing.T) {
	var device bytes.Buffer
	s := terminal.NewStream(&device)

	if _, err := s.Write([]byte("a")); err != nil || device.Len() != 0 {
		t.Errorf("before Flush: %q, %v", device.String(), err)
	}
	if _, err := s.WriteString("b"); err != nil {
		t.Error(err)
	}
	s.Flush()
	if device.String() != "ab" || s.Err() != nil || s.Terminal {
		t.Errorf("%q, %v, terminal %v", device.String(), s.Err(), s.Terminal)
	}

	if _, err := io.WriteString(s.Unbuffered(), "c"); err != nil || device.String() != "abc" {
		t.Errorf("Unbuffered: %q, %v", device.String(), err)
	}
}

// TestStream_fails wants the first error kept, and a closed pipe told apart.
func TestStream_fails(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}, terminal.ErrReaderClosed.Error()},
		{syscall.ENOSPC, "write output: no space left on device"},
	} {
		s := terminal.NewStream(failing{tc.err})
		_, _ = s.WriteString("x")
		s.Flush()
		if s.Err() == nil || s.Err().Error() != tc.want {
			t.Errorf("%v: got %v", tc.err, s.Err())
		}
		if _, err := s.Unbuffered().Write([]byte("y")); err == nil {
			t.Errorf("%v: a later write succeeds", tc.err)
		}
		if tc.err != syscall.ENOSPC && !errors.Is(s.Err(), terminal.ErrReaderClosed) {
			t.Errorf("%v is not ErrReaderClosed", s.Err())
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	table := terminal.NewTable(&b, "NAME", "STATE")
	table.Row("a\x1b[2J\nb", "waiting\tlong")
	table.Row("", "x")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}

	want := "NAME  STATE\na b   waiting long\n-     x\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}

	broken := terminal.NewTable(failing{syscall.ENOSPC}, "NAME")
	if err := broken.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

func TestAgo(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, ""},
		{now.Add(-500 * time.Millisecond), "now"},
		{now.Add(-3 * time.Second), "3.0s ago"},
		{now.Add(-90 * time.Second), "1m30s ago"},
	} {
		if got := terminal.Ago(tc.at, now); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.at, got, tc.want)
		}
	}
	if got := terminal.Elapsed(now.Add(-42*time.Second), now); got != "42s" {
		t.Errorf("Elapsed: %q", got)
	}
}

func TestOneLine(t *testing.T) {
	if got, want := terminal.OneLine("a:\n\tb\r\n c\x1b[2Jd\u202e\u2068\te"), "a:; b; c[2Jd e"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDidYouMean(t *testing.T) {
	words := []string{"status", "submit"}
	for name, want := range map[string]string{"statsu": `: did you mean "status"?`, "xxxxx": "", strings.Repeat("s", 100): ""} {
		if got := terminal.DidYouMean(name, words); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// events is the output of two attempts of a module.
func events() []wire.LogEvent {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return []wire.LogEvent{
		{Module: "a", Attempt: 1, Text: "one\ntw", Time: at},
		{Module: "a", Attempt: 1, Offset: 6, End: true, Time: at},
		{Module: "a", Attempt: 2, Text: "three\n", Time: at.Add(time.Second)},
		{Module: "a", Attempt: 2, Offset: 6, End: true},
	}
}

func TestLogPrinter(t *testing.T) {
	for _, tc := range []struct {
		name     string
		style    terminal.LogStyle
		out, err string
	}{
		{"all", terminal.LogStyle{}, "a | one\na | tw\na | three\n", "a: attempt 2\n"},
		{"raw", terminal.LogStyle{Raw: true}, "one\ntwthree\n", ""},
		{"one attempt", terminal.LogStyle{Raw: true, Attempt: 1}, "one\ntw", ""},
		{"times", terminal.LogStyle{Times: true}, "a | 2026-03-01T12:00:00.0Z one\na | 2026-03-01T12:00:00.0Z tw\na | 2026-03-01T12:00:01.0Z three\n", "a: attempt 2\n"},
		{"raw with times", terminal.LogStyle{Raw: true, Times: true, Attempt: 1}, "2026-03-01T12:00:00.0Z one\n2026-03-01T12:00:00.0Z tw\n", ""},
	} {
		var out, progress bytes.Buffer
		p := terminal.NewLogPrinter(terminal.ConsoleConfig{Out: terminal.NewStream(&out), Err: terminal.NewStream(&progress), Now: time.Now}, tc.style)

		for _, e := range events() {
			err := p.Event(e)
			if errors.Is(err, terminal.ErrLogComplete) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
		p.End()

		if out.String() != tc.out || progress.String() != tc.err {
			t.Errorf("%s: stdout %q, stderr %q, want %q and %q", tc.name, out.String(), progress.String(), tc.out, tc.err)
		}
	}
}

func TestLogPrinter_json(t *testing.T) {
	var out bytes.Buffer
	p := terminal.NewLogPrinter(terminal.ConsoleConfig{Out: terminal.NewStream(&out), Err: terminal.NewStream(io.Discard), Now: time.Now}, terminal.LogStyle{JSON: true})
	for _, e := range events() {
		if err := p.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	p.End()

	decoder := json.NewDecoder(&out)
	for i, want := range events() {
		var got wire.LogEvent
		if err := decoder.Decode(&got); err != nil || got.Text != want.Text || got.Attempt != want.Attempt {
			t.Errorf("event %d: %+v, %v", i, got, err)
		}
	}
}

// TestLogPrinter_deviceFails wants the device's error, so that the stream ends.
func TestLogPrinter_deviceFails(t *testing.T) {
	for _, style := range []terminal.LogStyle{{}, {Raw: true}, {JSON: true}} {
		p := terminal.NewLogPrinter(terminal.ConsoleConfig{Out: terminal.NewStream(failing{syscall.ENOSPC}), Err: terminal.NewStream(io.Discard), Now: time.Now}, style)
		if err := p.Event(wire.LogEvent{Module: "a", Attempt: 1, Text: "x\n"}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%+v: got %v", style, err)
		}
	}
}

// TestConsole_PrintText wants lines of any length, without what steers a terminal.
func TestConsole_PrintText(t *testing.T) {
	var out bytes.Buffer
	stream := terminal.NewStream(&out)
	stream.Terminal = true
	c := terminal.NewConsole(terminal.ConsoleConfig{Out: stream, Err: terminal.NewStream(io.Discard), Now: time.Now, Plain: true})

	long := strings.Repeat("x", 300<<10)
	if err := c.PrintText(strings.NewReader("a\x1b[2Jb\n" + long + "\nend")); err != nil {
		t.Fatal(err)
	}
	stream.Flush()
	got := out.String()
	if !strings.HasPrefix(got, "ab\n") || !strings.HasSuffix(got, "\nend\n") || strings.Count(got, "x") != len(long) {
		t.Errorf("%d bytes: %.20q", len(got), got)
	}

	if err := c.PrintText(io.MultiReader(strings.NewReader("a"), failingReader{})); err == nil || !strings.HasPrefix(err.Error(), "read output: ") {
		t.Errorf("got %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
