package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// pinCommand is `pipelined pin` and `pipelined unpin`.
type pinCommand struct{ env *environment }

func (c pinCommand) pin() *cli.Command {
	return c.command("pin", "keeps a run with its logs and artifacts", "Neither the number and age of runs nor sizes, quotas and times of logs and artifacts let it go, until pipelined unpin RUN.",
		"run %s is kept", client.Runs.Pin)
}

func (c pinCommand) unpin() *cli.Command {
	return c.command("unpin", "lets the limits hold for a run again", "", "the limits hold for run %s again", client.Runs.Unpin)
}

func (c pinCommand) command(name, usage, description, done string, call func(client.Runs, context.Context, pipeline.RunID) (wire.RunSummary, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "RUN", Description: description,
		Flags: []cli.Flag{jsonFlag()},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			id, err := runArg(cmd, 0)
			if err != nil {
				return err
			}
			api, err := c.env.connect(ctx)
			if err != nil {
				return err
			}
			run, err := call(api.Runs(), ctx, id)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				return c.env.printJSON(run)
			}
			c.env.tell(done, run.ID)
			return nil
		}),
	}
}
