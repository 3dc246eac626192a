package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
)

// watchCommand is `pipelined watch`.
type watchCommand struct{ env *environment }

func (c watchCommand) command() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "follows a run", ArgsUsage: "RUN",
		Description: "Exits as the run does. With -json it prints a line of JSON for each change: the run, with the modules that changed.",
		Flags:       []cli.Flag{logsFlag(), jsonFlag()},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			api, id, err := c.env.connectRun(ctx, ref)
			if err != nil {
				return err
			}

			signals, back := c.env.signals()
			defer back()
			o := watchOptions{page: c.env.page(api, string(id)), json: cmd.Bool("json"), logs: cmd.Bool("logs"), signals: signals, ctrlC: leavesRunning, health: api.Health, election: newestElection(api), interrupt: func(context.Context, os.Signal) error { return errInterrupted }}
			if o.json {
				enc := json.NewEncoder(c.env.stdout)
				enc.SetEscapeHTML(false)
				o.each = func(r wire.Run) error {
					err := enc.Encode(complete(r))
					c.env.stdout.Flush()
					return wrap("write output", err)
				}
			}

			if o.page != nil && !o.json {
				if err := c.env.reach(ctx, api); err != nil {
					return cause(ctx, err)
				}
				c.env.tellPage(string(id), o.page())
			}
			_, err = watcher(c).watch(ctx, api.Runs(), id, o)
			return err
		}),
	}
}
