package orchestrator

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Estimate simulates a run that does not exist on the present workers, as if they
// were idle. Each module takes as long as its earlier attempts did.
func (o *Orchestrator) Estimate(ctx context.Context, head pipeline.Run, def *pipeline.Pipeline) (pipeline.Estimate, error) {
	// A run that only this call knows: no loop is involved but for the workers.
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

	// The loop only copies what it knows; simulating a large run would hold it up.
	c, err := o.candidates(ctx, r)
	if err != nil {
		return pipeline.Estimate{}, err
	}

	c.simulate(&e, def, expected)
	return e, nil
}

// candidates is what the loop knows about where the modules of a run may go. The
// simulation itself runs outside of the loop.
type candidates struct {
	workers []*scheduler.Worker
	classes []scheduler.Class
	// none is why no worker fits a class; "" if one does.
	none map[scheduler.Class]string
}

func (o *Orchestrator) candidates(ctx context.Context, r *run) (candidates, error) {
	c := candidates{classes: make([]scheduler.Class, len(r.list)), none: map[scheduler.Class]string{}}
	err := o.ask(ctx, func(t *term) {
		c.workers = t.workers.idle(time.Now())
		for i, m := range r.list {
			c.classes[i] = m.class()

			// One explanation per class: it looks at all workers.
			if _, done := c.none[c.classes[i]]; !done {
				c.none[c.classes[i]] = t.explainer.whyNone(m, c.workers)
			}
		}
	})
	return c, err
}

// simulate fills in an estimate. If no duration is known, the modules still run one
// after the other, which tells where they would run.
func (c *candidates) simulate(e *pipeline.Estimate, def *pipeline.Pipeline, expected []time.Duration) {
	// Modules without a history take the mean of the others.
	guess := scheduler.Guess(expected)
	e.Known = guess != nil
	if !e.Known {
		guess = make([]time.Duration, len(expected))
	}

	simulated := scheduler.Simulate(def, guess, c.classes, c.workers)
	for i, s := range simulated {
		m := &e.Modules[i]
		m.Name, m.Worker, m.StartSeconds, m.EndSeconds = def.Modules[i].Name, s.Worker, s.Start.Seconds(), s.End.Seconds()

		// A skipped module takes no time, whatever it took before.
		if m.ExpectedSeconds = expected[i].Seconds(); s.Skipped {
			m.ExpectedSeconds, guess[i] = 0, 0
		}
		if s.Stuck {
			m.Waits = c.none[c.classes[i]]
		}
		e.Seconds = max(e.Seconds, s.End.Seconds())
	}

	if !e.Known {
		return
	}

	// The path is independent of the workers: a bound for any number of them.
	path, took := scheduler.LongestPath(def, guess)
	for _, i := range path {
		if !simulated[i].Skipped {
			e.CriticalPath = append(e.CriticalPath, def.Modules[i].Name)
		}
	}

	e.CriticalPathSeconds = took.Seconds()
}
