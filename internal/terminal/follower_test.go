package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// source is a run whose calls a test replaces.
type source struct {
	wait   func(ctx context.Context, index uint64) (wire.Run, error)
	follow func(ctx context.Context, fn func(wire.LogEvent) error) error
}

func (s source) Wait(ctx context.Context, _ pipeline.RunID, index uint64, _ time.Duration, _ uint64) (wire.Run, error) {
	return s.wait(ctx, index)
}

func (s source) Follow(ctx context.Context, _ pipeline.RunID, _ client.FollowOptions, fn func(wire.LogEvent) error) error {
	return s.follow(ctx, fn)
}

// ended is a run of one module that has finished.
func ended(state pipeline.RunState) wire.Run {
	finished := time.Unix(5, 0)
	r := wire.Run{Index: 9, RunSummary: wire.RunSummary{ID: "r1", State: state, SubmittedAt: time.Unix(0, 0), FinishedAt: &finished, ModuleCount: 1}}
	r.Modules = []wire.Module{{Name: "a", State: pipeline.ModuleSucceeded}}
	if state == pipeline.RunFailed {
		r.Modules[0].State, r.Modules[0].Reason = pipeline.ModuleFailed, "exit code 3"
	}

	return r
}

// lines emits output and the end of the run.
func lines(texts ...string) func(context.Context, func(wire.LogEvent) error) error {
	return func(_ context.Context, fn func(wire.LogEvent) error) error {
		for _, text := range texts {
			if err := fn(wire.LogEvent{Module: "a", Attempt: 1, Text: text}); err != nil {
				return err
			}
		}

		return fn(wire.LogEvent{RunEnd: true})
	}
}

func always(r wire.Run) func(context.Context, uint64) (wire.Run, error) {
	return func(context.Context, uint64) (wire.Run, error) { return r, nil }
}

// display makes a console on two buffers that are no terminals.
func display(quiet bool) (c *terminal.Console, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	c = terminal.NewConsole(terminal.ConsoleConfig{
		Out: terminal.NewStream(out), Err: terminal.NewStream(err), Quiet: quiet,
		Now: func() time.Time { return time.Unix(10, 0) },
	})

	return c, out, err
}

func TestFollower_Run(t *testing.T) {
	for _, tc := range []struct {
		name        string
		state       pipeline.RunState
		quiet, mute bool
		out, err    string
	}{
		{"succeeds", pipeline.RunSucceeded, false, false, "a | one\na | two\n", "a: succeeded\nrun r1 succeeded in 5.0s (1 succeeded)\n"},
		{"fails", pipeline.RunFailed, false, false, "a | one\na | two\n", "a: failed: exit code 3\n\na failed: exit code 3:\n  1  one\n  2  two\n" +
			"  pipelined logs r1 a  # all 2 lines\n  pipelined why r1 a   # why it failed, and what it ran with\n  pipelined retry r1   # resume where it failed\nrun r1 failed in 5.0s (1 failed)\n"},
		{"silent", pipeline.RunSucceeded, false, true, "", "a: succeeded\nrun r1 succeeded in 5.0s (1 succeeded)\n"},
		{"quiet", pipeline.RunSucceeded, true, false, "a | one\na | two\n", ""},
		{"quiet and fails", pipeline.RunFailed, true, false, "a | one\na | two\n", "a: failed: exit code 3\nrun r1 failed in 5.0s (1 failed)\n"},
	} {
		c, out, progress := display(tc.quiet)
		f := &terminal.Follower{ID: "r1", Console: c, Silent: tc.mute, Source: source{wait: always(ended(tc.state)), follow: lines("one\ntw", "o")}}

		run, err := f.Run(t.Context())
		if err != nil || run.State != tc.state {
			t.Errorf("%s: %s, %v", tc.name, run.State, err)
		}
		if out.String() != tc.out || progress.String() != tc.err {
			t.Errorf("%s: stdout %q, stderr %q, want %q and %q", tc.name, out.String(), progress.String(), tc.out, tc.err)
		}
	}
}

