package orchestrator

import (
	"context"
	"sort"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Estimate plays a run that does not exist, each module as long as those before it
// took.
func (o *Orchestrator) Estimate(ctx context.Context, head pipeline.Run, def *pipeline.Pipeline) (pipeline.Estimate, error) {
	r, err := newRun(head, def, nil)
	if err != nil {
		return pipeline.Estimate{}, err
	}
	e := pipeline.Estimate{Modules: make([]pipeline.ModuleEstimate, len(def.Modules))}
	var expected []time.Duration
	err = o.cfg.Store.View(func(v *fsm.View) error {
		expected = v.Expected(def.Name, def.Modules)
		for i := range def.Modules {
			h, _ := v.History(def.Name, def.Modules[i].Name)
			e.Modules[i].Succeeded, e.Modules[i].Failed, e.Modules[i].Other = h.Succeeded, h.Failed, h.Other
		}
		return nil
	})
	if err != nil {
		return pipeline.Estimate{}, err
	}
	classes := make([]scheduler.Class, len(r.list))
	var workers []*scheduler.Worker
	why := map[scheduler.Class]string{}
	err = o.ask(ctx, func(t *term) {
		workers = t.idleWorkers()
		for i, m := range r.list {
			classes[i] = m.class()
			if _, done := why[classes[i]]; !done {
				why[classes[i]] = t.nobody(m, workers)
			}
		}
	})
	if err != nil {
		return pipeline.Estimate{}, err
	}
	guess := scheduler.Guess(expected)
	e.Known = guess != nil
	if !e.Known {
		guess = make([]time.Duration, len(expected)) // one after the other all the same
	}
	sim := scheduler.Simulate(def, guess, classes, workers)
	for i, s := range sim {
		m := &e.Modules[i]
		m.Name, m.Worker, m.StartSeconds, m.EndSeconds = def.Modules[i].Name, s.Worker, s.Start.Seconds(), s.End.Seconds()
		if m.ExpectedSeconds = expected[i].Seconds(); s.Skipped {
			m.ExpectedSeconds, guess[i] = 0, 0
		}
		if s.Stuck {
			m.Waits = why[classes[i]]
		}
		e.Seconds = max(e.Seconds, s.End.Seconds())
	}
	if e.Known {
		path, took := scheduler.LongestPath(def, guess)
		for _, i := range path {
			if !sim[i].Skipped {
				e.CriticalPath = append(e.CriticalPath, def.Modules[i].Name)
			}
		}
		e.CriticalPathSeconds = took.Seconds()
	}
	return e, nil
}

// nobody says why a module may go to none of the workers; "" where it may.
func (t *term) nobody(m *mod, workers []*scheduler.Worker) string {
	for _, w := range workers {
		if scheduler.Fits(w, m.class()) {
			return ""
		}
	}
	return t.noWorker(m)
}

// idleWorkers gives copies of the workers that take modules, as if they had
// none. Where there is no such worker (the node that only reads what `run` has
// kept), it is those that could, with a slot for each processor.
func (t *term) idleWorkers() []*scheduler.Worker {
	var out []*scheduler.Worker
	now := time.Now()
	for _, open := range []bool{true, false} {
		for _, l := range t.links {
			if l.caps == nil || open && (l.caps.MaxParallelModules < 1 || !t.open(l, now)) {
				continue
			}
			w := l.sched
			w.Slots, w.Used, w.UsedCPU, w.UsedMemory, w.Closed = l.caps.MaxParallelModules, 0, 0, 0, false
			if !open {
				w.Slots = max(1, w.Slots, int(l.caps.CPU))
			}
			out = append(out, &w)
		}
		if len(out) > 0 {
			break
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}
