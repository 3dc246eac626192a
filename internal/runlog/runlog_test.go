package runlog_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func read(tb testing.TB, r io.ReadCloser) string {
	tb.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatalf("read a log: %v", err)
	}
	return string(b)
}

// TestLogs_Log reads outputs of every kind of attempt, at the node that has it
// and at another one.
func TestLogs_Log(t *testing.T) {
	w := newWorld(t, "n1", "n2")
	w.submit("r", "done", "silent", "live", "waiting", "external")
	w.assign("r", "n2", "done/1", "silent/1", "live/1")
	w.assign("r", "ext-w", "external/1")
	w.end("n2", "r", "done/1", ended{log: "0123456789", times: "TIMES"})
	w.end("n2", "r", "silent/1", ended{})
	w.nodes["n2"].files.write(w.id("r", "live/1"), "so far")

	for _, tc := range []struct {
		module  string
		attempt int
		offset  int64
		want    string
		size    int64
		number  int
		final   bool
	}{
		{"done", 0, 0, "0123456789", 10, 1, true},
		{"done", 1, 4, "456789", 10, 1, true},
		{"done", 1, 10, "", 10, 1, true},
		{"done", 1, 99, "", 10, 1, true}, // behind the end stands the record of times
		{"silent", 0, 0, "", 0, 1, true},
		{"live", 0, 0, "so far", 6, 1, false},
		{"live", 1, 3, "far", 6, 1, false},
		{"waiting", 0, 0, "", 0, 0, true},
		{"external", 0, 0, "", 0, 1, false},
	} {
		for at, n := range w.nodes {
			r, info, err := n.Log(t.Context(), "r", tc.module, tc.attempt, tc.offset)
			if err != nil {
				t.Errorf("%s at %s: %v", tc.module, at, err)
				continue
			}
			if got := read(t, r); got != tc.want || info.Size != tc.size || info.Attempt != tc.number || info.Final != tc.final {
				t.Errorf("%s from %d at %s: got %q, %+v", tc.module, tc.offset, at, got, info)
			}
		}
	}
}

func TestLogs_Log_refusals(t *testing.T) {
	w := newWorld(t, "n1", "n2")
	w.submit("r", "a")
	w.assign("r", "n2", "a/1")

	for _, tc := range []struct {
		run     pipeline.RunID
		module  string
		attempt int
		want    string
	}{
		{"none", "a", 0, "no run none"},
		{"r", "b", 0, `run r has no module "b": it has a`},
		{"r", "a", 2, "module a has 1 attempts, not 2"},
	} {
		_, _, err := w.nodes["n1"].Log(t.Context(), tc.run, tc.module, tc.attempt, 0)
		if pipeline.KindOf(err) != pipeline.NotFound || err.Error() != tc.want {
			t.Errorf("%s/%s/%d: got %v, want %q", tc.run, tc.module, tc.attempt, err, tc.want)
		}
	}

	w.kill("n2")
	if _, _, err := w.nodes["n1"].Log(t.Context(), "r", "a", 0, 0); pipeline.KindOf(err) != pipeline.Unknown {
		t.Errorf("the worker is dead: got %v", err)
	}
}

// A worker that was assigned an attempt may not have started it yet.
func TestLogs_Log_notStarted(t *testing.T) {
	w := newWorld(t, "n1", "n2")
	w.submit("r", "a")
	w.assign("r", "n2", "a/1")

	r, info, err := w.nodes["n1"].Log(t.Context(), "r", "a", 0, 0)
	if err != nil || info.Final || read(t, r) != "" {
		t.Errorf("not there: got %+v, %v", info, err)
	}

	w.nodes["n2"].files.begin(w.id("r", "a/1"))
	r, info, err = w.nodes["n1"].Log(t.Context(), "r", "a", 0, 0)
	if err != nil || info.Size != 0 || read(t, r) != "" {
		t.Errorf("without a first byte: got %+v, %v", info, err)
	}
}

func TestLogs_Log_blobLost(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a")
	w.assign("r", "n1", "a/1")
	w.end("n1", "r", "a/1", ended{log: "gone"})
	w.loseBlobs()

	if _, _, err := w.nodes["n1"].Log(t.Context(), "r", "a", 0, 0); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("got %v", err)
	}
}

// A reader that stops early must not leave a goroutine behind.
func TestLogs_Log_closedEarly(t *testing.T) {
	w := newWorld(t, "n1", "n2")
	w.submit("r", "a")
	w.assign("r", "n2", "a/1")
	w.nodes["n2"].files.write(w.id("r", "a/1"), strings.Repeat("x", 1<<20))

	for _, n := range w.nodes {
		r, _, err := n.Log(t.Context(), "r", "a", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogs_retention(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a")
	w.assign("r", "n1", "a/1")
	w.end("n1", "r", "a/1", ended{log: "old", last: true})
	w.apply(&fsm.Command{Expire: &fsm.Expire{Logs: []pipeline.RunID{"r"}}})

	const want = "the logs of run r were deleted by a retention limit of the cluster (pipelined pin RUN exempts a run)"
	if _, _, err := w.nodes["n1"].Log(t.Context(), "r", "a", 0, 0); err == nil || err.Error() != want {
		t.Errorf("Log: got %v", err)
	}
	f := w.follow("n1", "r", followAll)
	if err := f.wait(); err == nil || err.Error() != want {
		t.Errorf("Follow: got %v", err)
	}
}

// TestRegister_refusals sends what no node of this version sends.
func TestRegister_refusals(t *testing.T) {
	w := newWorld(t, "n1")
	w.nodes["n1"].files.write(pipeline.AttemptID{Run: "r", Module: "a", Attempt: 1}, "x")

	for _, tc := range []struct {
		path string
		want int
	}{
		{"/peer/log?id=r/a/1&offset=0", http.StatusOK},
		{"/peer/log?id=r/a/2&offset=0", http.StatusNotFound},
		{"/peer/log?id=nonsense&offset=0", http.StatusBadRequest},
		{"/peer/log?id=r/a/1&offset=-1", http.StatusBadRequest},
		{"/peer/log?id=r/a/1", http.StatusBadRequest},
	} {
		rec := httptest.NewRecorder()
		w.nodes["n1"].mux.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), "GET", tc.path, nil))
		if rec.Code != tc.want {
			t.Errorf("%s: got %d %s", tc.path, rec.Code, rec.Body)
		}
	}
}
