package top_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/vt"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/internal/top"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files of testdata anew")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) *time.Time {
	t := start.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}

// fakeCluster answers from memory, and notes what it was asked to change.
type fakeCluster struct {
	mu sync.Mutex
	// guards following
	down  error
	calls []string
	runs  []wire.Run
	nodes []top.Node
}

func newFakeCluster() *fakeCluster {
	disk := &wire.DiskSpace{FreeBytes: 72 << 30, TotalBytes: 100 << 30}
	node := func(name, role string, load int, lag int64) top.Node {
		return top.Node{Disk: disk, Viewers: 2, Member: wire.Member{ID: pipeline.NodeID(name), Name: name, Role: role, Status: pipeline.MemberAlive, HTTP: "127.0.0.1:8080", Version: "1.0", MaxLoad: 8, CurrentLoad: load},
			CPU: float64(load), CPUs: 8, Memory: int64(load) << 30, Total: 31 << 30, Lag: lag}
	}
	epsilon := node("epsilon", "worker", 2, -1)
	epsilon.Engine, epsilon.Missed, epsilon.Disk = "docker 28.2", 1, &wire.DiskSpace{FreeBytes: 3 << 30, TotalBytes: 62 << 30}
	epsilon.Draining, epsilon.Reasons = true, []string{"disk low: 5 % of 62 GiB are free"}

	attempt := func(worker string, since float64) []wire.Attempt {
		return []wire.Attempt{{Number: 1, Worker: worker, State: pipeline.AttemptRunning, StartedAt: at(since)}}
	}
	chaos := append([]wire.Attempt{{Number: 1, Worker: "alpha", State: pipeline.AttemptLost, StartedAt: at(1), FinishedAt: at(8)}}, attempt("gamma", 10)...)
	chaos[1].Number = 2
	release := wire.Run{RunSummary: wire.RunSummary{ID: "r2", Number: 1284, Pipeline: "release", State: pipeline.RunRunning, Submitter: "ann", SubmittedAt: start,
		ModuleCount: 29, ModulesDone: 24, ModulesCached: 1, ModulesFailed: 1, ModulesRunning: 4}, Index: 7,
		Modules: []wire.Module{
			{Name: "codegen", State: pipeline.ModuleCached},
			{Name: "lint", State: pipeline.ModuleFailed, Reason: "exit code 1", Worker: "beta", Attempts: []wire.Attempt{{Number: 1, Worker: "beta", State: pipeline.AttemptFailed, StartedAt: at(1), FinishedAt: at(42)}}},
			{Name: "e2e[chaos]", State: pipeline.ModuleRunning, ExpectedSeconds: 220, Attempts: chaos},
			{Name: "race", State: pipeline.ModuleRunning, ExpectedSeconds: 320, Attempts: attempt("beta", 20)},
			{Name: "integration", State: pipeline.ModuleWaiting, Reason: `waits for lock "test-db", which integration of run 01a2291034b57e49a638ec9a5e8393dc holds`},
		}}
	for i := range 24 {
		m := wire.Module{Name: fmt.Sprintf("unit[%d]", i+1), Of: "unit", State: pipeline.ModuleSucceeded, ExpectedSeconds: 62}
		if i >= 22 {
			m.State, m.Attempts = pipeline.ModuleRunning, attempt([]string{"beta", "gamma"}[i-22], 39)
		}
		release.Modules = append(release.Modules, m)
	}
	deploy := wire.Run{RunSummary: wire.RunSummary{ID: "r1", Number: 1282, Pipeline: "deploy", State: pipeline.RunSucceeded, Submitter: "bob", SubmittedAt: start.Add(-time.Hour), FinishedAt: at(-3000), ModuleCount: 1, ModulesDone: 1}, Index: 3,
		Modules: []wire.Module{{Name: "ship", State: pipeline.ModuleSucceeded, Worker: "beta"}}}
	nightly := wire.Run{RunSummary: wire.RunSummary{ID: "01a2291034b57e49a638ec9a5e8393dc", Number: 1283, Pipeline: "nightly", State: pipeline.RunRunning, Schedule: "nightly",
		SubmittedAt: start.Add(-11 * time.Minute), ModuleCount: 70, ModulesDone: 65, ModulesCached: 4, ModulesRunning: 2}}
	asks := wire.Run{RunSummary: wire.RunSummary{ID: "r0", Number: 1281, Pipeline: "deploy", State: pipeline.RunRunning, Submitter: "bob", SubmittedAt: start.Add(-21 * time.Minute),
		ModuleCount: 10, ModulesDone: 7, ModulesCached: 2, Approvals: 1}}
	return &fakeCluster{runs: []wire.Run{release, deploy, nightly, asks}, nodes: []top.Node{node("beta", "leader", 7, 0), node("alpha", "voter", 0, 212), epsilon}}
}

func (f *fakeCluster) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down == nil {
		f.calls = append(f.calls, fmt.Sprintf(format, args...))
	}
	return f.down
}

