package runlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

var followAll = wire.FollowRequest{Follow: true}

// TestFollow_finished follows a run that has ended: outputs come in the order in
// which the attempts ended, whatever their names.
func TestFollow_finished(t *testing.T) {
	w := newWorld(t, "n1", "n2")
	w.submit("r", "a", "b", "c")
	w.assign("r", "n2", "a/1", "b/1", "c/1")
	w.end("n2", "r", "c/1", ended{log: "third\n", after: 3 * time.Second})
	w.end("n2", "r", "a/1", ended{log: "second\n", after: 2 * time.Second})
	w.end("n2", "r", "b/1", ended{log: "first\n", after: time.Second, last: true})

	for at := range w.nodes {
		f := w.follow(at, "r", followAll)
		if err := f.wait(); err != nil {
			t.Fatal(err)
		}
		if got := f.text(t, ""); got != "first\nsecond\nthird\n" {
			t.Errorf("got %q", got)
		}
		if got := f.ends(); got != "b/1:succeeded a/1:succeeded c/1:succeeded run:succeeded" {
			t.Errorf("got the ends %s", got)
		}
	}
}

// TestFollow_live follows a module that runs on this node or on another one,
// from before its start to the end of the run.
func TestFollow_live(t *testing.T) {
	for _, at := range []pipeline.NodeID{"n1", "n2"} {
		t.Run("followed at "+string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "n1", "n2")
				w.submit("r", "a")
				f := w.follow(at, "r", followAll)
				synctest.Wait()

				w.assign("r", "n1", "a/1")
				id, files := w.id("r", "a/1"), w.nodes["n1"].files
				for i := range 3 {
					files.write(id, fmt.Sprintf("line %d\n", i))
					time.Sleep(time.Second) // of the bubble's clock
					synctest.Wait()
					if got := f.text(t, "a"); !strings.HasSuffix(got, fmt.Sprintf("line %d\n", i)) {
						t.Fatalf("after line %d: got %q", i, got)
					}
				}

				files.write(id, "the end\n")
				files.stop(id)
				w.end("n1", "r", "a/1", ended{log: "line 0\nline 1\nline 2\nthe end\n", last: true})
				files.forget(id)
				if err := f.wait(); err != nil {
					t.Fatal(err)
				}
				if got := f.text(t, "a"); got != "line 0\nline 1\nline 2\nthe end\n" {
					t.Errorf("got %q", got)
				}
				if got := f.ends(); got != "a/1:succeeded run:succeeded" {
					t.Errorf("got the ends %s", got)
				}
			})
		})
	}
}

// TestFollow_workerDies loses the worker in the middle of an output. The attempt
// is lost, its output stays what had arrived, and the next one is followed.
func TestFollow_workerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2", "n3")
		w.submit("r", "a")
		w.assign("r", "n2", "a/1")
		w.nodes["n2"].files.write(w.id("r", "a/1"), "first try\n")
		f := w.follow("n1", "r", followAll)
		time.Sleep(time.Second)
		synctest.Wait()

		w.kill("n2")
		w.nodes["n2"].files.forget(w.id("r", "a/1"))
		time.Sleep(10 * time.Second) // the follower asks in vain
		w.end("n2", "r", "a/1", ended{state: pipeline.AttemptLost, next: pipeline.ModuleWaiting, after: time.Second})
		w.assign("r", "n3", "a/2")
		w.nodes["n3"].files.write(w.id("r", "a/2"), "second try\n")
		time.Sleep(time.Second)
		w.end("n3", "r", "a/2", ended{log: "second try\nmore\n", after: 20 * time.Second, last: true})
		w.nodes["n3"].files.forget(w.id("r", "a/2"))

		if err := f.wait(); err != nil {
			t.Fatal(err)
		}
		if got := f.text(t, "a"); got != "first try\nsecond try\nmore\n" {
			t.Errorf("got %q", got)
		}
		if got := f.ends(); got != "a/1:lost a/2:succeeded run:succeeded" {
			t.Errorf("got the ends %s", got)
		}
	})
}

