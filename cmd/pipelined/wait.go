package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
)

// waitCommand is `pipelined wait`.
type waitCommand struct{ env *environment }

func (c waitCommand) command() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "waits until a run has finished", ArgsUsage: "RUN",
		Description: "Exits as the run did. After -timeout it exits with 6; the run continues.",
		Flags:       []cli.Flag{jsonFlag(), reportFlag()},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			reports, err := c.env.reports(cmd)
			if err != nil {
				return err
			}

			api, id, err := c.env.connectRun(ctx, ref)
			if err != nil {
				return err
			}

			_ = api.Learn(ctx) // so that it survives the node it talks to; without it there is one address less
			run, err := terminal.FinalRun(ctx, api.Runs(), id)
			if err != nil {
				return err
			}

			if cmd.Bool("json") {
				if err := c.env.printJSON(complete(run)); err != nil {
					return err
				}
			} else {
				c.env.tell("%s", terminal.Summary(&run.RunSummary, terminal.CountModules(run.Modules)))
			}

			return reports.end(ctx, api, run, exit(stateExits[run.State]))
		}),
	}
}
