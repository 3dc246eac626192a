package traces

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// again is how long before its term a new leader exports runs once more: the last one
	// may not have come to it.
	again = time.Minute
	// maxAgain bounds how many runs are looked at for that.
	maxAgain = 500
	// maxWaiting bounds the runs that wait to be exported; the oldest are left out.
	maxWaiting = 10_000
	// deliverTime bounds the wait for the collector, closeTime that at the end.
	deliverTime = 30 * time.Second
	closeTime   = 2 * time.Second
)

// Config is what an Exporter needs.
type Config struct {
	// Store is the replicated state; nil on a node without one.
	Store interface {
		View(fn func(*fsm.View) error) error
	}
	// Barrier waits until the state of a new leader has what the terms before it have
	// committed.
	Barrier func(ctx context.Context) error
	// Node and Version describe this node. URL is the address of its dashboard, for
	// links to runs.
	Node, Version, URL string
	// Getenv reads the variables of OpenTelemetry.
	Getenv func(string) string
	Logger hclog.Logger
}

// Exporter exports runs that have ended. A nil one exports nothing.
type Exporter struct {
	cfg      Config
	provider *sdktrace.TracerProvider
	poke     chan struct{} // one element: a run waits

	mu      sync.Mutex // guards following
	waiting []pipeline.RunID
}

// Open reads the variables of OpenTelemetry; nil if they ask for no traces. Nothing is
// sent before Lead.
func Open(ctx context.Context, cfg Config) (*Exporter, error) {
	to, err := newExporter(ctx, cfg.Getenv)
	if to == nil || err != nil {
		return nil, err
	}

	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Logger.Warn("traces could not be delivered", "error", err) }))
	provider, err := newProvider(ctx, to, cfg.Node, cfg.Version)
	if err != nil {
		return nil, errors.Join(err, to.Shutdown(ctx))
	}
	return &Exporter{cfg: cfg, provider: provider, poke: make(chan struct{}, 1)}, nil
}

// Ended adds a run whose end is committed. It does not block.
func (e *Exporter) Ended(id pipeline.RunID) {
	if e == nil {
		return
	}

	e.mu.Lock()
	e.waiting = append(e.waiting, id)
	if n := len(e.waiting) - maxWaiting; n > 0 {
		e.waiting = e.waiting[n:]
	}
	e.mu.Unlock()

	select {
	case e.poke <- struct{}{}:
	default: // Lead takes all of them anyway
	}
}

// Lead exports runs until ctx ends, for one term.
func (e *Exporter) Lead(ctx context.Context) {
	if e == nil {
		return
	}

	since := time.Now().Add(-again)
	if err := e.cfg.Barrier(ctx); err != nil {
		e.cfg.Logger.Debug("traces: this node leads no more", "error", err)
		return
	}
	e.addRecent(since)
	for {
		for _, id := range e.take() {
			if ctx.Err() != nil {
				return
			}
			e.exportRun(ctx, id)
		}

		select {
		case <-ctx.Done():
			return
		case <-e.poke:
		}
	}
}

// Close delivers what is left, for a moment, and ends.
func (e *Exporter) Close() {
	if e == nil {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = e.provider.Shutdown(ctx) // a collector that is away gets nothing more
}

func (e *Exporter) take() []pipeline.RunID {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.waiting
	e.waiting = nil
	return list
}

// addRecent adds the runs that ended after a time.
func (e *Exporter) addRecent(since time.Time) {
	n := 0
	err := e.cfg.Store.View(func(v *fsm.View) error {
		v.Runs(0, func(r pipeline.Run) bool {
			if r.State.Final() && r.FinishedAt.After(since) {
				e.Ended(r.ID)
			}
			n++
			return n < maxAgain
		})
		return nil
	})
	if err != nil {
		e.cfg.Logger.Debug("traces: the state is closed", "error", err)
	}
}

// exportRun exports one run, and waits until its spans are delivered.
func (e *Exporter) exportRun(ctx context.Context, id pipeline.RunID) {
	var r record
	err := e.cfg.Store.View(func(v *fsm.View) (err error) {
		var ok bool
		if r.run, ok = v.Run(id); !ok || !r.run.State.Final() {
			return pipeline.Errorf(pipeline.NotFound, "it is gone, or was retried")
		}
		if r.modules, err = v.RunModules(id); err != nil {
			return err
		}
		r.records = v.Modules(id)
		r.sources = sources(v, r.records)
		r.elections = elections(v, &r.run)
		return nil
	})
	if err != nil {
		e.cfg.Logger.Debug("a run is not traced", "run", id, "error", err)
		return
	}

	ctx, cancel := context.WithTimeout(ctx, deliverTime)
	defer cancel()
	t := &spanBuilder{tracer: e.provider.Tracer("pipelined"), url: e.cfg.URL, run: id, trace: r.run.Trace.Of(id), flush: func() { _ = e.provider.ForceFlush(ctx) }}
	t.addRun(&r)
	if err := e.provider.ForceFlush(ctx); err != nil {
		e.cfg.Logger.Warn("traces could not be delivered", r.run.LogFields("error", err)...)
	}
}

// sources are the traces of the runs from which modules took cached results.
func sources(v *fsm.View, records map[string]*pipeline.ModuleRecord) map[pipeline.RunID]pipeline.Trace {
	out := map[pipeline.RunID]pipeline.Trace{}
	for _, rec := range records {
		for i := range rec.Attempts {
			from := rec.Attempts[i].From
			if from == nil {
				continue
			}
			if _, known := out[from.Run]; known {
				continue
			}
			if run, ok := v.Run(from.Run); ok { // else it was deleted, and may have been part of any trace
				out[from.Run] = run.Trace.Of(from.Run)
			}
		}
	}
	return out
}

// elections are the changes of the leader while a run went, oldest first.
func elections(v *fsm.View, run *pipeline.Run) (list []pipeline.Event) {
	v.NewestEvents(func(entry []pipeline.Event) bool {
		for i := range entry {
			if e := &entry[i]; e.Type == pipeline.EventLeaderChanged && e.At.After(run.SubmittedAt) && e.At.Before(run.FinishedAt) {
				list = append(list, *e)
			}
		}
		return len(entry) == 0 || entry[0].At.After(run.SubmittedAt)
	})
	slices.Reverse(list)
	return list
}
