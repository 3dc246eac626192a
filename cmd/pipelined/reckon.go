package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// reckon asks how long the run would take, and where its modules would run.
func (p *program) reckon(ctx context.Context, cmd *cli.Command, c *client.Client, plan *runPlan) {
	j, err := p.checkRun(ctx, cmd)
	if err != nil {
		return // the plan has told of it
	}
	defer j.close()
	e, err := c.Runs().Estimate(ctx, j.request)
	if pipeline.KindOf(err) == pipeline.NotFound && p.address == "" {
		return // an older node
	}
	if err != nil {
		p.tell("expected durations are not shown: %v", err)
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
func (p *program) printExpected(e *wire.ModuleEstimate) {
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
		fmt.Fprintf(p.stdout, "      %s\n", terminal.Clean(strings.Join(parts, ", ")))
	}
}

func (p *program) printEstimate(e *wire.Estimate) {
	fmt.Fprintf(p.stdout, "\nlongest path: %s, about %s\n", terminal.Clean(strings.Join(e.CriticalPath, " -> ")), terminal.ShortDuration(terminal.Seconds(e.CriticalPathSeconds)))
	fmt.Fprintf(p.stdout, "the run takes about %s on the workers there are, were they idle\n", terminal.ShortDuration(terminal.Seconds(e.Seconds)))
}
