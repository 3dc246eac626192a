package main

import (
	"context"
	"errors"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// logsCommand is `pipelined logs`.
type logsCommand struct{ env *environment }

func (c logsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "prints the output of a run or of a module", ArgsUsage: "RUN [MODULE]",
		Description: "Without MODULE each line is printed as `module | text`. With MODULE the output of its newest attempt is printed unchanged, or with -f of every attempt in turn.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "follow the output until the run has finished", HideDefault: true, Local: true},
			&cli.IntFlag{Name: "attempt", Usage: "number `N` of the attempt; needs MODULE", HideDefault: true, Local: true},
			&cli.IntFlag{Name: "tail", Usage: "number `N` of lines to begin with, of each module", HideDefault: true, Local: true},
			&cli.StringFlag{Name: "since", Usage: "`TIME` from which output is printed: a duration before now such as 10m, or 2006-01-02T15:04:05Z", Local: true},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "print the time of each line", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "json", Usage: "print output events as lines of JSON", HideDefault: true, Local: true},
		},
		Action: c.env.action(1, 2, c.run),
	}
}

func (c logsCommand) run(ctx context.Context, cmd *cli.Command) error {
	ref, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	module, attempt := cmd.Args().Get(1), cmd.Int("attempt")
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("logs: %.80q cannot be the name of a module", module)
	case attempt < 0 || cmd.IsSet("attempt") && attempt == 0:
		return usagef("-attempt %d: attempts are counted from 1", attempt)
	case attempt > 0 && module == "":
		return usagef("logs: -attempt needs MODULE")
	}

	o, err := c.part(cmd)
	if err != nil {
		return err
	}

	api, id, err := c.env.connectRun(ctx, ref)
	if err != nil {
		return err
	}

	signals, back := c.env.signals()
	defer back()
	ctx, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	if o.Once && module != "" && !cmd.Bool("json") && o.Lines == 0 && o.Since.IsZero() && !o.Times {
		return cause(ctx, c.printLog(ctx, api, id, module, attempt))
	}

	if o.Once && module != "" && attempt == 0 {
		// Of one module, without -f, it is the newest attempt.
		r, info, err := api.Modules().Log(ctx, id, module, client.LogOptions{})
		if err != nil {
			return cause(ctx, err)
		}

		_ = r.Close() // only its number was wanted
		attempt = info.Attempt
	}

	if module != "" {
		o.Modules = []string{module}
	}

	if attempt > 0 {
		o.Positions = map[string]wire.LogPosition{module: {Attempt: attempt}}
	}

	printer := terminal.NewLogPrinter(c.env.console(), terminal.LogStyle{Attempt: attempt, Raw: module != "", JSON: cmd.Bool("json"), Times: o.Times})
	err = api.Runs().Follow(ctx, id, o, printer.Event)
	printer.End()
	if errors.Is(err, terminal.ErrLogComplete) {
		err = nil
	}

	return cause(ctx, err)
}

// part reads which part of the output is wanted.
func (c logsCommand) part(cmd *cli.Command) (client.FollowOptions, error) {
	o := client.FollowOptions{Once: !cmd.Bool("f"), Lines: cmd.Int("tail"), Times: cmd.Bool("timestamps")}
	if cmd.IsSet("tail") && (o.Lines < 1 || o.Lines > 1_000_000) {
		return o, usagef("-tail %d: expected from 1 to 1000000 lines", o.Lines)
	}

	if text := cmd.String("since"); cmd.IsSet("since") {
		var err error
		if o.Since, err = wire.ParseSince(text, c.env.now()); err != nil {
			return o, usagef("-%w", err)
		}
	}

	return o, nil
}

// printLog copies the output of one attempt as far as it is there.
func (c logsCommand) printLog(ctx context.Context, api *client.Client, id pipeline.RunID, module string, attempt int) error {
	r, info, err := api.Modules().Log(ctx, id, module, client.LogOptions{Attempt: attempt})
	if err != nil {
		return err
	}

	defer r.Close()
	if info.Attempt == 0 {
		c.tellChild(ctx, api, id, module)
	}
	if !c.env.stdout.Terminal {
		if _, err := io.Copy(c.env.stdout, r); err != nil && c.env.stdout.Err() == nil {
			return wrap("read output", err)
		}
		return c.env.stdout.Err()
	}

	return terminal.NewConsole(c.env.console()).PrintText(r)
}

// tellChild says where the output is of a module that runs a pipeline: it has none of its
// own.
func (c logsCommand) tellChild(ctx context.Context, api *client.Client, id pipeline.RunID, module string) {
	run, err := api.Runs().Get(ctx, id)
	if err != nil {
		return // it prints nothing, which is right
	}
	for i := range run.Modules {
		if child := run.Modules[i].Child(); run.Modules[i].Name == module && child != nil {
			c.env.tell("%s runs a pipeline: pipelined logs %d has its output", module, child.Number)
		}
	}
}
