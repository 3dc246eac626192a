package terminal

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// How a run is watched: the state is asked for at most once a statePause, each
// question waiting up to stateWait for news, and the live display moves every
// liveTick.
const (
	statePause = 100 * time.Millisecond
	stateWait  = 30 * time.Second
	// stallWait is how long nothing of a run may run before the reasons are asked for.
	stallWait = 2 * time.Second
	liveTick  = 500 * time.Millisecond
)

// RunSource is what a follower needs of a cluster.
type RunSource interface {
	// Wait gives a run: once its index is past index, or wait has passed;
	// only the modules that changed after since.
	Wait(ctx context.Context, id pipeline.RunID, index uint64, wait time.Duration, since uint64) (wire.Run, error)
	// Follow gives every piece of output once, also through the death of the
	// node that it talks to, and returns nil after the event with RunEnd.
	Follow(ctx context.Context, id pipeline.RunID, o client.FollowOptions, fn func(wire.LogEvent) error) error
}

// Follower follows one run to its end: output to stdout, progress to stderr. Its
// fields are set before Run, which is called once.
type Follower struct {
	Source  RunSource
	ID      pipeline.RunID
	Console *Console
	// Positions is the output that is known already and is not shown again.
	Positions map[string]wire.LogPosition
	// Silent shows no output, but for the end of that of failed modules.
	Silent bool
	// Health says which node leads; nil for a run without a cluster.
	Health func(context.Context) (wire.Health, error)
	// Election is the newest event of an election; nil if it is not asked for.
	Election func(context.Context) (wire.Event, error)
	// Notes are lines of progress from elsewhere; nil for none.
	Notes <-chan string
	// Each is called with every state of the run; nil for none.
	Each func(wire.Run) error
	// Approvals asks the person at the terminal; nil asks for nothing.
	Approvals *ApprovalPrompt
	// Interrupt is called for each of Signals; its error ends Run. Both may be nil.
	Signals   <-chan os.Signal
	Interrupt func(ctx context.Context, s os.Signal) error

	// health and reasons are what is found out about the run's surroundings; nil if it
	// is not asked for.
	health  chan leadership
	reasons chan map[string]string
}

// errNoMore ends the display if the stream ended; the reason is the error of the
// stream or of the context.
var errNoMore = errors.New("the stream ended")

// Run returns when the run has ended and all of its output was shown, and gives
// the run with all of its modules.
func (f *Follower) Run(ctx context.Context) (wire.Run, error) {
	events := make(chan wire.LogEvent, 256) // a batch, so that lines are shown together
	updates := make(chan wire.Run)
	feed, stop := context.WithCancel(ctx)
	defer stop()
	g, feed := errgroup.WithContext(feed)
	g.Go(func() error {
		defer close(events)
		return f.Source.Follow(feed, f.ID, client.FollowOptions{Positions: f.Positions}, func(e wire.LogEvent) error {
			select {
			case events <- e:
				return nil
			case <-feed.Done():
				return context.Cause(feed)
			}
		})
	})
	if !f.Console.quiet || f.Each != nil || f.Approvals != nil {
		g.Go(func() error { f.poll(feed, updates); return nil })
	}
	f.surroundings(feed, g)
	f.Console.begin()

	err := f.loop(ctx, events, updates)
	stop()
	streamErr := g.Wait()
	if errors.Is(err, errNoMore) {
		err = streamErr
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if err == nil {
			err = pipeline.Errorf(pipeline.Unavailable, "follow run %s: the output ended before the run did", f.ID)
		}
	}

	if err != nil {
		f.Console.close()
		return wire.Run{}, err
	}

	return f.end(ctx)
}

// loop shows what comes until the output is complete.
func (f *Follower) loop(ctx context.Context, events <-chan wire.LogEvent, updates <-chan wire.Run) error {
	c := f.Console
	lines := newLineSplitter(c.part, c.tails.restart)
	defer func() {
		lines.end()
		c.logsEnded()
	}()
	f.hold()
	var ticks, partial <-chan time.Time
	if c.live {
		t := time.NewTicker(liveTick)
		defer t.Stop()
		ticks = t.C
	}

	for {
		select {
		case e, ok := <-events:
			done, err := f.batch(lines, events, e, ok)
			if done || err != nil {
				return err
			}
		case r := <-updates:
			if err := f.show(r); err != nil {
				return err
			}
			if f.Approvals != nil {
				f.Approvals.update(ctx, c)
			}
		case line, ok := <-f.Approvals.input():
			f.Approvals.answer(ctx, c, line, ok)
		case <-ticks:
			c.tick()
		case <-partial:
			lines.partial()
			partial = nil
		case text := <-f.Notes:
			c.warn(text)
		case h := <-f.health:
			c.led(h.Health, h.gap)
		case why := <-f.reasons:
			c.board.reasons = why
			c.dirty = true
		case s := <-f.Signals:
			c.suspend()
			if err := f.Interrupt(ctx, s); err != nil {
				return err
			}
		case <-ctx.Done():
			return errNoMore
		}

		if partial == nil && lines.waits() {
			partial = time.After(partialAfter)
		}

		c.flush()
		if err := c.out.Err(); err != nil {
			return err
		}
	}
}

