package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
)

// retryCommand is `pipelined retry`.
type retryCommand struct{ env *environment }

func (c retryCommand) command() *cli.Command {
	return &cli.Command{
		Name: "retry", Usage: "resumes a finished run where it failed, and follows it", ArgsUsage: "RUN",
		Description: "Modules that succeeded are kept; the others run again, with new attempts. With -from a module runs again even if it succeeded, and so does everything that depends on it.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "from", Usage: "`MODULE` that runs again with everything that depends on it; may be repeated", Local: true},
			&cli.BoolFlag{Name: "detach", Usage: "do not follow the run", HideDefault: true, Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 1, c.run),
	}
}

func (c retryCommand) run(ctx context.Context, cmd *cli.Command) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	for _, m := range cmd.StringSlice("from") {
		if !wire.ValidModule(m) {
			return usagef("-from %.80q: cannot be the name of a module", m)
		}
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	before, err := api.Runs().Get(ctx, id)
	if err != nil {
		return err
	}

	run, err := api.Runs().Retry(ctx, id, cmd.StringSlice("from"))
	if err != nil {
		return err
	}

	if cmd.Bool("detach") {
		if cmd.Bool("json") {
			return c.env.printJSON(run)
		}

		fmt.Fprintln(c.env.stdout, run.ID)
		return nil
	}

	c.env.tell("run %s resumes: %d of %d modules are done", run.ID, run.ModulesDone, run.ModuleCount)
	signals, back := c.env.signals()
	defer back()
	_, err = watcher(c).watch(ctx, api.Runs(), id, watchOptions{json: cmd.Bool("json"), positions: shown(&before), signals: signals,
		interrupt: func(ctx context.Context, _ os.Signal) error {
			return watcher(c).detachOrCancel(ctx, api, id, signals)
		}})
	return err
}

// shown are the positions behind all output of a run that is over.
func shown(r *wire.Run) map[string]wire.LogPosition {
	at := map[string]wire.LogPosition{}
	for i := range r.Modules {
		m := &r.Modules[i]
		if n := len(m.Attempts); n > 0 {
			at[m.Name] = wire.LogPosition{Attempt: m.Attempts[n-1].Number, Offset: m.Attempts[n-1].LogSize, Ended: true}
		}
	}

	return at
}