// TestFollower_streamFails wants the stream's error, and an explanation if it
// ended too early without one.
func TestFollower_streamFails(t *testing.T) {
	broken := errors.New("no node answers")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{broken, "no node answers"},
		{nil, "follow run r1: the output ended before the run did"},
	} {
		c, _, _ := display(false)
		f := &terminal.Follower{ID: "r1", Console: c, Source: source{
			wait: func(ctx context.Context, _ uint64) (wire.Run, error) {
				<-ctx.Done()
				return wire.Run{}, ctx.Err()
			},
			follow: func(context.Context, func(wire.LogEvent) error) error { return tc.err },
		}}

		if _, err := f.Run(t.Context()); err == nil || err.Error() != tc.want {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

// TestFollower_context wants the cause of the context's end, whatever the stream
// makes of it.
func TestFollower_context(t *testing.T) {
	late := errors.New("too late")
	ctx, cancel := context.WithCancelCause(t.Context())

	c, _, _ := display(false)
	f := &terminal.Follower{ID: "r1", Console: c, Source: source{
		wait: always(wire.Run{Index: 1}),
		follow: func(ctx context.Context, _ func(wire.LogEvent) error) error {
			cancel(late)
			<-ctx.Done()
			return ctx.Err()
		},
	}}

	if _, err := f.Run(ctx); !errors.Is(err, late) {
		t.Errorf("got %v", err)
	}
}

// TestFollower_interrupt wants signals passed on until one of them ends Run.
func TestFollower_interrupt(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- os.Interrupt
	signals <- syscall.SIGTERM
	enough := errors.New("enough")

	var got []os.Signal
	c, _, _ := display(false)
	f := &terminal.Follower{ID: "r1", Console: c, Signals: signals,
		Interrupt: func(_ context.Context, s os.Signal) error {
			if got = append(got, s); len(got) == 2 {
				return enough
			}
			return nil
		},
		Source: source{wait: always(wire.Run{Index: 1}), follow: func(ctx context.Context, _ func(wire.LogEvent) error) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	}

	if _, err := f.Run(t.Context()); !errors.Is(err, enough) || len(got) != 2 || got[1] != syscall.SIGTERM {
		t.Errorf("%v after %v", err, got)
	}
}

// TestFollower_eachFails wants Run to end with the caller's error.
func TestFollower_eachFails(t *testing.T) {
	full := errors.New("disk full")
	c, _, _ := display(true)
	f := &terminal.Follower{ID: "r1", Console: c, Each: func(wire.Run) error { return full },
		Source: source{wait: always(wire.Run{Index: 1}), follow: func(ctx context.Context, _ func(wire.LogEvent) error) error {
			<-ctx.Done()
			return ctx.Err()
		}}}

	if _, err := f.Run(t.Context()); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// TestFollower_notes shows lines from elsewhere among the progress.
func TestFollower_notes(t *testing.T) {
	notes := make(chan string)
	c, _, progress := display(false)
	f := &terminal.Follower{ID: "r1", Console: c, Notes: notes, Source: source{
		wait: always(ended(pipeline.RunSucceeded)),
		follow: func(ctx context.Context, fn func(wire.LogEvent) error) error {
			notes <- "no leader; retrying"
			return fn(wire.LogEvent{RunEnd: true})
		},
	}}

	if _, err := f.Run(t.Context()); err != nil || !strings.Contains(progress.String(), "no leader; retrying\n") {
		t.Errorf("%v, %q", err, progress.String())
	}
}

// TestFollower_takeover tells in a line that another node leads, without a terminal.
func TestFollower_takeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, progress := display(false)
		asked := 0
		f := &terminal.Follower{ID: "r1", Console: c,
			Source: source{wait: always(ended(pipeline.RunSucceeded)), follow: func(_ context.Context, fn func(wire.LogEvent) error) error {
				time.Sleep(10 * time.Second)
				return fn(wire.LogEvent{RunEnd: true})
			}},
			Health: func(context.Context) (wire.Health, error) {
				if asked++; asked < 3 {
					return wire.Health{Quorum: true, Leader: "alpha", Term: 7}, nil
				}
				return wire.Health{Quorum: true, Leader: "beta", Term: 8}, nil
			},
			Election: func(context.Context) (wire.Event, error) {
				return wire.Event{Data: wire.EventData{Term: 8, GapMillis: 38}}, nil
			},
		}

		if _, err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := "a: succeeded\nbeta led 38 ms after alpha (term 8)\nrun r1 succeeded in 5.0s (1 succeeded)\n"; progress.String() != want {
			t.Errorf("got %q, want %q", progress.String(), want)
		}
	})
}

// Reasons name runs briefly: a line of a display has no place for whole ids.
func TestWaitReasons(t *testing.T) {
	const own, other = "01a22910106171f7ab0c0262ffb74f62", "01a2291034b57e49a638ec9a5e8393dc"
	for reason, want := range map[string]string{
		`waits for lock "db", which a of run ` + own + " holds":   `waits for lock "db", which a of this run holds`,
		`waits for lock "db", which a of run ` + other + " holds": `waits for lock "db", which a of run 01a2291034b57e49 holds`,
		"waits for a free slot":                                   "waits for a free slot",
	} {
		r := wire.Run{RunSummary: wire.RunSummary{ID: own}, Modules: []wire.Module{{Name: "m", State: pipeline.ModuleWaiting, Reason: reason}}}
		if got := terminal.WaitReasons(&r)["m"]; got != want {
			t.Errorf("%s: got %s", reason, got)
		}
	}
}

// TestFinalRun waits through states and failures that may pass, and asks for the
// whole run at the end.
func TestFinalRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []uint64
		s := source{wait: func(_ context.Context, index uint64) (wire.Run, error) {
			switch asked = append(asked, index); len(asked) {
			case 1:
				return wire.Run{Index: 3, RunSummary: wire.RunSummary{State: pipeline.RunRunning}}, nil
			case 2:
				return wire.Run{}, pipeline.Errorf(pipeline.Unavailable, "no leader")
			case 3:
				return wire.Run{Index: 9, RunSummary: wire.RunSummary{State: pipeline.RunFailed}}, nil
			}
			return ended(pipeline.RunFailed), nil
		}}

		run, err := terminal.FinalRun(t.Context(), s, "r1")
		if err != nil || len(run.Modules) != 1 || len(asked) != 4 || asked[1] != 3 || asked[3] != 0 {
			t.Errorf("%+v, %v after %v", run, err, asked)
		}
	})
}