func (f *fakeCluster) called() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "; ")
}

func (f *fakeCluster) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

func (f *fakeCluster) get(id pipeline.RunID) (wire.Run, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.runs {
		if r.ID == id {
			return r, f.down
		}
	}
	return wire.Run{}, pipeline.NoRun(id)
}

func (f *fakeCluster) State(context.Context) (top.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return top.State{Health: wire.Health{NodeID: "b", Node: "beta", Status: "healthy", Leader: "beta", Quorum: true, Term: 8, CommitIndex: 48213}, Nodes: f.nodes,
		Commits: &wire.CommitTimes{Count: 9, MedianSeconds: .00182, P99Seconds: .02}, Waiting: map[string]int{"lock": 1, "slots": 6, "dependency": 4}}, f.down
}

func (f *fakeCluster) Usual(context.Context) (map[string]time.Duration, error) {
	return map[string]time.Duration{"nightly": 13 * time.Minute}, nil
}

func (f *fakeCluster) Runs(context.Context) ([]wire.RunSummary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []wire.RunSummary
	for _, r := range f.runs {
		list = append(list, r.RunSummary)
	}
	return list, f.down
}

func (f *fakeCluster) Run(_ context.Context, id pipeline.RunID) (wire.Run, error) { return f.get(id) }

