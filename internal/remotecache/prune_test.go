package remotecache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/remotecache"
	"github.com/pipelined/pipelined/pipeline"
)

// left lists the entries that are there, the one read longest ago first.
func (w *world) left() string {
	w.tb.Helper()
	var list []string
	err := w.store.View(func(v *fsm.View) error {
		v.ToolsByAge(func(e *pipeline.ToolEntry) bool { list = append(list, strings.TrimLeft(e.Key, "0")); return true })
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return strings.Join(list, " ")
}

// TestRetain deletes what was read longest ago, down to the limits. A read counts
// once it is reported.
func TestRetain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(cfg *remotecache.Config) { cfg.MaxBytes, cfg.KeepFor = 2500, 48*time.Hour }, "n1")
		n := w.nodes["n1"]
		for i := range 4 {
			n.put(key(i+1), strings.Repeat(fmt.Sprint(i), 1000))
			time.Sleep(time.Minute) // of the bubble's clock
		}

		time.Sleep(2 * time.Hour)
		if got := n.get(key(1)); len(got) != 1000 {
			t.Fatalf("read %d bytes", len(got))
		}
		before := len(w.ops)
		if err := n.ReportReads(t.Context()); err != nil || len(w.ops) != before+1 || len(w.ops[before].Takes) != 1 {
			t.Errorf("one read is reported as %+v, %v", w.ops[before:], err)
		}
		n.get(key(1)) // its time in the state is new
		if err := n.ReportReads(t.Context()); err != nil || len(w.ops) != before+1 {
			t.Errorf("a read within the hour is reported: %v", err)
		}

		if err := n.Retain(t.Context(), time.Now()); err != nil || w.left() != "4 1" {
			t.Errorf("after the limit of bytes %s are left, %v", w.left(), err)
		}
		if err := n.Retain(t.Context(), time.Now()); err != nil || w.left() != "4 1" {
			t.Errorf("again: %s, %v", w.left(), err)
		}
		if err := n.Retain(t.Context(), time.Now().Add(47*time.Hour)); err != nil || w.left() != "1" {
			t.Errorf("after the limit of time %s are left, %v", w.left(), err)
		}
	})
}

// TestRun reports reads by itself, and survives a state that refuses them.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "n1")
		n := w.nodes["n1"]
		n.put(key(1), "x")
		time.Sleep(2 * time.Hour)

		ended := make(chan struct{})
		ctx, cancel := contextOf(t)
		go func() { n.Run(ctx); close(ended) }()
		n.get(key(1))
		w.mu.Lock()
		w.refuse = pipeline.ErrNoLeader
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		n.get(key(1)) // the report was lost, so that this read is noted again
		time.Sleep(time.Minute)
		cancel()
		<-ended
		if last := w.ops[len(w.ops)-1]; len(w.ops) != 2 || len(last.Takes) != 1 {
			t.Errorf("reported was %+v", w.ops[1:])
		}
	})
}

func TestPrune(t *testing.T) {
	w := newWorld(t, nil, "n1")
	n := w.nodes["n1"]
	n.put(key(1), "bazel")
	n.put(pipeline.ToolKey{Space: pipeline.ToolTurbo, Team: "web", Key: "abc"}, "turbo")
	by := api.Subject{Name: "ann"}

	for _, tc := range []struct {
		in      wire.CachePrune
		removed int
		left    int
	}{
		{wire.CachePrune{Kind: wire.KindTurbo, All: true, DryRun: true}, 1, 2},
		{wire.CachePrune{Kind: wire.KindBazel, UnusedSeconds: 3600}, 0, 2},
		{wire.CachePrune{Kind: wire.KindTurbo, All: true}, 1, 1},
		{wire.CachePrune{Kind: wire.KindTurbo, All: true}, 0, 1},
		{wire.CachePrune{Kind: wire.KindBazel, MaxBytes: new(int64)}, 1, 0},
	} {
		out, err := n.Prune(t.Context(), by, tc.in)
		if err != nil || out.Removed != tc.removed || out.Bytes != int64(5*tc.removed) || w.entries() != tc.left {
			t.Errorf("%+v: got %+v, %v, %d left", tc.in, out, err, w.entries())
		}
	}

	n.put(key(1), "x")
	w.refuse = errors.New("refused")
	if _, err := n.Prune(t.Context(), by, wire.CachePrune{All: true}); !errors.Is(err, w.refuse) {
		t.Errorf("got %v", err)
	}
}

// TestListTools lists page by page, by kind or all.
func TestListTools(t *testing.T) {
	w := newWorld(t, nil, "n1")
	n := w.nodes["n1"]
	for i := range 5 {
		n.put(key(i+1), "x")
		n.put(pipeline.ToolKey{Space: pipeline.ToolTurbo, Key: fmt.Sprintf("t%d", i)}, "y")
	}

	for kind, want := range map[string]int{"": 10, wire.KindBazel: 5, wire.KindTurbo: 5} {
		seen := map[string]bool{}
		var after pipeline.ToolKey
		for pages := 0; ; pages++ {
			page, err := n.ListTools(t.Context(), kind, 3, after)
			if err != nil || len(page.Entries) > 3 || pages > 10 {
				t.Fatalf("kind %q: %+v, %v", kind, page, err)
			}
			for _, e := range page.Entries {
				if kind != "" && e.Kind != kind {
					t.Errorf("kind %q lists %+v", kind, e)
				}
				seen[e.Key] = true
			}
			if page.Cursor == "" {
				break
			}
			if after, err = pipeline.ParseToolKey(page.Cursor); err != nil {
				t.Fatal(err)
			}
		}
		if kind != "" && len(seen) != want {
			t.Errorf("kind %q: %d entries, want %d", kind, len(seen), want)
		}
	}
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
