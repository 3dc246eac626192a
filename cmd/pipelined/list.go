package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// runStates are what -state takes.
var runStates = []string{string(pipeline.RunWaiting), string(pipeline.RunRunning), string(pipeline.RunCancelling),
	string(pipeline.RunSucceeded), string(pipeline.RunWarnings), string(pipeline.RunFailed), string(pipeline.RunCancelled)}

// listPage is how many runs are asked for at once.
const listPage = 200

// listCommand is `pipelined list`.
type listCommand struct{ env *environment }

func (c listCommand) command() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "lists runs, newest first",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Usage: "largest number `N` of runs; 0 lists all", Value: 20, Local: true},
			&cli.StringFlag{Name: "state", Usage: "only runs in this `STATE`: " + strings.Join(runStates, ", "), Local: true},
			&cli.StringFlag{Name: "pipeline", Usage: "only runs of this pipeline (`NAME`)", Local: true},
			&cli.StringFlag{Name: "search", Usage: "only runs with all these `WORDS`: of pipeline, number, submitter, branch, commit or reason, or names of modules", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(0, 0, c.run),
	}
}

func (c listCommand) run(ctx context.Context, cmd *cli.Command) error {
	limit, state := cmd.Int("limit"), cmd.String("state")
	if limit < 0 {
		return usagef("-limit %d: expected 0 or more", limit)
	}

	if state != "" && !slices.Contains(runStates, state) {
		return usagef("-state %q: expected one of %s%s", state, strings.Join(runStates, ", "), terminal.DidYouMean(state, runStates))
	}

	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	list, err := listRuns(ctx, api, limit, client.ListOptions{State: pipeline.RunState(state), Pipeline: cmd.String("pipeline"), Search: cmd.String("search")})
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(list)
	}

	return c.env.printRuns(list.Runs)
}

// listRuns collects pages until there are limit runs; 0 takes all.
func listRuns(ctx context.Context, api *client.Client, limit int, o client.ListOptions) (wire.RunList, error) {
	out := wire.RunList{Runs: []wire.RunSummary{}}
	for {
		o.Limit = listPage
		if limit > 0 {
			o.Limit = min(listPage, limit-len(out.Runs))
		}

		page, err := api.Runs().List(ctx, o)
		if err != nil {
			return out, err
		}

		out.Runs = append(out.Runs, page.Runs...)
		out.Cursor = page.Cursor
		if page.Cursor == "" || limit > 0 && len(out.Runs) >= limit {
			return out, nil
		}

		o.Cursor = page.Cursor
	}
}

// printRuns prints runs.
func (env *environment) printRuns(runs []wire.RunSummary) error {
	t := terminal.NewTable(env.stdout, "RUN", "NUMBER", "PIPELINE", "STATE", "MODULES", "SUBMITTED", "TOOK")
	now := env.now()
	for i := range runs {
		r := &runs[i]
		name := r.Pipeline
		if r.Parent != nil {
			name += fmt.Sprintf(" (of %d)", r.Parent.Number)
		}
		t.Row(string(r.ID), fmt.Sprint(r.Number), name, pipeline.Words(r.State), fmt.Sprintf("%d/%d", r.ModulesDone, r.ModuleCount),
			terminal.Ago(r.SubmittedAt, now), runTook(r, now))
	}

	return t.Flush()
}

// runTook is how long a run took, or has taken so far.
func runTook(r *wire.RunSummary, now time.Time) string {
	return terminal.ShortDuration(r.Took(now))
}
