package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/pipeline"
)

// cancelCommand is `pipelined cancel`.
type cancelCommand struct{ env *environment }

func (c cancelCommand) command() *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "cancels a run", ArgsUsage: "RUN",
		Description: "Sends TERM to every process of the run, and KILL after its module's grace period. Does not wait for the end; pipelined wait RUN does.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is stored with the run", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			api, id, err := c.env.connectRun(ctx, ref)
			if err != nil {
				return err
			}

			run, err := api.Runs().Cancel(ctx, id, cmd.String("reason"))
			if err != nil {
				return err
			}

			if cmd.Bool("json") {
				return c.env.printJSON(run)
			}

			c.env.tell("run %s: %s", run.ID, pipeline.Words(run.State))
			return nil
		}),
	}
}
