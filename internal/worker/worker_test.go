package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/journal"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// bench is a worker with a real executor and disk, and a leader that is a map.
type bench struct {
	tb  testing.TB
	dir string
	w   *Worker
	run executor.Runner

	mu       sync.Mutex // guards following
	outcomes map[pipeline.AttemptID]*pipeline.Outcome
	refuse   bool // the leader is away
	order    []pipeline.AttemptID
	stop     func()
}

func newBench(tb testing.TB) *bench {
	b := &bench{tb: tb, dir: tb.TempDir(), outcomes: map[pipeline.AttemptID]*pipeline.Outcome{}}
	var err error
	if b.run, err = executor.NewLocal(executor.Config{DataDir: filepath.Join(b.dir, "keeper")}); err != nil {
		tb.Fatal(err)
	}
	if err := disk.Mark(filepath.Join(b.dir, "work")); err != nil {
		tb.Fatal(err)
	}
	b.open()
	tb.Cleanup(func() {
		b.stop()
		if err := b.run.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// open starts the worker, for the first time or again with what it left.
func (b *bench) open() {
	b.tb.Helper()
	blobs, err := blob.Open(filepath.Join(b.dir, "blobs"), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		b.tb.Fatal(err)
	}
	attempts, err := journal.Open(filepath.Join(b.dir, "journal.db"), func(text string) { b.tb.Log(text) })
	if err != nil {
		b.tb.Fatal(err)
	}
	layouts, err := layout.Open(layout.Config{Dir: filepath.Join(b.dir, "layers"), WorkDir: filepath.Join(b.dir, "work"), Blobs: blobs, MinFiles: 20})
	if err != nil {
		b.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.w, err = Open(ctx, Config{Self: "w1", Name: "w1", Runner: b.run, Blobs: blobs, Trees: tree.NewCache(blobs), Journal: attempts,
		Capabilities: pipeline.Capabilities{MaxParallelModules: 2}, WorkDir: filepath.Join(b.dir, "work"), Layouts: layouts,
		CachesDir: filepath.Join(b.dir, "caches"), Logger: hclog.NewNullLogger(), Report: b.report,
		Fetch: func(_ context.Context, _ []pipeline.NodeID, want []pipeline.Digest) error {
			return pipeline.Errorf(pipeline.NotFound, "%d blobs are nowhere", len(want))
		},
		Copy: func(context.Context, []pipeline.Digest) pipeline.NodeID { return "" }})
	if err != nil {
		b.tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.w.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := errors.Join(<-ended, attempts.Close(), blobs.Close()); err != nil {
			b.tb.Error(err)
		}
	}
}

func (b *bench) report(_ context.Context, reports []peer.Report) ([]peer.Ack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse {
		return nil, pipeline.ErrNoLeader
	}
	acks := make([]peer.Ack, len(reports))
	for i, r := range reports {
		if r.Outcome != nil {
			if b.outcomes[r.ID] != nil {
				b.tb.Errorf("%s was reported twice after its acknowledgement", r.ID)
			}
			b.outcomes[r.ID] = r.Outcome
			b.order = append(b.order, r.ID)
		}
		acks[i].Done = true
	}
	return acks, nil
}

func (b *bench) away(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = yes
}

func id(module string) pipeline.AttemptID {
	return pipeline.AttemptID{Run: "r1", Module: module, Attempt: 1}
}

func (b *bench) spec(module, script string, after ...string) pipeline.Spec {
	s := pipeline.Spec{ID: id(module), Pipeline: "p", Fence: 1, Incarnation: b.run.Incarnation(), Script: script, Grace: time.Second}
	if len(after) > 0 {
		a := id(after[0])
		s.Predecessor = &a
	}
	return s
}

func (b *bench) take(specs ...pipeline.Spec) {
	b.tb.Helper()
	if _, err := b.w.Take(peer.DispatchRequest{Term: 1, Specs: specs}); err != nil {
		b.tb.Fatal(err)
	}
}

// outcome waits for the outcome of a module.
func (b *bench) outcome(module string) *pipeline.Outcome {
	b.tb.Helper()
	var o *pipeline.Outcome
	testutil.Eventually(b.tb, 20*time.Second, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if o = b.outcomes[id(module)]; o == nil {
			return fmt.Errorf("no outcome of %s", module)
		}
		return nil
	})
	return o
}

func TestWorker_outcomes(t *testing.T) {
	b := newBench(t)
	script := b.spec("outputs", "mkdir out; echo hi > out/a; echo n=1 >> $PIPELINED_OUTPUT; echo said")
	script.Outputs = []string{"out/*"}
	missing := b.spec("missing", "true")
	missing.Outputs = []string{"nothing*"}
	slow := b.spec("slow", "sleep 60")
	slow.Timeout = 100 * time.Millisecond
	b.take(script, missing, slow, b.spec("fails", "exit 3"), b.spec("both", "echo 'a=1\n{}' > $PIPELINED_OUTPUT"))
	for module, want := range map[string]struct {
		state  pipeline.AttemptState
		reason string
	}{
		"outputs": {pipeline.AttemptSucceeded, ""},
		"missing": {pipeline.AttemptFailed, "no file matches outputs nothing*"},
		"slow":    {pipeline.AttemptTimedOut, "timed out after 100ms"},
		"fails":   {pipeline.AttemptFailed, "exit code 3"},
		"both":    {pipeline.AttemptFailed, "$PIPELINED_OUTPUT"},
	} {
		o := b.outcome(module)
		if o.State != want.state || !strings.Contains(o.Reason, want.reason) {
			t.Errorf("%s: %s, %q; want %s, %q", module, o.State, o.Reason, want.state, want.reason)
		}
	}
	o := b.outcome("outputs")
	if string(o.Result) != `{"n":"1"}` || o.OutputCount != 1 || len(o.OutputPaths) != 1 || o.OutputPaths[0] != "out/a" || o.LogSize != 5 {
		t.Errorf("outputs: %+v with result %s", o, o.Result)
	}
	testutil.Eventually(t, 20*time.Second, func() error {
		entries, err := os.ReadDir(filepath.Join(b.dir, "work"))
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "r1-") {
				return fmt.Errorf("directory %s is left", e.Name())
			}
		}
		return err
	})
}

// What is queued behind another attempt starts when that one has succeeded.
func TestWorker_queued(t *testing.T) {
	b := newBench(t)
	mark := filepath.Join(b.dir, "mark")
	b.take(b.spec("c", "cat "+mark, "b"), b.spec("b", "echo b >> "+mark, "a"), b.spec("a", "sleep 0.2; echo a >> "+mark))
	// They came in the wrong order, and find each other all the same.
	for _, module := range []string{"a", "b", "c"} {
		if o := b.outcome(module); o.State != pipeline.AttemptSucceeded || module == "c" && o.LogSize != 4 {
			t.Fatalf("%s: %s %s, log of %d bytes", module, o.State, o.Reason, o.LogSize)
		}
	}
	// Behind what never comes one waits until the orchestrator says that it is over.
	b.take(b.spec("late", "true", "never"))
	res, err := b.w.Sync(t.Context(), peer.SyncRequest{Term: 1, Lease: time.Second})
	if err != nil || !slices.ContainsFunc(res.Attempts, func(h peer.Held) bool { return h.ID == id("late") && h.Waiting }) {
		t.Fatalf("sync: %+v, %v", res.Attempts, err)
	}
	b.take(b.spec("late", "true"))
	if o := b.outcome("late"); o.State != pipeline.AttemptSucceeded {
		t.Fatalf("late: %s %s", o.State, o.Reason)
	}
	// In the right order nobody need say anything, also when a is long gone.
	b.take(b.spec("d", "sleep 0.1"), b.spec("e", "true", "d"), b.spec("f", "true", "e"))
	b.outcome("f")
	b.take(b.spec("g", "true", "f"))
	if o := b.outcome("g"); o.State != pipeline.AttemptSucceeded {
		t.Errorf("g: %s %s", o.State, o.Reason)
	}
}

// What is queued behind an attempt that fails is given back, and was never
// started.
func TestWorker_givenBack(t *testing.T) {
	b := newBench(t)
	mark := filepath.Join(b.dir, "mark")
	b.take(b.spec("a", "sleep 0.1; exit 1"), b.spec("b", "echo b >> "+mark, "a"), b.spec("c", "echo c >> "+mark, "b"))
	for _, m := range []string{"b", "c"} {
		if o := b.outcome(m); o.State != pipeline.AttemptCancelled || !o.StartedAt.IsZero() || !strings.Contains(o.Reason, "not started") {
			t.Errorf("%s: %s, %q, started %s", m, o.State, o.Reason, o.StartedAt)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something started")
	}
}

func TestWorker_stop(t *testing.T) {
	b := newBench(t)
	b.take(b.spec("a", "trap '' TERM; sleep 60 & wait"), b.spec("b", "true", "a"))
	testutil.Eventually(t, 20*time.Second, func() error {
		if n := b.w.Load(); n != 1 {
			return fmt.Errorf("load %d", n)
		}
		return nil
	})
	if err := b.w.Stop(t.Context(), peer.StopRequest{Term: 1, IDs: []pipeline.AttemptID{id("a"), id("b"), id("unknown")}, Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"a", "b"} {
		if o := b.outcome(m); o.State != pipeline.AttemptCancelled || o.Reason != "enough" {
			t.Errorf("%s: %s, %q", m, o.State, o.Reason)
		}
	}
}

// A daemon that starts again reports what nobody acknowledged, follows what
// still runs, and starts nothing twice.
func TestWorker_restart(t *testing.T) {
	b := newBench(t)
	mark := filepath.Join(b.dir, "mark")
	b.away(true)
	b.take(b.spec("ended", "echo ended >> "+mark), b.spec("runs", "echo runs >> "+mark+"; sleep 0.5"), b.spec("behind", "echo behind >> "+mark, "runs"))
	testutil.Eventually(t, 20*time.Second, func() error {
		if text, _ := os.ReadFile(mark); !strings.Contains(string(text), "ended") || !strings.Contains(string(text), "runs") {
			return fmt.Errorf("started: %q", text)
		}
		return nil
	})
	b.stop()
	b.away(false)
	b.open()
	for _, m := range []string{"ended", "runs", "behind"} {
		if o := b.outcome(m); o.State != pipeline.AttemptSucceeded {
			t.Errorf("%s: %s, %q", m, o.State, o.Reason)
		}
	}
	text, _ := os.ReadFile(mark)
	for _, m := range []string{"ended", "runs", "behind"} {
		if n := strings.Count(string(text), m); n != 1 {
			t.Errorf("%s was started %d times", m, n)
		}
	}
	// A dispatch that was under way for long starts nothing again.
	b.take(b.spec("ended", "echo ended >> "+mark))
	if res, err := b.w.Sync(t.Context(), peer.SyncRequest{Term: 1}); err != nil || len(res.Attempts) != 0 {
		t.Errorf("taken again: %+v, %v", res.Attempts, err)
	}
}

func TestWorker_refusals(t *testing.T) {
	b := newBench(t)
	other := b.spec("other", "true")
	other.Incarnation = "an earlier life"
	b.take(other)
	if o := b.outcome("other"); o.State != pipeline.AttemptLost {
		t.Errorf("another incarnation: %s, %q", o.State, o.Reason)
	}
	if _, err := b.w.Sync(t.Context(), peer.SyncRequest{Term: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.w.Take(peer.DispatchRequest{Term: 4, Specs: []pipeline.Spec{b.spec("late", "true")}}); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("an old term: %v", err)
	}
	b.w.Close()
	if _, err := b.w.Take(peer.DispatchRequest{Term: 5, Specs: []pipeline.Spec{b.spec("closed", "true")}}); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("a closed worker: %v", err)
	}
}
