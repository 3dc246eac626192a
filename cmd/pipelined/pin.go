package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (p *program) pinCommand() *cli.Command {
	return p.pinning("pin", "keeps a run with its logs and artifacts", "Neither the number and age of runs nor sizes, quotas and times of logs and artifacts let it go, until pipelined unpin RUN.",
		"run %s is kept", client.Runs.Pin)
}

func (p *program) unpinCommand() *cli.Command {
	return p.pinning("unpin", "lets the limits hold for a run again", "", "the limits hold for run %s again", client.Runs.Unpin)
}

func (p *program) pinning(name, usage, description, done string, call func(client.Runs, context.Context, pipeline.RunID) (wire.RunSummary, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "RUN", Description: description,
		Flags: []cli.Flag{jsonFlag()},
		Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			id, err := runArg(cmd, 0)
			if err != nil {
				return err
			}
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			run, err := call(c.Runs(), ctx, id)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				return p.printJSON(run)
			}
			p.tell(done, run.ID)
			return nil
		}),
	}
}
