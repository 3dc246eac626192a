package orchestrator

import (
	"context"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Forecast looks up the modules of a run that does not exist, as far as they can
// be: one that depends on what would run is known only after that.
func (o *Orchestrator) Forecast(ctx context.Context, head pipeline.Run, def *pipeline.Pipeline) ([]pipeline.ModuleForecast, error) {
	if o.cfg.Results == nil || head.Cache == pipeline.CacheOff {
		return nil, nil
	}
	r, err := newRun(head, def, nil)
	if err != nil {
		return nil, err
	}
	platforms := map[scheduler.Class][]platform{}
	var t *term
	err = o.ask(ctx, func(now *term) {
		t = now
		for _, m := range r.list {
			c := m.class()
			if _, done := platforms[c]; !done {
				platforms[c] = now.platformsHere(c)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	f := &forecast{t: t, r: r, platforms: platforms, out: map[*mod]*pipeline.ModuleForecast{}}
	for left := r.list; len(left) > 0; {
		left = f.round(ctx, left)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	var list []pipeline.ModuleForecast
	for _, m := range r.list {
		if x := f.out[m]; m.def.Cache && x != nil {
			list = append(list, *x)
		}
	}
	return list, nil
}

type forecast struct {
	t         *term // only what never changes in it is used
	r         *run
	platforms map[scheduler.Class][]platform
	// out has the modules that are decided; nil for those without a result of
	// their own to look for.
	out map[*mod]*pipeline.ModuleForecast
}

// platformsHere lists those of the workers that a class may go to; where none
// takes modules (the node that only reads what `run` has kept), those that could.
func (t *term) platformsHere(c scheduler.Class) []platform {
	list := t.platforms(c)
	for _, l := range t.links {
		if len(list) > 0 || l.caps == nil {
			continue
		}
		w := l.sched
		w.Slots = 1
		if scheduler.Fits(&w, c) {
			list = append(list, platform{l.caps.OS, l.caps.Arch})
		}
	}
	return list
}

// round decides the modules whose dependencies are decided and gives the rest.
func (f *forecast) round(ctx context.Context, list []*mod) (left []*mod) {
	var jobs []*lookup
	var now []*mod
	for _, m := range list {
		ready := true
		for _, d := range m.deps {
			_, done := f.out[d]
			ready = ready && done
		}
		if !ready {
			left = append(left, m)
			continue
		}
		now = append(now, m)
	}
	for _, m := range now {
		f.out[m] = &pipeline.ModuleForecast{Name: m.def.Name}
		if j := f.one(ctx, m, f.out[m]); j != nil {
			jobs = append(jobs, j)
		}
	}
	f.t.find(ctx, jobs)
	for _, j := range jobs {
		x := f.out[j.m]
		x.Missed = j.note.Missed
		if e := j.entry; e != nil {
			x.CachedFrom = &pipeline.CachedFrom{Run: e.From.Run, Module: e.From.Module, Attempt: e.From.Attempt, Worker: e.Worker, DurationSeconds: e.Duration.Seconds()}
			j.m.state = pipeline.ModuleCached
			j.m.outputs, j.m.outputPaths, j.m.result, j.m.exitCode, j.m.duration = e.Outputs, e.OutputPaths, e.Result, e.ExitCode, e.Duration
		}
	}
	return left
}

// one prepares the look-up of a module; nil where there is none.
func (f *forecast) one(ctx context.Context, m *mod, x *pipeline.ModuleForecast) *lookup {
	late := len(m.def.Late) > 0
	for _, d := range m.deps {
		leaves := len(d.def.Outputs)+len(d.def.OutputsOptional) > 0
		if d.state != pipeline.ModuleCached && (late || leaves) {
			x.Unknown = "known after " + d.def.Name
			return nil
		}
	}
	switch {
	case !m.def.Cache || m.def.Skip != "":
		return nil
	case m.def.Dynamic:
		x.Unknown = "known after its for_each"
		return nil
	case len(f.platforms[m.class()]) == 0:
		x.Unknown = f.t.lacking(m.def.Requires)
		return nil
	}
	if late {
		deps := make(map[string]pipeline.UpstreamResult, len(m.deps))
		for _, d := range m.deps {
			deps[d.def.Name] = d.upstreamResult()
		}
		e, err := f.t.cfg.Evaluate(ctx, f.r.def, m.def, deps)
		if err != nil {
			x.Unknown = "its expressions have no value: " + err.Error()
			return nil
		}
		if m.evaluated = e; e.Skip != "" {
			x.Unknown = "it would be skipped: " + e.Skip
			return nil
		}
	}
	return f.t.newLookup(m, f.platforms[m.class()])
}
