package runlog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// dated is an output whose lines were written at times, with its record.
func dated(lines map[time.Duration]string, order ...time.Duration) (log, times string) {
	marks := pipeline.LogMarks{Begin: start}
	var record []byte
	for _, after := range order {
		record = marks.Mark(record, int64(len(log)), start.Add(after))
		log += lines[after]
	}
	return log, string(record)
}

// TestFollow_parts reads the last lines, or what is recent, of an output while it
// runs and after its end, and gets the same each time.
func TestFollow_parts(t *testing.T) {
	log, times := dated(map[time.Duration]string{0: "early\n", time.Minute: "middle\n", 2 * time.Minute: "late\n"}, 0, time.Minute, 2*time.Minute)

	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2")
		w.submit("r", "a")
		w.assign("r", "n2", "a/1")
		id := w.id("r", "a/1")
		w.nodes["n2"].files.write(id, log)
		w.nodes["n2"].files.mark(id, []byte(times))

		check := func(state string) {
			for _, tc := range []struct {
				in   wire.FollowRequest
				want string
			}{
				{wire.FollowRequest{Lines: 1}, "late\n"},
				{wire.FollowRequest{Lines: 2}, "middle\nlate\n"},
				{wire.FollowRequest{Lines: 9}, log},
				{wire.FollowRequest{Since: start.Add(30 * time.Second)}, "middle\nlate\n"},
				{wire.FollowRequest{Since: start.Add(-time.Hour)}, log},
				{wire.FollowRequest{Since: start.Add(time.Hour)}, ""},
				{wire.FollowRequest{Lines: 2, Since: start.Add(90 * time.Second)}, "late\n"},
				// A position that is behind the beginning wins.
				{wire.FollowRequest{Lines: 2, Positions: map[string]wire.LogPosition{"a": {Attempt: 1, Offset: 16}}}, log[16:]},
			} {
				for at := range w.nodes {
					f := w.follow(at, "r", tc.in)
					if err := f.wait(); err != nil || f.text(t, "") != tc.want {
						t.Errorf("%s, at %s, %+v: got %q, %v", state, at, tc.in, f.text(t, ""), err)
					}
				}
			}
		}
		check("running")
		w.end("n2", "r", "a/1", ended{log: log, times: times, after: 3 * time.Minute, last: true})
		w.nodes["n2"].files.forget(id)
		check("ended")
	})
}

// The counts of a long output are known once it has ended, and its times still are.
func TestLogs_LineEnds(t *testing.T) {
	log, times := dated(map[time.Duration]string{0: strings.Repeat("early\n", 100_000), time.Minute: "late\n"}, 0, time.Minute)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2")
		w.submit("r", "a")
		w.assign("r", "n2", "a/1")
		id := w.id("r", "a/1")
		w.nodes["n2"].files.write(id, log)
		for name, n := range w.nodes {
			if got, err := n.Logs.LineEnds(t.Context(), "r", "a", 1); got != nil || err != nil {
				t.Errorf("at %s, running: %d, %v", name, got, err)
			}
		}

		w.end("n2", "r", "a/1", ended{log: log, times: times, after: 2 * time.Minute, last: true})
		for name, n := range w.nodes {
			if got, err := n.Logs.LineEnds(t.Context(), "r", "a", 1); !slices.Equal(got, []int64{43690, 43691}) || err != nil {
				t.Errorf("at %s, ended: %d, %v", name, got, err)
			}
			if _, err := n.Logs.LineEnds(t.Context(), "r", "b", 1); pipeline.KindOf(err) != pipeline.NotFound {
				t.Errorf("at %s, of a module that is not there: %v", name, err)
			}
		}
		f := w.follow("n1", "r", wire.FollowRequest{Since: start.Add(30 * time.Second), Times: true})
		if err := f.wait(); err != nil || f.text(t, "") != "late\n" || !f.events[0].Time.Equal(start.Add(time.Minute)) {
			t.Errorf("got %q, %v", f.text(t, ""), err)
		}
		w.loseBlobs()
		if _, err := w.nodes["n1"].Logs.LineEnds(t.Context(), "r", "a", 1); err == nil {
			t.Error("the counts of a log that is lost")
		}
	})
}