func (f *fakeCluster) Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error {
	r, err := f.get(id)
	if err != nil {
		return err
	}
	if err := fn(r); err != nil || r.State.Final() {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeCluster) Follow(ctx context.Context, id pipeline.RunID, module string, _ int, fn func(wire.LogEvent) error) error {
	if module == "" {
		module = "e2e[chaos]"
	}
	if err := fn(wire.LogEvent{Module: module, Attempt: 1, Text: "one\n\x1b[31mhealed\x1b[0m,\t5 of 5 agree\x1b[2J\n", End: true}); err != nil {
		return err
	}
	if r, _ := f.get(id); r.State.Final() {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeCluster) Why(_ context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	r, err := f.get(id)
	return wire.Why{Run: r.RunSummary, Module: []wire.WhyModule{{Name: module, State: pipeline.ModuleFailed, Because: []string{"attempt 1 failed on beta: exit code 1"}}}}, err
}

func (f *fakeCluster) Cancel(_ context.Context, id pipeline.RunID) error {
	return f.note("cancel %s", id)
}
func (f *fakeCluster) Retry(_ context.Context, id pipeline.RunID) error {
	return f.note("retry %s", id)
}
func (f *fakeCluster) Drain(_ context.Context, node string, off bool) error {
	return f.note("drain %s %v", node, off)
}

// session is a view on a terminal in memory.
type session struct {
	tb      testing.TB
	term    vt.MockTerm
	size    vt.Coord
	cluster *fakeCluster
	done    chan error
	notes   chan string
}

func open(t *testing.T, columns, rows int) *session {
	t.Helper()
	s := &session{tb: t, size: vt.Coord{X: vt.Col(columns), Y: vt.Row(rows)}, cluster: newFakeCluster(), done: make(chan error, 1), notes: make(chan string)}
	s.term = vt.NewMockTerm(vt.MockOptSize(s.size))
	screen, err := tcell.NewTerminfoScreenFromTty(s.term)
	if err != nil {
		t.Fatal(err)
	}
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		s.done <- top.New(top.Config{Cluster: s.cluster, Screen: screen, Notes: s.notes, Unicode: true, Now: func() time.Time { return start.Add(93 * time.Second) }}).Run(ctx)
		close(s.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
		screen.Fini()
	})
	return s
}

func (s *session) screen() string {
	var b strings.Builder
	for y := range s.size.Y {
		var line strings.Builder
		for x := vt.Col(0); x < s.size.X; {
			cell := s.term.GetCell(vt.Coord{X: x, Y: y})
			if cell.C == "" {
				cell.C = " "
			}
			line.WriteString(cell.C)
			x += vt.Col(max(1, cell.W))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// shows waits until a text stands on the screen.
func (s *session) shows(texts ...string) string {
	s.tb.Helper()
	testutil.Eventually(s.tb, 10*time.Second, func() error {
		screen := s.screen()
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return fmt.Errorf("%q is not on the screen:\n%s", text, screen)
			}
		}
		return nil
	})
	return s.screen()
}

func (s *session) press(keys string) { s.term.SendRaw([]byte(keys)) }

// narrow is a terminal without a column for how long a run still takes.
const narrow = 45

func TestApp_screens(t *testing.T) {
	for _, size := range [][2]int{{45, 24}, {80, 24}, {160, 30}} {
		s := open(t, size[0], size[1])
		texts := []string{"release 1284", "beta", "e2e[chaos]", "unit [2 of 24]", "healed", "waits for"}
		if size[0] > narrow {
			texts = append(texts, "~27s") // how long a run is left
		}
		got := s.shows(texts...)
		path := filepath.Join("testdata", fmt.Sprintf("screen-%d", size[0]))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The screen is read line by line, while it may be drawn.
		testutil.Eventually(t, 10*time.Second, func() error {
			if diff := cmp.Diff(string(want), s.screen()); diff != "" {
				return fmt.Errorf("%s (-update writes it anew):\n%s", path, diff)
			}
			return nil
		})
	}
}

// TestApp_actions changes things only after a yes.
func TestApp_actions(t *testing.T) {
	s := open(t, 120, 30)
	s.shows("e2e[chaos]", "epsilon")

	s.press("c")
	s.shows("cancel release 1284? [y/n]")
	s.press("n")
	s.shows("nothing was changed")
	s.press("c")
	s.shows("cancel release 1284? [y/n]")
	s.press("y")
	s.shows("release 1284 is being cancelled")

	s.press("r")
	s.shows("has not ended")
	s.press("jjj")
	s.shows("MODULE (deploy 1282)", "ship")
	s.press("r")
	s.shows("retry deploy 1282")
	s.press("y")
	s.shows("deploy 1282 resumes")

	s.press("d")
	s.shows("choose a node first")
	s.press("\t\tj")
	s.press("d")
	s.shows("drain beta: it gets no more modules? [y/n]")
	s.press("y")
	s.shows("beta is draining")
	s.press("jjd")
	s.shows("use epsilon again? [y/n]")
	s.press("y")
	s.shows("epsilon gets modules again")

	if got, want := s.cluster.called(), "cancel r2; retry r1; drain beta false; drain epsilon true"; got != want {
		t.Errorf("called %s, want %s", got, want)
	}
	s.press("q")
	if err := <-s.done; err != nil {
		t.Errorf("left with %v", err)
	}
}

// TestApp_begunAgain follows a run that had ended and begins again, by whichever client it is retried.
func TestApp_begunAgain(t *testing.T) {
	s := open(t, 120, 30)
	s.shows("e2e[chaos]")
	s.press("jjj")
	s.shows("MODULE (deploy 1282)", "ship")

	s.cluster.mu.Lock()
	r := &s.cluster.runs[1]
	r.State, r.Modules = pipeline.RunRunning, append(r.Modules[:1:1], wire.Module{Name: "verify", State: pipeline.ModuleWaiting, Reason: "waiting for a slot"})
	s.cluster.mu.Unlock()
	s.shows("MODULE (deploy 1282)", "verify", "waiting for a slot")
}

// TestApp_texts shows output without what steers a terminal, reasons and keys.
func TestApp_texts(t *testing.T) {
	s := open(t, 120, 30)
	s.shows("e2e[chaos]")
	s.press("\r")
	s.press("l")
	s.shows("output of lint", "one\nhealed,    5 of 5 agree\n")
	s.press("q")
	s.shows("NODE")
	s.press("w")
	s.shows("why lint", "attempt 1 failed on beta: exit code 1")
	s.press("q")
	s.press("?")
	s.shows("What changes something asks first.")
	s.press("q")
	s.press("/")
	s.press("race\r")
	screen := s.shows("MODULE (release 1284) /race")
	if strings.Contains(screen, "e2e[chaos]") {
		t.Errorf("the filter leaves others in:\n%s", screen)
	}
}

// TestApp_fold shows the instances of a block one by one, and as one row again.
func TestApp_fold(t *testing.T) {
	s := open(t, 120, 40)
	s.shows("unit [2 of 24]", "beta, gamma", "54s / 1m02s", "1 was lost with alpha at 12:00:08", "which integration of nightly")
	s.press("\r")
	s.press("jjjj")
	s.press("\r")
	s.shows("unit[23]", "unit[24]", "unit[5]")
	s.press("f")
	s.shows("unit [2 of 24]")
	s.press("l")
	s.shows("output of unit[23]")
}

// TestApp_clusterDown says how old the picture is, and recovers.
func TestApp_clusterDown(t *testing.T) {
	s := open(t, 120, 30)
	s.shows("e2e[chaos]")
	s.cluster.fail(errors.New("no node answers"))
	s.shows("old: no node answers", "release 1284")
	s.cluster.fail(nil)
	testutil.Eventually(t, 10*time.Second, func() error {
		if strings.Contains(s.screen(), "no node answers") {
			return errors.New("the trouble is still shown")
		}
		return nil
	})

	// The next answer takes the note away, so that it may have to be given again.
	testutil.Eventually(t, 10*time.Second, func() error {
		select {
		case s.notes <- "call 127.0.0.1:8080: connection refused; retrying":
		default:
		}
		if !strings.Contains(s.screen(), "connection refused") {
			return errors.New("the note is not shown")
		}
		return nil
	})
}

func TestApp_contextEnds(t *testing.T) {
	s := open(t, 80, 24)
	s.shows("release 1284")
	s.press("\x03")
	if err := <-s.done; err != nil {
		t.Errorf("Ctrl-C leaves with %v", err)
	}
}
