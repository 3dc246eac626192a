package terminal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v3/vt"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// emulator is a terminal in memory.
type emulator struct {
	tb   testing.TB
	term vt.MockTerm
	size vt.Coord
	// raw is everything that was written, and frames counts the synchronized ones.
	raw    bytes.Buffer
	frames int
}

// newEmulator makes a terminal that says to have a number of columns and 30 rows; it
// has more rows, so that what scrolls away is seen too.
func newEmulator(tb testing.TB, columns int) *emulator {
	tb.Helper()
	e := &emulator{tb: tb, size: vt.Coord{X: vt.Col(columns), Y: 80}}
	e.term = vt.NewMockTerm(vt.MockOptSize(e.size))
	if err := e.term.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = e.term.Stop() })
	return e
}

// Write implements io.Writer, with the line discipline of a terminal.
func (e *emulator) Write(b []byte) (int, error) {
	e.raw.Write(b)
	e.frames += bytes.Count(b, []byte(syncBegin))
	if _, err := e.term.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (e *emulator) stream() *Stream {
	s := NewStream(e)
	s.Terminal = true
	s.size = func() (int, int) { return int(e.size.X), 30 }
	return s
}

// screen is what stands on the terminal.
func (e *emulator) screen() string {
	e.tb.Helper()
	if err := e.term.Drain(); err != nil {
		e.tb.Fatal(err)
	}

	var b strings.Builder
	for y := range e.size.Y {
		var line strings.Builder
		for x := vt.Col(0); x < e.size.X; {
			cell := e.term.GetCell(vt.Coord{X: x, Y: y})
			text := cell.C
			if text == "" {
				text = " "
			}
			line.WriteString(text)
			x += vt.Col(max(1, cell.W))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// release is a run as large ones are: blocks with many instances, retries, losses,
// what waits for a lock and for a person.
type release struct {
	c     *Console
	clock *time.Time
	index uint64
	head  wire.RunSummary
}

func newRelease(c *Console, clock *time.Time) *release {
	r := &release{c: c, clock: clock, head: wire.RunSummary{ID: "0199f0c2a1b34d5e8f60718293a4b5c6", Number: 1284, Pipeline: "release", State: pipeline.RunRunning, SubmittedAt: storyStart, ModuleCount: 36}}
	var all []wire.Module
	add := func(name, of string, deps ...string) {
		all = append(all, wire.Module{Name: name, Of: of, State: pipeline.ModuleWaiting, DependsOn: deps})
	}
	add("codegen", "")
	add("lint", "")
	for i := range 6 {
		add(fmt.Sprintf("build[linux-%d]", i), "build", "codegen")
	}
	for i := range 24 {
		add(fmt.Sprintf("unit[%d]", i), "unit")
	}
	add("e2e[chaos]", "e2e")
	add("e2e[upgrade]", "e2e")
	add("integration", "")
	add("publish", "", "integration", "e2e[chaos]")
	r.show(all...)
	return r
}

func (r *release) show(modules ...wire.Module) {
	r.index++
	r.c.update(wire.Run{RunSummary: r.head, Index: r.index, Modules: modules})
}

func (r *release) at(seconds float64) {
	*r.clock = *second(seconds)
	r.c.flush()
}

func (r *release) running(name, of, worker string, since, usual float64, earlier ...wire.Attempt) {
	r.show(wire.Module{Name: name, Of: of, State: pipeline.ModuleRunning, ExpectedSeconds: usual,
		Attempts: append(earlier, wire.Attempt{Number: len(earlier) + 1, Worker: worker, State: pipeline.AttemptRunning, StartedAt: second(since)})})
}

func (r *release) ended(state pipeline.ModuleState, name, of, worker string, from, to float64, earlier ...wire.Attempt) {
	m := wire.Module{Name: name, Of: of, State: state, Worker: worker, StartedAt: second(from), FinishedAt: second(to), Line: 42}
	a := wire.Attempt{Number: len(earlier) + 1, Worker: worker, State: pipeline.AttemptSucceeded, StartedAt: second(from), FinishedAt: second(to)}
	if state == pipeline.ModuleFailed {
		code := 1
		m.ExitCode, m.Reason, a.State = &code, "exit code 1", pipeline.AttemptFailed
	}
	m.Attempts = append(earlier, a)
	r.show(m)
}

func (r *release) line(module, text string) { r.c.part(part{module, []byte(text), true, true}) }

// middle plays the release up to where most of it runs.
func (r *release) middle() {
	r.show(wire.Module{Name: "codegen", State: pipeline.ModuleCached, CachedFrom: &wire.CachedFrom{Run: "r9", Worker: "alpha", DurationSeconds: 12}})
	r.c.led(wire.Health{Leader: "alpha", Quorum: true, Term: 7}, 0)
	r.ended(pipeline.ModuleSucceeded, "lint", "", "beta", 1, 42)
	for i := range 6 {
		r.ended(pipeline.ModuleSucceeded, fmt.Sprintf("build[linux-%d]", i), "build", []string{"alpha", "beta", "gamma"}[i%3], 12, 60+float64(i)*5)
	}
	r.at(100)
	for i := range 22 {
		r.ended(pipeline.ModuleSucceeded, fmt.Sprintf("unit[%d]", i), "unit", "beta", 90, 130)
	}
	failed := wire.Attempt{Number: 1, Worker: "gamma", State: pipeline.AttemptFailed, Reason: "exit code 1", StartedAt: second(90), FinishedAt: second(134)}
	r.show(wire.Module{Name: "unit[22]", Of: "unit", State: pipeline.ModuleWaiting, NotBefore: second(135), Attempts: []wire.Attempt{failed}})
	r.running("unit[22]", "unit", "gamma", 136, 62, failed)
	r.running("unit[23]", "unit", "beta", 140, 62)
	lost := wire.Attempt{Number: 1, Worker: "alpha", State: pipeline.AttemptLost, StartedAt: second(90), FinishedAt: second(150)}
	r.c.led(wire.Health{Leader: "beta", Quorum: true, Term: 8}, 38*time.Millisecond)
	r.running("e2e[chaos]", "e2e", "gamma", 151, 220, lost)
	r.running("e2e[upgrade]", "e2e", "beta", 95, 195)
	r.line("e2e[chaos]", "healed, 5 of 5 agree at index 48,213")
	r.line("e2e[upgrade]", "\x1b[32mnode 3\x1b[0m:\t0.8.4 -> 0.9.0, 3 of 5 \u4e2d\u6587")
	r.c.board.reasons = map[string]string{"integration": `waits for lock "test-db", which integration of run 01a2291034b57e49 holds`}
	r.at(190)
}

func (r *release) fail() {
	for i := range 25 {
		r.line("unit[23]", fmt.Sprintf("    retain_test.go:%d: want 3 logs, have 2", 80+i))
	}
	r.ended(pipeline.ModuleFailed, "unit[23]", "unit", "beta", 140, 200)
	r.ended(pipeline.ModuleSucceeded, "unit[22]", "unit", "gamma", 136, 190, wire.Attempt{Number: 1, Worker: "gamma", State: pipeline.AttemptFailed, StartedAt: second(90), FinishedAt: second(134)})
	r.head.State, r.head.FinishedAt = pipeline.RunFailed, second(201)
	var rest []wire.Module
	for _, name := range []string{"e2e[chaos]", "e2e[upgrade]", "integration", "publish"} {
		m := wire.Module{Name: name, State: pipeline.ModuleSkipped, Reason: "unit[23] failed"}
		if strings.HasPrefix(name, "e2e") {
			m.Of = "e2e"
		}
		rest = append(rest, m)
	}
	r.show(rest...)
	last := wire.Run{RunSummary: r.head, File: "/src/release.hcl", Modules: r.c.view.modules}
	r.c.finish(&last)
}

// TestConsole_screens are the pictures of a run at several widths.
func TestConsole_screens(t *testing.T) {
	for _, columns := range []int{45, 80, 160} {
		e := newEmulator(t, columns)
		var clock time.Time
		s := e.stream()
		c := newTestConsole(s, s, &clock, ConsoleConfig{Unicode: columns > 45, Interrupt: "^C leaves it running", Dir: "/src"})
		clock = storyStart
		r := newRelease(c, &clock)
		r.at(1)
		got := "--- at the beginning\n" + e.screen()
		r.middle()
		got += "--- while it runs\n" + e.screen()
		r.fail()
		got += "--- after its failure\n" + e.screen()
		golden(t, fmt.Sprintf("screen-%d", columns), got)
	}
}

// TestConsole_colors has the sequences themselves.
func TestConsole_colors(t *testing.T) {
	e := newEmulator(t, 80)
	var clock time.Time
	s := e.stream()
	play(newTestConsole(s, s, &clock, ConsoleConfig{Unicode: true}), &clock)
	golden(t, "live-color", e.raw.String())
}

// TestConsole_logs prints each line of output above the block.
func TestConsole_logs(t *testing.T) {
	e := newEmulator(t, 80)
	var clock time.Time
	s := e.stream()
	play(newTestConsole(s, s, &clock, ConsoleConfig{Logs: true}), &clock)
	golden(t, "live-logs", e.screen())
}

// TestConsole_frames draws at most ten times a second whatever comes, and keeps the
// block within half of the terminal.
func TestConsole_frames(t *testing.T) {
	e := newEmulator(t, 60)
	clock := storyStart
	s := e.stream()
	c := newTestConsole(s, s, &clock, ConsoleConfig{})
	r := newRelease(c, &clock)
	for i := range 24 {
		r.running(fmt.Sprintf("unit[%d]", i), fmt.Sprintf("unit%d", i), "beta", 0, 0)
	}
	for i := range 1000 {
		clock = storyStart.Add(time.Duration(i) * time.Millisecond)
		r.line("unit[1]", fmt.Sprintf("line %d", i))
		c.flush()
	}
	if e.frames < 9 || e.frames > 11 {
		t.Errorf("%d frames in a second", e.frames)
	}
	if n := strings.Count(e.screen(), "\n"); n > 15 {
		t.Errorf("the block has %d lines on a terminal of 30:\n%s", n, e.screen())
	}
	if !strings.Contains(e.screen(), "more") {
		t.Errorf("nothing says that there is more:\n%s", e.screen())
	}
}

// TestScreen_narrower takes the whole block away after the terminal became narrower and
// wrapped its lines.
func TestScreen_narrower(t *testing.T) {
	e := newEmulator(t, 40)
	clock := storyStart
	stream := e.stream()
	s := &screen{err: stream, now: func() time.Time { return clock }}
	s.frame([]row{{{strings.Repeat("x", 39), plainStyle}}}, false)
	stream.size = func() (int, int) { return 20, 30 }
	e.raw.Reset()
	s.frame([]row{{{"short", plainStyle}}}, false)
	if !strings.Contains(e.raw.String(), "\r\x1b[2A") {
		t.Errorf("%q does not go up two lines", e.raw.String())
	}
}

func TestRow_cut(t *testing.T) {
	r := row{{"ab", plainStyle}, {"\u4e2d\u6587", goodStyle}, {"c", plainStyle}}
	for columns, want := range map[int]string{0: "", 1: "a", 2: "ab", 3: "ab", 4: "ab\u4e2d", 6: "ab\u4e2d\u6587", 7: "ab\u4e2d\u6587c", 9: "ab\u4e2d\u6587c"} {
		if got := r.cut(columns); got.render(false) != want || got.width() > columns {
			t.Errorf("%d columns: %q of width %d, want %q", columns, got.render(false), got.width(), want)
		}
	}
}

func TestSpeaksUnicode(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, true},
	} {
		if got := SpeaksUnicode(func(name string) string { return tc.env[name] }); got != tc.want {
			t.Errorf("%v: %v", tc.env, got)
		}
	}
}

// TestBoard_groupEnd marks a block by the worst that happened to its instances.
func TestBoard_groupEnd(t *testing.T) {
	for _, tc := range []struct {
		states []pipeline.ModuleState
		want   string
	}{
		{[]pipeline.ModuleState{pipeline.ModuleSucceeded, pipeline.ModuleCached, pipeline.ModuleSkipped}, "+ unit"},
		{[]pipeline.ModuleState{pipeline.ModuleSucceeded, pipeline.ModuleFailed, pipeline.ModuleCancelled}, "x unit"},
		{[]pipeline.ModuleState{pipeline.ModuleSucceeded, pipeline.ModuleCancelled}, "- unit"},
		{[]pipeline.ModuleState{pipeline.ModuleSkipped, pipeline.ModuleSkipped}, "- unit"},
	} {
		g := &group{name: "unit"}
		for _, s := range tc.states {
			g.members = append(g.members, &wire.Module{State: s})
		}
		b := &board{view: newRunView(), marks: &asciiMarks}
		if got := b.groupEnd(b.columns(80), g).render(false); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%v: %q, want %q", tc.states, got, tc.want)
		}
	}
}

// What ran on the node that led before may be gone with it: it is not reported as what
// continues.
func TestConsole_led_awaits(t *testing.T) {
	on := func(worker string) wire.Module {
		return wire.Module{Name: "on " + worker, State: pipeline.ModuleRunning, Attempts: []wire.Attempt{{Worker: worker}}}
	}
	for want, modules := range map[string][]wire.Module{
		"":                             {{Name: "a", State: pipeline.ModuleWaiting}},
		"; 1 running module continues": {on("gamma")},
		"; 2 running modules continue, beta waits for 1 on alpha": {on("alpha"), on("gamma"), on("beta")},
		"; beta waits for 1 running module on alpha":              {on("alpha")},
	} {
		v := &runView{modules: modules}
		if got := v.continuing("alpha", "beta"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
