package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// planCommand is `pipelined plan`.
type planCommand struct{ env *environment }

// estimate asks how long the run would take, and where its modules would run.
func (c planCommand) estimate(ctx context.Context, job *submission.Job, api *client.Client, plan *runPlan) {
	e, err := job.Estimate(ctx, api)
	if pipeline.KindOf(err) == pipeline.NotFound && c.env.flags.address == "" {
		return // an older node
	}

	if err != nil {
		c.env.tell("expected durations are unavailable: %v", err)
		return
	}

	if e.Known {
		plan.CriticalPath = e.CriticalPath
	}

	byName := make(map[string]*wire.ModuleEstimate, len(e.Modules))
	for i := range e.Modules {
		byName[e.Modules[i].Name] = &e.Modules[i]
	}

	for i := range plan.Modules {
		plan.Modules[i].Expected = byName[plan.Modules[i].Name]
	}

	e.Modules = []wire.ModuleEstimate{} // each stands with its module
	plan.Estimate = &e
}

// printExpected says where a module would run, and how long it takes.
func (c planCommand) printExpected(e *wire.ModuleEstimate) {
	if e == nil {
		return
	}

	var parts []string
	if e.Waits != "" {
		parts = append(parts, "would wait: "+e.Waits)
	} else if e.Worker != "" {
		parts = append(parts, "on "+e.Worker)
	}

	if e.ExpectedSeconds > 0 {
		parts = append(parts, "takes about "+terminal.ShortDuration(terminal.Seconds(e.ExpectedSeconds)))
	}

	if e.Failed > 0 {
		parts = append(parts, fmt.Sprintf("failed in %d of %d runs", e.Failed, e.Succeeded+e.Failed+e.Other))
	}

	if len(parts) > 0 {
		fmt.Fprintf(c.env.stdout, "      %s\n", terminal.Clean(strings.Join(parts, ", ")))
	}
}

func (c planCommand) printEstimate(e *wire.Estimate) {
	fmt.Fprintf(c.env.stdout, "\nlongest path: %s, about %s\n", terminal.Clean(strings.Join(e.CriticalPath, " -> ")), terminal.ShortDuration(terminal.Seconds(e.CriticalPathSeconds)))
	fmt.Fprintf(c.env.stdout, "the run takes about %s if all workers are idle\n", terminal.ShortDuration(terminal.Seconds(e.Seconds)))
}

// forecast adds to a plan which modules would take a cached result: those of
// the cluster, or of what `run` has kept. Without either a plan is a plan.
func (c planCommand) forecast(ctx context.Context, job *submission.Job, plan *runPlan) {
	api, err := c.env.connectRead(ctx)
	if err != nil {
		if c.env.flags.address != "" {
			c.env.tell("expected durations and cached results are unavailable: %v", err)
		}
		return
	}

	c.estimate(ctx, job, api, plan)
	if !slices.ContainsFunc(job.Definition().Modules, func(m pipeline.Module) bool { return m.Cache }) {
		return
	}

	found, err := c.lookUp(ctx, job, api)
	if err != nil {
		c.env.tell("cached results are unavailable: %v", err)
		return
	}

	for i := range found.Modules {
		for j := range plan.Modules {
			if plan.Modules[j].Name == found.Modules[i].Name {
				plan.Modules[j].Cache = &found.Modules[i]
			}
		}
	}
}

// lookUp sends the listing of the files, without the files, and asks.
func (c planCommand) lookUp(ctx context.Context, job *submission.Job, api *client.Client) (wire.CacheForecast, error) {
	if broad := job.BroadRoot(); broad != "" {
		return wire.CacheForecast{}, fmt.Errorf("the workspace is %s: its files are not read for that", broad)
	}
	return job.LookUp(ctx, api)
}

func (c planCommand) printForecast(f *wire.ModuleForecast) {
	switch {
	case f == nil:
	case f.CachedFrom != nil:
		fmt.Fprintf(c.env.stdout, "      cached: result of run %s\n", f.CachedFrom.Run)
	case f.Unknown != "":
		fmt.Fprintf(c.env.stdout, "      cached or not: %s\n", terminal.Clean(f.Unknown))
	default:
		for _, why := range f.Missed {
			fmt.Fprintf(c.env.stdout, "      not cached: %s\n", terminal.Clean(why))
		}
	}
}
