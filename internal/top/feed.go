package top

import (
	"context"
	"fmt"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// stateEvery and runsEvery are how often the cluster is asked.
	stateEvery = 2 * time.Second
	runsEvery  = time.Second
	// usualEvery is how often it is asked how long runs usually take.
	usualEvery = 30 * time.Second
	// reasonsEvery is how often it is asked why modules wait.
	reasonsEvery = 5 * time.Second
	// runPause is between two states of the run that is shown.
	runPause = 250 * time.Millisecond
	// followPause is before a stream of output that broke is opened again.
	followPause = 2 * time.Second
)

// event is something that a feed or an action has found out: it is applied by the
// goroutine that owns the screen.
type event func(*App)

// feed asks the cluster and sends what it says. Its methods end with ctx.
type feed struct {
	cluster Cluster
	events  chan<- event
}

func (f *feed) send(ctx context.Context, e event) {
	select {
	case f.events <- e:
	case <-ctx.Done():
	}
}

// nodes asks for the state of the cluster again and again.
func (f *feed) nodes(ctx context.Context) {
	repeat(ctx, stateEvery, func() {
		s, err := f.cluster.State(ctx)
		f.send(ctx, func(a *App) { a.takeState(s, err) })
	})
}

// runs asks for the newest runs again and again.
func (f *feed) runs(ctx context.Context) {
	repeat(ctx, runsEvery, func() {
		list, err := f.cluster.Runs(ctx)
		f.send(ctx, func(a *App) { a.takeRuns(list, err); a.chooseFirst(); a.again() })
	})
}

// usual asks how long runs usually take, again and again.
func (f *feed) usual(ctx context.Context) {
	repeat(ctx, usualEvery, func() {
		usual, err := f.cluster.Usual(ctx)
		if err != nil {
			return // the state, which meets the same error, reports it
		}
		f.send(ctx, func(a *App) { a.usual = usual })
	})
}

// run follows one run until ctx ends.
func (f *feed) run(ctx context.Context, id pipeline.RunID) {
	for ctx.Err() == nil {
		err := f.cluster.Watch(ctx, id, func(r wire.Run) error {
			f.send(ctx, func(a *App) { a.takeRun(r) })
			return sleep(ctx, runPause)
		})
		if err == nil || pipeline.KindOf(err) == pipeline.NotFound {
			return
		}
		f.send(ctx, func(a *App) { a.takeError(err) })
		_ = sleep(ctx, followPause) // the loop asks ctx
	}
}

// reasons asks why modules of a run wait, until it has ended.
func (f *feed) reasons(ctx context.Context, id pipeline.RunID) {
	repeat(ctx, reasonsEvery, func() {
		r, err := f.cluster.Run(ctx, id)
		if err != nil {
			return // the state, which meets the same error, reports it
		}
		f.send(ctx, func(a *App) { a.takeReasons(id, terminal.WaitReasons(&r)) })
	})
}

// lastLines follows the output of a run for the line beside each module.
func (f *feed) lastLines(ctx context.Context, id pipeline.RunID) {
	for ctx.Err() == nil {
		lines := terminal.NewLastLines()
		changed := map[string]bool{}
		last := time.Time{}
		err := f.cluster.Follow(ctx, id, "", 1, func(e wire.LogEvent) error {
			lines.Add(&e)
			changed[e.Module] = true
			if now := time.Now(); now.Sub(last) < runPause && !e.End && !e.RunEnd {
				return nil
			} else {
				last = now
			}

			news := map[string]string{}
			for m := range changed {
				news[m] = lines.Newest(m)
			}
			clear(changed)
			f.send(ctx, func(a *App) { a.takeLines(id, news) })
			return nil
		})
		if err == nil || pipeline.KindOf(err) == pipeline.NotFound {
			return
		}
		_ = sleep(ctx, followPause) // the loop asks ctx
	}
}

// log follows the output of a module into the pager with a number.
func (f *feed) log(ctx context.Context, id pipeline.RunID, module string, pager int) {
	add := func(text string, err error) {
		f.send(ctx, func(a *App) { a.ui.takeText(pager, text, err) })
	}

	attempt := 0
	err := f.cluster.Follow(ctx, id, module, maxPagerLines, func(e wire.LogEvent) error {
		if e.Module != "" && e.Attempt != attempt {
			if attempt > 0 {
				add(fmt.Sprintf("--- attempt %d\n", e.Attempt), nil)
			}
			attempt = e.Attempt
		}
		if text := string(e.Bytes()); text != "" {
			add(text, nil)
		}
		return ctx.Err()
	})
	add("", err)
}

// repeat calls do at once and then after each pause, until ctx ends.
func repeat(ctx context.Context, pause time.Duration, do func()) {
	for ctx.Err() == nil {
		do()
		_ = sleep(ctx, pause) // the loop asks ctx
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
