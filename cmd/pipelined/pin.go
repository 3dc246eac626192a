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
	return c.command("pin", "exempts a run from retention", "Its record, logs and artifacts are kept whatever the limits are, until pipelined unpin RUN.",
		"pinned run %s", client.Runs.Pin)
}

func (c pinCommand) unpin() *cli.Command {
	return c.command("unpin", "subjects a run to retention again", "", "unpinned run %s", client.Runs.Unpin)
}

func (c pinCommand) command(name, usage, description, done string, call func(client.Runs, context.Context, pipeline.RunID) (wire.RunSummary, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "RUN", Description: description,
		Flags: []cli.Flag{jsonFlag()},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			api, id, err := c.env.connectRun(ctx, ref)
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
