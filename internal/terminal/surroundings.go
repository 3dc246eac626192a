package terminal

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// healthEvery is how often who leads is asked for.
	healthEvery = 2 * time.Second
	// reasonsEvery is how often a live display asks why modules wait: the answer holds the whole
	// run.
	reasonsEvery = 5 * time.Second
)

// surroundings asks who leads the cluster, and for a live display why modules wait.
func (f *Follower) surroundings(ctx context.Context, g *errgroup.Group) {
	if f.Console.quiet {
		return
	}

	first := healthEvery // a run that is over by then is not worth a question
	if f.Console.live {
		first = 0
		f.reasons = make(chan map[string]string)
		g.Go(func() error {
			every(ctx, 0, reasonsEvery, func() { f.askReasons(ctx) })
			return nil
		})
	}

	if f.Health == nil {
		return
	}
	f.health = make(chan leadership)
	g.Go(func() error {
		term := uint64(0)
		every(ctx, first, healthEvery, func() {
			if h, err := f.Health(ctx); err == nil {
				send(ctx, f.health, leadership{h, f.gap(ctx, term, h.Term)})
				term = h.Term
			}
		})
		return nil
	})
}

// leadership is who leads, and how long there was no leader before; 0 is not known.
type leadership struct {
	wire.Health
	gap time.Duration
}

// gap asks how long there was no leader before the term that began.
func (f *Follower) gap(ctx context.Context, was, now uint64) time.Duration {
	if was == 0 || was == now || f.Election == nil {
		return 0
	}
	e, err := f.Election(ctx)
	if err != nil || e.Data.Term != now {
		return 0
	}
	return time.Duration(e.Data.GapMillis * float64(time.Millisecond))
}

// every calls do after the first pause, and then after each next one.
func every(ctx context.Context, first, next time.Duration, do func()) {
	for pause := first; ; pause = next {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		do()
	}
}

func send[T any](ctx context.Context, to chan<- T, v T) {
	select {
	case to <- v:
	case <-ctx.Done():
	}
}

// askReasons asks why modules wait. Errors are passed over, as in poll.
func (f *Follower) askReasons(ctx context.Context) {
	if r, err := f.Source.Wait(ctx, f.ID, 0, 0, 0); err == nil {
		send(ctx, f.reasons, WaitReasons(&r))
	}
}

// otherRun is a run's id in a reason; shortID is how much of one is shown, which is
// enough for commands.
var otherRun = regexp.MustCompile(`\brun ([0-9a-f]{32})\b`)

const shortID = 16

// WaitReasons are why modules of a run wait, by their names, short enough for a line.
func WaitReasons(r *wire.Run) map[string]string {
	why := map[string]string{}
	for i := range r.Modules {
		if m := &r.Modules[i]; m.State == pipeline.ModuleWaiting && m.Reason != "" {
			why[m.Name] = otherRun.ReplaceAllStringFunc(m.Reason, func(named string) string {
				if named == "run "+string(r.ID) {
					return "this run"
				}
				return named[:len("run ")+shortID]
			})
		}
	}
	return why
}

// led takes in which node leads, and tells when another one has taken over; gap is how
// long there was none, 0 if that is not known.
func (c *Console) led(h wire.Health, gap time.Duration) {
	was := c.board.leader
	if h.Leader == "" || !h.Quorum {
		return
	}

	c.board.leader, c.dirty = h.Leader, true
	if was != "" && was != h.Leader {
		text := fmt.Sprintf("%s leads in the place of %s (term %d)", Flat(h.Leader), Flat(was), h.Term)
		if gap > 0 {
			text = fmt.Sprintf("%s led %s after %s (term %d)", Flat(h.Leader), wire.GapText(gap), Flat(was), h.Term)
		}
		c.warn(text + c.view.continuing(was, h.Leader))
	}
}

// continuing says what becomes of the modules that run, if another node leads than before:
// those on that one may be gone with it.
func (v *runView) continuing(before, leader string) string {
	there, awaited := 0, 0
	for i := range v.modules {
		m := &v.modules[i]
		switch a := m.Last(); {
		case m.State != pipeline.ModuleRunning:
		case a != nil && a.Worker == before:
			awaited++
		default:
			there++
		}
	}
	continues := " continue"
	if there == 1 {
		continues = " continues"
	}
	var text []string
	if there > 0 {
		text = append(text, ofModules(there)+continues)
	}
	switch {
	case awaited > 0 && there > 0:
		text = append(text, fmt.Sprintf("%s waits for %d on %s", Flat(leader), awaited, Flat(before)))
	case awaited > 0:
		text = append(text, fmt.Sprintf("%s waits for %s on %s", Flat(leader), ofModules(awaited), Flat(before)))
	}
	if len(text) == 0 {
		return ""
	}
	return "; " + strings.Join(text, ", ")
}

func ofModules(n int) string {
	if n == 1 {
		return "1 running module"
	}
	return fmt.Sprintf("%d running modules", n)
}
