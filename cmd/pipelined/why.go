package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// whyCommand is `pipelined why`.
type whyCommand struct{ env *environment }

func (c whyCommand) command() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "explains the state of a run or a module", ArgsUsage: "RUN [MODULE]",
		Description: "Explains what it waits for (a dependency, a lock and its holder, a suitable worker, a slot), why it was skipped, where it ran, why it was repeated.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: c.env.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			module := cmd.Args().Get(1)
			if cmd.Args().Len() == 2 && !wire.ValidModule(module) {
				return usagef("why: %.80q cannot be the name of a module", module)
			}

			api, id, err := c.env.connectRun(ctx, ref)
			if err != nil {
				return err
			}

			why, err := api.Runs().Why(ctx, id, module)
			if err != nil {
				return err
			}

			if cmd.Bool("json") {
				return c.env.printJSON(why)
			}

			fmt.Fprintf(c.env.stdout, "run %s of %s: %s%s\n", why.Run.ID, terminal.Clean(why.Run.Pipeline), pipeline.Words(why.Run.State), terminal.Clean(terminal.ReasonSuffix(why.Run.Reason)))
			for i := range why.Run.Notices {
				fmt.Fprintf(c.env.stdout, "notify %s\n", noticeText(&why.Run.Notices[i], c.env.now()))
			}
			for _, fact := range why.Because {
				fmt.Fprintf(c.env.stdout, "  - %s\n", terminal.Clean(fact))
			}
			for _, m := range why.Module {
				fmt.Fprintf(c.env.stdout, "%s: %s\n", terminal.Clean(m.Name), m.State)
				for _, fact := range m.Because {
					fmt.Fprintf(c.env.stdout, "  - %s\n", terminal.Clean(fact))
				}
			}

			return nil
		}),
	}
}