// hold makes the console say how a module ended after the output of that module,
// where output is shown.
func (f *Follower) hold() {
	f.Console.prints = f.Console.prints && !f.Silent
	f.Console.changes.on = f.Console.prints
	for module, p := range f.Positions {
		ended := p.Attempt - 1
		if p.Ended {
			ended = p.Attempt
		}
		f.Console.tell(f.Console.changes.logEnded(module, ended))
	}
}

// batch takes an event and those that wait behind it, so that a burst of
// output costs one write. done is set when the run's last event was among them.
func (f *Follower) batch(lines *lineSplitter, events <-chan wire.LogEvent, e wire.LogEvent, ok bool) (done bool, err error) {
	for n := 0; ; n++ {
		if !ok {
			return false, errNoMore
		}

		lines.add(&e)
		if e.End {
			f.Console.logEnded(&e)
		}

		if e.RunEnd || n == cap(events) {
			return e.RunEnd, nil
		}

		select {
		case e, ok = <-events:
		default:
			return false, nil
		}
	}
}

// show displays a state of the run.
func (f *Follower) show(r wire.Run) error {
	f.Console.update(r)
	if f.Each != nil {
		return f.Each(r)
	}

	return nil
}

// poll asks for the run's state again and again. Its errors are passed over:
// the stream of output, which meets the same ones, decides when to give up.
func (f *Follower) poll(ctx context.Context, updates chan<- wire.Run) {
	var index, since uint64
	var wait time.Duration
	running := map[string]bool{}
	for {
		pause := statePause
		r, err := f.Source.Wait(ctx, f.ID, index, wait, since)
		if err != nil {
			pause = time.Second
		} else {
			explained := r.Index == index && since == 0 && index > 0
			index, since, wait = r.Index, r.Index, stateWait
			for i := range r.Modules {
				running[r.Modules[i].Name] = r.Modules[i].State == pipeline.ModuleRunning
			}

			// Why modules wait is no change of the run, and comes with all of them.
			if !explained && !anyTrue(running) {
				since, wait = 0, stallWait
			}

			select {
			case updates <- r:
			case <-ctx.Done():
				return
			}

			if r.State.Final() {
				return
			}
		}

		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func anyTrue(m map[string]bool) bool {
	for _, yes := range m {
		if yes {
			return true
		}
	}
	return false
}

// Transient reports an error that the same call may not meet again.
func Transient(err error) bool {
	switch pipeline.KindOf(err) {
	case pipeline.Unavailable, pipeline.Unknown, pipeline.Timeout:
		return true
	}
	return false
}

// end fetches and shows how the run ended.
func (f *Follower) end(ctx context.Context) (wire.Run, error) {
	r, err := FinalRun(ctx, f.Source, f.ID)
	if err != nil {
		f.Console.close()
		return r, err
	}

	f.Console.changes.on = false
	if err := f.show(r); err != nil {
		return r, err
	}

	if f.Console.quiet && !f.Silent && r.State != pipeline.RunSucceeded && r.State != pipeline.RunWarnings {
		f.Console.failures(&r)
	}

	if f.Console.quiet {
		f.Console.close()
	} else {
		f.Console.finish(&r)
	}
	return r, nil
}

// FinalRun waits until a run has ended and gives it whole.
func FinalRun(ctx context.Context, cluster RunSource, id pipeline.RunID) (wire.Run, error) {
	var index uint64
	var wait time.Duration
	whole := true // the answer holds all modules
	for failures := 0; ; {
		r, err := cluster.Wait(ctx, id, index, wait, index)
		pause := statePause
		switch {
		case err == nil && r.State.Final() && whole:
			return r, nil
		case err == nil && r.State.Final():
			index, wait, whole, pause = 0, 0, true, 0
		case err == nil:
			index, wait, whole, failures = r.Index, stateWait, false, 0
		default:
			if failures++; !Transient(err) || failures > 30 {
				return r, err
			}
			pause = time.Second
		}

		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
	}
}
