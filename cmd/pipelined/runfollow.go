package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// errKilled ends a run at once.
var errKilled = failf(exitInterrupted, "killed")

// runFollower follows a run of the own node. The run ends before the node does: at a
// signal, and if it can no longer be shown, it is cancelled and then awaited, so that
// modules with always_run and hooks run to their end. Only a later signal, or the end
// of the node, cuts them.
type runFollower struct {
	env  *environment
	node *embedded
	api  *client.Client
	id   pipeline.RunID

	// since is when the run was cancelled first; zero if it was not. accepted is set
	// once the node has agreed.
	since    time.Time
	accepted bool
	// stopped is the signal or timeout for which it was cancelled, if it was one.
	stopped error
}

// follow follows the run. It is cancelled when ctx ends; interrupted cancels it at
// once.
func (f *runFollower) follow(ctx context.Context, o watchOptions, interrupted bool) error {
	following, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	caught, signals, stopped := o.signals, make(chan os.Signal, 2), make(chan struct{})
	o.signals = signals
	go func() {
		defer close(stopped)
		f.relay(ctx, following, caught, signals, abort)
	}()
	defer func() {
		abort(nil)
		<-stopped
	}()

	o.interrupt = func(following context.Context, s os.Signal) error { return f.signal(following, s, context.Cause(ctx)) }
	var ended bool
	var err error
	if interrupted {
		err = o.interrupt(following, os.Interrupt)
	}

	if err == nil {
		ended, err = watcher{f.env}.watch(following, f.api.Runs(), f.id, o)
	}

	if !ended && following.Err() == nil && !errors.Is(err, errKilled) {
		ended, err = f.finish(following, err, o)
	}

	switch {
	case !ended:
		f.node.cancelRun(f.api, f.id, "its process ended")
	case f.stopped != nil:
		return f.stopped
	}

	return err
}

// relay passes signals on, and SIGALRM when ctx ends. If the node ends, nothing more
// can be followed.
func (f *runFollower) relay(ctx, following context.Context, from <-chan os.Signal, to chan<- os.Signal, abort context.CancelCauseFunc) {
	timeout := ctx.Done()
	for {
		var s os.Signal
		select {
		case s = <-from:
		case <-timeout:
			s, timeout = syscall.SIGALRM, nil
		case <-f.node.done:
			err := f.node.err
			if err == nil {
				err = errors.New("node stopped during the run")
			}

			abort(err)
			return
		case <-following.Done():
			return
		}

		select {
		case to <- s:
		case <-following.Done():
			return
		}
	}
}

// signal cancels the run at the first signal and kills it at a later one. A HUP never
// kills: it says that the terminal is gone, not that the cleanup is unwanted.
func (f *runFollower) signal(ctx context.Context, s os.Signal, timedOut error) error {
	if !f.since.IsZero() {
		if s == syscall.SIGALRM || s == syscall.SIGHUP || f.env.now().Sub(f.since) < oneInterrupt {
			return nil
		}
		return errKilled
	}

	if s == syscall.SIGALRM {
		f.env.say("%s; cancelling the run", terminal.Clean(timedOut.Error()))
		f.stopped = timedOut
		return f.cancel(ctx, "timed out")
	}

	f.env.say("cancelling the run; Ctrl-C again kills it")
	f.stopped = errInterrupted
	return f.cancel(ctx, "interrupted")
}

// cancel cancels the run, once: the second cancellation would end modules with
// always_run.
func (f *runFollower) cancel(ctx context.Context, reason string) error {
	f.since = f.env.now()
	_, err := f.api.Runs().Cancel(ctx, f.id, reason)
	if pipeline.KindOf(err) == pipeline.Conflict {
		err = nil // it has ended meanwhile
	}

	f.accepted = err == nil
	return err
}

// finish cancels a run that can no longer be shown because of broken, and waits for
// its end.
func (f *runFollower) finish(ctx context.Context, broken error, o watchOptions) (ended bool, err error) {
	if !f.accepted {
		f.env.tell("%s; cancelling the run", terminal.Clean(broken.Error()))
		if err := f.cancel(ctx, broken.Error()); err != nil {
			return false, err
		}
	}

	waiting, stop := context.WithCancel(ctx)
	defer stop()
	type final struct {
		run wire.Run
		err error
	}
	finals := make(chan final, 1) // the goroutine ends with waiting
	go func() {
		run, err := terminal.FinalRun(waiting, f.api.Runs(), f.id)
		finals <- final{run, err}
	}()

	for {
		select {
		case r := <-finals:
			if r.err != nil {
				return false, r.err
			}

			f.env.tell("%s", terminal.Summary(&r.run.RunSummary, terminal.CountModules(r.run.Modules)))
			return true, o.finish(r.run, f.unshown(&r.run, broken))
		case s := <-o.signals:
			if err := o.interrupt(ctx, s); err != nil {
				stop()
				<-finals
				return false, err
			}
		}
	}
}

// unshown is how the command ends whose run could not be shown because of broken. A
// reader that went away needs no message.
func (f *runFollower) unshown(run *wire.Run, broken error) error {
	switch {
	case run.State != pipeline.RunCancelled:
		return broken
	case errors.Is(broken, terminal.ErrReaderClosed):
		return exit(exitCancelled)
	}
	return failf(exitCancelled, "run %s was cancelled: %w", f.id, broken)
}