// TestFollow_times gives each piece the time at which it was written, while the
// output grows and after its end.
func TestFollow_times(t *testing.T) {
	log, times := dated(map[time.Duration]string{0: "early\n", time.Minute: "late\n"}, 0, time.Minute)
	want := fmt.Sprintf("early %v late %v ", start, start.Add(time.Minute))

	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "n1", "n2")
		w.submit("r", "a")
		w.assign("r", "n2", "a/1")
		id := w.id("r", "a/1")

		check := func(state string, f *following) {
			t.Helper()
			var got string
			for _, e := range f.events {
				if len(e.Text) > 0 {
					got += e.Text[:len(e.Text)-1] + " " + fmt.Sprint(e.Time) + " "
				}
			}
			if got != want {
				t.Errorf("%s: got %s, want %s", state, got, want)
			}
		}

		live := w.follow("n1", "r", wire.FollowRequest{Follow: true, Times: true})
		w.nodes["n2"].files.write(id, "early\n")
		time.Sleep(time.Second)
		w.nodes["n2"].files.mark(id, []byte(times))
		w.nodes["n2"].files.write(id, "late\n")
		time.Sleep(time.Second)
		w.end("n2", "r", "a/1", ended{log: log, times: times, after: 2 * time.Minute, last: true})
		w.nodes["n2"].files.stop(id)
		if err := live.wait(); err != nil {
			t.Fatal(err)
		}
		check("running", live)

		final := w.follow("n1", "r", wire.FollowRequest{Times: true})
		if err := final.wait(); err != nil {
			t.Fatal(err)
		}
		check("ended", final)
	})
}

// TestFollow_firstAttempt begins with the newest attempt if lines are asked for,
// and with the first one that ended late enough if a time is.
func TestFollow_firstAttempt(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a")
	for i, text := range []string{"one\n", "two\n", "three\n"} {
		attempt := fmt.Sprintf("a/%d", i+1)
		w.assign("r", "n1", attempt)
		e := ended{state: pipeline.AttemptFailed, next: pipeline.ModuleWaiting, log: text, after: time.Duration(i+1) * time.Minute}
		if i == 2 {
			e.state, e.next, e.last = pipeline.AttemptSucceeded, pipeline.ModuleSucceeded, true
		}
		w.end("n1", "r", attempt, e)
	}

	for _, tc := range []struct {
		in   wire.FollowRequest
		want string
	}{
		{wire.FollowRequest{}, "a/1:failed a/2:failed a/3:succeeded run:succeeded"},
		{wire.FollowRequest{Lines: 5}, "a/3:succeeded run:succeeded"},
		{wire.FollowRequest{Since: start.Add(90 * time.Second)}, "a/2:failed a/3:succeeded run:succeeded"},
		{wire.FollowRequest{Since: start.Add(time.Hour)}, "a/3:succeeded run:succeeded"},
	} {
		f := w.follow("n1", "r", tc.in)
		if err := f.wait(); err != nil || f.ends() != tc.want {
			t.Errorf("%+v: got %s, %v", tc.in, f.ends(), err)
		}
	}
}

// The output of an external worker has no times: all of it counts as recent.
func TestFollow_external(t *testing.T) {
	w := newWorld(t, "n1")
	w.submit("r", "a")
	w.assign("r", "ext-w", "a/1")

	f := w.follow("n1", "r", wire.FollowRequest{})
	if err := f.wait(); err != nil || f.text(t, "") != "" {
		t.Errorf("running: got %q, %v", f.text(t, ""), err)
	}
	w.end("ext-w", "r", "a/1", ended{log: "all at once\n", after: time.Minute, last: true})
	f = w.follow("n1", "r", wire.FollowRequest{Since: start.Add(30 * time.Second)})
	if err := f.wait(); err != nil || f.text(t, "") != "all at once\n" {
		t.Errorf("ended: got %q, %v", f.text(t, ""), err)
	}
}