// TestFollow_resumes reads on from positions that another follower reached.
func TestFollow_resumes(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a", "b")
	w.assign("r", "n1", "a/1", "b/1")
	w.end("n1", "r", "a/1", ended{state: pipeline.AttemptFailed, next: pipeline.ModuleWaiting, log: "failed\n", after: 1})
	w.assign("r", "n1", "a/2")
	w.end("n1", "r", "a/2", ended{log: "0123456789", after: 2})
	w.end("n1", "r", "b/1", ended{log: "seen before", after: 3, last: true})

	f := w.follow("n1", "r", wire.FollowRequest{Follow: true, Positions: map[string]wire.LogPosition{
		"a": {Attempt: 2, Offset: 4},
		"b": {Attempt: 1, Offset: 11, Ended: true},
	}})
	if err := f.wait(); err != nil {
		t.Fatal(err)
	}
	if a, b := f.text(t, "a"), f.text(t, "b"); a != "456789" || b != "" {
		t.Errorf("got %q and %q", a, b)
	}
	if got := f.ends(); got != "a/2:succeeded run:succeeded" {
		t.Errorf("got the ends %s", got)
	}

	// From behind the end of the first attempt the second comes whole.
	f = w.follow("n1", "r", wire.FollowRequest{Follow: true, Modules: []string{"a"},
		Positions: map[string]wire.LogPosition{"a": {Attempt: 1, Offset: 7, Ended: true}}})
	if err := f.wait(); err != nil || f.text(t, "") != "0123456789" {
		t.Errorf("got %q, %v", f.text(t, ""), err)
	}
}

// TestFollow_once sends what is there and ends, though the module still runs.
func TestFollow_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2")
		w.submit("r", "a", "b", "c")
		w.assign("r", "n2", "a/1", "b/1")
		w.nodes["n2"].files.write(w.id("r", "a/1"), "so far")

		for at := range w.nodes {
			f := w.follow(at, "r", wire.FollowRequest{})
			if err := f.wait(); err != nil {
				t.Fatal(err)
			}
			if got := f.text(t, ""); got != "so far" {
				t.Errorf("at %s: got %q", at, got)
			}
			if got := f.ends(); got != "" {
				t.Errorf("at %s: got the ends %s of what has not ended", at, got)
			}
		}
	})
}

// TestFollow_blobLost puts a line in the place of an output that cannot be read,
// and continues with the others.
func TestFollow_blobLost(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a", "b")
	w.assign("r", "n1", "a/1", "b/1")
	w.end("n1", "r", "a/1", ended{log: "lost", after: 1})
	w.loseBlobs()
	w.end("n1", "r", "b/1", ended{log: "kept", after: 2, last: true})

	f := w.follow("n1", "r", followAll)
	if err := f.wait(); err != nil {
		t.Fatal(err)
	}
	if got := f.text(t, "a"); !strings.HasPrefix(got, "[the rest of this output cannot be read: blob ") {
		t.Errorf("got %q", got)
	}
	if f.text(t, "b") != "kept" || f.ends() != "a/1:succeeded b/1:succeeded run:succeeded" {
		t.Errorf("got %q, %s", f.text(t, "b"), f.ends())
	}
}

func TestFollow_refusals(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a")

	f := w.follow("n1", "none", followAll)
	if err := f.wait(); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("an unknown run: got %v", err)
	}
	f = w.follow("n1", "r", wire.FollowRequest{Follow: true, Modules: []string{"a", "b"}})
	if err := f.wait(); err == nil || err.Error() != `run r has no module "b": it has a` {
		t.Errorf("an unknown module: got %v", err)
	}
}

