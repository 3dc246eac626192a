package top

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gdamore/tcell/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// tickEvery is how often durations are drawn anew.
const tickEvery = time.Second

// Config says what the view needs.
type Config struct {
	Cluster Cluster
	Screen  tcell.Screen
	Now     func() time.Time
	// Notes are lines about calls that are repeated; nil for none.
	Notes <-chan string
	// Unicode allows marks beyond ASCII.
	Unicode bool
}

// App is the view. Only Run's goroutine touches its fields.
type App struct {
	*model
	cfg    Config
	events chan event
	feed   *feed
	ui     interaction
	paint  *painter

	group *errgroup.Group
	ctx   context.Context // of Run: the lifetime of feeds and actions
	// cancel stops what follows the run that is chosen.
	cancel context.CancelFunc
}

// errLeave ends Run.
var errLeave = errors.New("the view was left")

// New makes a view. It does nothing before Run.
func New(cfg Config) *App {
	a := &App{model: &model{now: cfg.Now, focus: runsTable}, cfg: cfg, events: make(chan event)}
	a.paint = &painter{model: a.model, ui: &a.ui, screen: cfg.Screen, marks: marksOf(cfg.Unicode)}
	a.feed = &feed{cluster: cfg.Cluster, events: a.events}
	return a
}

// Run shows the view until the person leaves it (nil) or ctx ends (its cause). The
// screen was initialized, and stays so.
func (a *App) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	a.group, a.ctx = new(errgroup.Group), ctx
	a.fresh = a.now()
	a.start(a.feed.nodes)
	a.start(a.feed.runs)
	a.start(a.feed.usual)
	err := a.loop(ctx)
	stop()
	a.stopRun()
	a.ui.close()
	_ = a.group.Wait() // feeds have no error

	if errors.Is(err, errLeave) {
		return nil
	}
	return err
}

// start runs a part of a feed until Run ends.
func (a *App) start(do func(context.Context)) { a.startIn(a.ctx, do) }

func (a *App) startIn(ctx context.Context, do func(context.Context)) {
	a.group.Go(func() error {
		do(ctx)
		return nil
	})
}

func (a *App) loop(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		a.paint.draw()
		select {
		case e := <-a.events:
			e(a)
			a.more()
		case e := <-a.cfg.Screen.EventQ():
			switch e := e.(type) {
			case *tcell.EventKey:
				if err := a.key(e); err != nil {
					return err
				}
			case *tcell.EventResize:
				a.cfg.Screen.Sync()
			case nil:
				return errLeave // the terminal is gone
			}
		case text := <-a.cfg.Notes:
			a.trouble = terminal.Flat(text)
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// more applies what else waits, so that a burst of output is one picture.
func (a *App) more() {
	for range 256 {
		select {
		case e := <-a.events:
			e(a)
		default:
			return
		}
	}
}

// choose chooses a row. The run that is chosen is the one whose modules are shown.
func (a *App) choose(t table, name string) {
	if a.chosen[t] == name {
		return
	}

	a.chosen[t] = name
	if t != runsTable {
		return
	}

	a.stopRun()
	a.chosen[modulesTable] = ""
	a.run, a.reasons, a.lines, a.unfolded = wire.Run{}, nil, map[string]string{}, map[string]bool{}
	id := pipeline.RunID(name)
	for _, r := range a.runs {
		if r.ID == id {
			a.run.RunSummary = r
		}
	}

	ctx, cancel := context.WithCancel(a.ctx)
	a.cancel = cancel
	a.startIn(ctx, func(ctx context.Context) { a.feed.run(ctx, id) })
	if !a.run.State.Final() {
		a.startIn(ctx, func(ctx context.Context) { a.feed.reasons(ctx, id) })
		a.startIn(ctx, func(ctx context.Context) { a.feed.lastLines(ctx, id) })
	}
}

// chooseFirst chooses a run if none is.
func (a *App) chooseFirst() {
	if len(a.runs) > 0 && a.run.ID == "" {
		a.choose(runsTable, string(a.runs[0].ID))
	}
}

// again follows the chosen run anew if it had ended and has begun again.
func (a *App) again() {
	id, module := a.chosen[runsTable], a.chosen[modulesTable]
	begun := slices.ContainsFunc(a.runs, func(r wire.RunSummary) bool { return string(r.ID) == id && !r.State.Final() })
	if a.run.State.Final() && begun {
		a.chosen[runsTable] = ""
		a.choose(runsTable, id)
		a.chosen[modulesTable] = module
	}
}

func (a *App) stopRun() {
	if a.cancel != nil {
		a.cancel()
		a.cancel = nil
	}
}

// move chooses another row of the table that has the focus.
func (a *App) move(by int) {
	names := a.rows(a.focus)
	if len(names) == 0 {
		return
	}

	at := slices.Index(names, a.chosen[a.focus])
	if at < 0 {
		at = 0
	} else {
		at = min(max(at+by, 0), len(names)-1)
	}
	a.choose(a.focus, names[at])
}
