package orchestrator

import (
	"context"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Forecast looks up the modules of a run that does not exist, as far as that is
// possible: a module that depends on one that would run is known only after it.
func (o *Orchestrator) Forecast(ctx context.Context, head pipeline.Run, def *pipeline.Pipeline) ([]pipeline.ModuleForecast, error) {
	if o.cfg.Results == nil || head.Cache == pipeline.CacheOff {
		return nil, nil
	}

	r, err := newRun(head, def, nil)
	if err != nil {
		return nil, err
	}

	f := &forecast{cfg: &o.cfg, run: r, finder: cacheFinder{results: o.cfg.Results, store: o.cfg.Store},
		platforms: map[scheduler.Class][]platform{}, unmet: map[scheduler.Class]string{}, decided: map[*moduleState]*pipeline.ModuleForecast{}}

	// One question to the loop for all; lookups and expressions run outside of it.
	if err := o.ask(ctx, f.askLoop); err != nil {
		return nil, err
	}

	// Each round decides at least the modules whose dependencies are decided; the
	// language refuses cycles.
	for left := r.list; len(left) > 0; {
		left = f.round(ctx, left)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}

	var list []pipeline.ModuleForecast
	for _, m := range r.list {
		if x := f.decided[m]; m.def.Cache && x != nil {
			list = append(list, *x)
		}
	}
	return list, nil
}

// forecast is one forecast. Except askLoop it runs outside of the loop, on a run
// that only it knows.
type forecast struct {
	cfg    *Config
	run    *run
	finder cacheFinder
	// platforms and unmet are, for each class, where it may run, and why it cannot.
	platforms map[scheduler.Class][]platform
	unmet     map[scheduler.Class]string
	// decided has the modules whose lookup is done, or that have none.
	decided map[*moduleState]*pipeline.ModuleForecast
}

// askLoop collects what only the loop knows.
func (f *forecast) askLoop(t *term) {
	for _, m := range f.run.list {
		c := m.class()
		if _, done := f.platforms[c]; done {
			continue
		}
		f.platforms[c] = t.workers.platformsIfOpen(c)
		if len(f.platforms[c]) == 0 {
			f.unmet[c] = t.explainer.noWorker(m)
		}
	}
}

// round decides the modules whose dependencies are decided, and returns the rest.
func (f *forecast) round(ctx context.Context, list []*moduleState) (left []*moduleState) {
	var now []*moduleState
	for _, m := range list {
		ready := true
		for _, d := range m.dependencies {
			_, done := f.decided[d]
			ready = ready && done
		}
		if ready {
			now = append(now, m)
		} else {
			left = append(left, m)
		}
	}

	// All lookups of a round in one batch, as the leader would do it.
	var jobs []*lookup
	for _, m := range now {
		f.decided[m] = &pipeline.ModuleForecast{Name: m.def.Name}
		if j := f.prepare(ctx, m, f.decided[m]); j != nil {
			jobs = append(jobs, j)
		}
	}

	f.finder.find(ctx, jobs)
	for _, j := range jobs {
		f.take(j)
	}
	return left
}

// take notes what a lookup found. A hit makes the module's product known to those
// that depend on it.
func (f *forecast) take(j *lookup) {
	x := f.decided[j.module]
	x.Missed = j.result.Missed
	e := j.entry
	if e == nil {
		return
	}

	x.CachedFrom = &pipeline.CachedFrom{Run: e.From.Run, Module: e.From.Module, Attempt: e.From.Attempt, Worker: e.Worker,
		DurationSeconds: e.Duration.Seconds()}

	// Its dependents see it as a run that had the hit would.
	j.module.state = pipeline.ModuleCached
	j.module.product = product{outputs: e.Outputs, outputPaths: e.OutputPaths, result: e.Result, exitCode: e.ExitCode, duration: e.Duration}
}

// prepare makes the lookup of a module; nil if it has none. x says why, if the
// module would be cached at all.
func (f *forecast) prepare(ctx context.Context, m *moduleState, x *pipeline.ModuleForecast) *lookup {
	deferred := len(m.def.Deferred) > 0
	for _, d := range m.dependencies {
		// A dependency without outputs changes nothing for one without expressions.
		hasOutputs := len(d.def.Outputs)+len(d.def.OutputsOptional) > 0
		if d.state != pipeline.ModuleCached && (deferred || hasOutputs) {
			x.Unknown = "known after " + d.def.Name
			return nil
		}
	}

	c := m.class()
	switch {
	case !m.def.Cache || m.def.Skip != "":
		return nil
	case m.def.Dynamic:
		x.Unknown = "known after its for_each"
		return nil
	case len(f.platforms[c]) == 0:
		x.Unknown = f.unmet[c]
		return nil
	}

	// All dependencies are cached here, so their results are known.
	if deferred {
		values, err := f.cfg.Evaluate(ctx, f.run.def, m.def, m.upstreamResults())
		if err != nil {
			x.Unknown = "its expressions cannot be evaluated: " + err.Error()
			return nil
		}
		if m.deferred.evaluated = values; values.Skip != "" {
			x.Unknown = "it would be skipped: " + values.Skip
			return nil
		}
	}
	if m.def.Container.Image != "" {
		x.Unknown = "the digest of its image is looked up only when it runs"
		return nil
	}
	return newLookup(m, f.platforms[c], f.cfg.Vault)
}