// The error of send ends the call and is its error.
func TestFollow_sendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1")
		w.submit("r", "live", "done")
		w.assign("r", "n1", "live/1", "done/1")
		w.nodes["n1"].files.write(w.id("r", "live/1"), "x")
		w.end("n1", "r", "done/1", ended{log: "y"})

		broken := errors.New("the caller is gone")
		for _, module := range []string{"live", "done"} {
			err := w.nodes["n1"].Follow(t.Context(), "r", followAll, func(e wire.LogEvent) error {
				if e.Module == module {
					return broken
				}
				return nil
			})
			if !errors.Is(err, broken) {
				t.Errorf("%s: got %v", module, err)
			}
		}
	})
}

// The end of the context ends a call that waits, with its cause, and its senders.
func TestFollow_canceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2")
		w.submit("r", "a", "b")
		w.assign("r", "n2", "a/1")
		w.nodes["n2"].files.write(w.id("r", "a/1"), "x")

		stopping := errors.New("the node stops")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error, 1)
		go func() { result <- w.nodes["n1"].Follow(ctx, "r", followAll, func(wire.LogEvent) error { return nil }) }()
		time.Sleep(time.Minute)
		cancel(stopping)
		if err := <-result; !errors.Is(err, stopping) {
			t.Errorf("got %v", err)
		}
	})
}

// TestFollow_many follows more modules than are read at a time, with outputs that
// are sent beside one another.
func TestFollow_many(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 150
		w := newWorld(t, "n1", "n2")
		var modules, attempts []string
		for i := range n {
			modules = append(modules, fmt.Sprintf("m%d", i))
			attempts = append(attempts, modules[i]+"/1")
		}
		w.submit("r", modules...)
		w.assign("r", "n2", attempts...)
		for _, a := range attempts {
			w.nodes["n2"].files.write(w.id("r", a), a)
		}

		f := w.follow("n1", "r", followAll)
		time.Sleep(time.Second)
		for i, a := range attempts {
			long := a + strings.Repeat("x", 300<<10) // longer than what is sent inline
			w.end("n2", "r", a, ended{log: long, after: time.Duration(i), last: i == n-1})
			w.nodes["n2"].files.stop(w.id("r", a))
		}
		if err := f.wait(); err != nil {
			t.Fatal(err)
		}
		for i, m := range modules {
			if got := f.text(t, m); len(got) != len(attempts[i])+300<<10 || !strings.HasPrefix(got, attempts[i]) {
				t.Fatalf("%s: got %d bytes, %.20q", m, len(got), got)
			}
		}
		if got := strings.Count(f.ends(), " "); got != n {
			t.Errorf("got %d ends, want %d and the run's", got, n)
		}
	})
}

// TestFollow_text sends whole characters, and bytes that are no text as they are.
func TestFollow_text(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1")
		w.submit("r", "a", "b")
		w.assign("r", "n1", "a/1", "b/1")
		id := w.id("r", "a/1")
		f := w.follow("n1", "r", followAll)

		for _, b := range []byte("grüße, 世界") { // byte by byte
			w.nodes["n1"].files.write(id, string([]byte{b}))
			time.Sleep(100 * time.Millisecond)
		}
		w.nodes["n1"].files.stop(id)
		w.end("n1", "r", "a/1", ended{log: "grüße, 世界", after: 1})
		w.end("n1", "r", "b/1", ended{log: "a\xff\xfeb", after: 2, last: true})
		if err := f.wait(); err != nil {
			t.Fatal(err)
		}

		for _, e := range f.events {
			if e.Module == "a" && e.Raw != nil {
				t.Errorf("a piece of text is raw: %q", e.Raw)
			}
			if e.Module == "b" && e.Text != "" && (string(e.Raw) != "a\xff\xfeb" || e.Text != "a\uFFFDb") {
				t.Errorf("got %q and %q", e.Text, e.Raw)
			}
		}
		if f.text(t, "a") != "grüße, 世界" || f.text(t, "b") != "a\xff\xfeb" {
			t.Errorf("got %q and %q", f.text(t, "a"), f.text(t, "b"))
		}
	})
}