func TestFinalRun_fails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		failing := func(kind pipeline.Kind) source {
			calls = 0
			return source{wait: func(context.Context, uint64) (wire.Run, error) {
				calls++
				return wire.Run{}, pipeline.Errorf(kind, "it fails")
			}}
		}

		if _, err := terminal.FinalRun(t.Context(), failing(pipeline.NotFound), "r1"); pipeline.KindOf(err) != pipeline.NotFound || calls != 1 {
			t.Errorf("a run that does not exist: %v after %d calls", err, calls)
		}
		if _, err := terminal.FinalRun(t.Context(), failing(pipeline.Unavailable), "r1"); pipeline.KindOf(err) != pipeline.Unavailable || calls < 2 {
			t.Errorf("a cluster that stays away: %v after %d calls", err, calls)
		}

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
		defer cancel()
		s := source{wait: always(wire.Run{Index: 1, RunSummary: wire.RunSummary{State: pipeline.RunRunning}})}
		if _, err := terminal.FinalRun(ctx, s, "r1"); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that ends: %v", err)
		}
	})
}

// TestFollower_order says how a module ended after its output, and shows the
// beginning of a line before its end.
func TestFollower_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var both bytes.Buffer
		c := terminal.NewConsole(terminal.ConsoleConfig{Out: terminal.NewStream(&both), Err: terminal.NewStream(&both), Now: time.Now})
		run := ended(pipeline.RunSucceeded)
		run.Modules[0].Attempts = []wire.Attempt{{Number: 1, State: pipeline.AttemptSucceeded}}
		f := &terminal.Follower{ID: "r1", Console: c, Source: source{wait: always(run), follow: func(_ context.Context, fn func(wire.LogEvent) error) error {
			time.Sleep(time.Second) // the state is known long before
			if err := fn(wire.LogEvent{Module: "a", Attempt: 1, Text: "one\n.."}); err != nil {
				return err
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := both.String(); got != "a | one\na | .." {
				t.Errorf("after two seconds: %q", got)
			}
			if err := fn(wire.LogEvent{Module: "a", Attempt: 1, Text: ".\n", End: true}); err != nil {
				return err
			}
			return fn(wire.LogEvent{RunEnd: true})
		}}}
		if _, err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := "a | one\na | ...\na: succeeded\nrun r1 succeeded in 5.0s (1 succeeded)\n"; both.String() != want {
			t.Errorf("got %q, want %q", both.String(), want)
		}
	})
}
