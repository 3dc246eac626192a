package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

func (p *program) againCommand() *cli.Command {
	return &cli.Command{
		Name: "retry", Usage: "makes a run that is over go on, and follows it", ArgsUsage: "RUN",
		Description: "What succeeded stays as it is; the rest runs again, with a fresh budget of tries. With -from a module runs again although it succeeded, and so does all that depends on it.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "from", Usage: "run this `MODULE` again, and what depends on it; may be repeated", Local: true},
			&cli.BoolFlag{Name: "detach", Usage: "do not follow the run", HideDefault: true, Local: true},
			jsonFlag(),
		},
		Action: p.action(1, 1, p.again),
	}
}

func (p *program) again(ctx context.Context, cmd *cli.Command) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}
	for _, m := range cmd.StringSlice("from") {
		if !wire.ValidModule(m) {
			return usagef("-from %.80q: cannot be the name of a module", m)
		}
	}
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	before, err := c.Runs().Get(ctx, id)
	if err != nil {
		return err
	}
	run, err := c.Runs().Retry(ctx, id, cmd.StringSlice("from"))
	if err != nil {
		return err
	}
	if cmd.Bool("detach") {
		if cmd.Bool("json") {
			return p.printJSON(run)
		}
		fmt.Fprintln(p.stdout, run.ID)
		return nil
	}
	p.tell("run %s goes on: %d of %d modules are done", run.ID, run.ModulesDone, run.ModuleCount)
	signals, back := p.signals()
	defer back()
	_, err = p.watchRun(ctx, c.Runs(), id, watchOptions{json: cmd.Bool("json"), positions: shown(&before), signals: signals,
		interrupt: func(ctx context.Context, _ os.Signal) error { return p.detachOrCancel(ctx, c, id, signals) }})
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

func (p *program) whyCommand() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "tells why a run or a module is where it is", ArgsUsage: "RUN [MODULE]",
		Description: "What it waits for (a dependency, a lock and who holds it, a worker that has what it requires, a slot), why it was skipped, where it ran, why it was repeated.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: p.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			id, err := runArg(cmd, 0)
			if err != nil {
				return err
			}
			module := cmd.Args().Get(1)
			if cmd.Args().Len() == 2 && !wire.ValidModule(module) {
				return usagef("why: %.80q cannot be the name of a module", module)
			}
			c, err := p.connectRead(ctx)
			if err != nil {
				return err
			}
			why, err := c.Runs().Why(ctx, id, module)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				return p.printJSON(why)
			}
			fmt.Fprintf(p.stdout, "run %s of %s: %s%s\n", why.Run.ID, terminal.Clean(why.Run.Pipeline), terminal.StateWords(string(why.Run.State)), terminal.Clean(terminal.ReasonSuffix(why.Run.Reason)))
			for _, m := range why.Module {
				fmt.Fprintf(p.stdout, "%s: %s\n", terminal.Clean(m.Name), m.State)
				for _, fact := range m.Because {
					fmt.Fprintf(p.stdout, "  - %s\n", terminal.Clean(fact))
				}
			}
			return nil
		}),
	}
}

func (p *program) locksCommand() *cli.Command {
	return &cli.Command{
		Name: "locks", Usage: "lists the locks of not_in_parallel, who holds them and who waits",
		Flags: []cli.Flag{jsonFlag()},
		Action: p.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			list, err := c.Cluster().Locks(ctx)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				return p.printJSON(list)
			}
			t := terminal.NewTable(p.stdout, "LOCK", "MODULE", "RUN", "WORKER", "STATE", "SINCE")
			now := p.now()
			for _, l := range list.Locks {
				if h := l.Holder; h != nil {
					t.Row(terminal.Clean(l.Key), h.Module, string(h.Run), h.Worker, "holds it", terminal.Elapsed(h.Since, now))
				}
				for i, w := range l.Waiters {
					t.Row(terminal.Clean(l.Key), w.Module, string(w.Run), "", fmt.Sprintf("waits (%d)", i+1), terminal.Elapsed(w.Since, now))
				}
			}
			return t.Flush()
		}),
	}
}
