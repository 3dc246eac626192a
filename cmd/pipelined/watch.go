package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

func (p *program) watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "follows a run live, as submit does", ArgsUsage: "RUN",
		Description: "Ends as the run does. With -json it prints a line of JSON at each change: the run, with the modules that changed.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			id, err := runArg(cmd, 0)
			if err != nil {
				return err
			}
			c, err := p.connectRead(ctx)
			if err != nil {
				return err
			}
			signals, back := p.signals()
			defer back()
			o := watchOptions{json: cmd.Bool("json"), signals: signals, interrupt: func(context.Context, os.Signal) error { return errInterrupted }}
			if o.json {
				enc := json.NewEncoder(p.stdout)
				enc.SetEscapeHTML(false)
				o.each = func(r wire.Run) error {
					err := enc.Encode(complete(r))
					p.stdout.Flush()
					return wrap("write output", err)
				}
			}
			_, err = p.watchRun(ctx, c.Runs(), id, o)
			return err
		}),
	}
}

func (p *program) waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "waits until a run has ended, and ends as it did", ArgsUsage: "RUN",
		Description: "With -timeout it gives up with exit code 6; the run goes on.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			id, err := runArg(cmd, 0)
			if err != nil {
				return err
			}
			c, err := p.connectRead(ctx)
			if err != nil {
				return err
			}
			_ = c.Learn(ctx) // so that it survives the node it talks to; without it there is one address less
			run, err := terminal.FinalRun(ctx, c.Runs(), id)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				if err := p.printJSON(complete(run)); err != nil {
					return err
				}
			} else {
				p.tell("%s", terminal.Summary(&run.RunSummary, terminal.CountModules(run.Modules)))
			}
			return exit(stateExits[run.State])
		}),
	}
}
