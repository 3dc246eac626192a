package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
)

// approvalsCommand is `pipelined approvals`.
type approvalsCommand struct{ env *environment }

func (c approvalsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "approvals", Usage: "lists the modules that wait for approval, over all runs",
		Flags: []cli.Flag{jsonFlag()},
		Action: c.env.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			api, err := c.env.connectRead(ctx)
			if err != nil {
				return err
			}
			list, err := api.Histories().Approvals(ctx)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				return c.env.printJSON(list)
			}

			t := terminal.NewTable(c.env.stdout, "RUN", "PIPELINE", "MODULE", "SINCE", "WHO MAY", "QUESTION")
			now := c.env.now()
			for i := range list.Approvals {
				a := &list.Approvals[i]
				who := "who may submit"
				if len(a.Approvers) > 0 {
					who = strings.Join(a.Approvers, ", ")
				}
				if a.May {
					who += " (you)"
				}
				t.Row(fmt.Sprint(a.Number), a.Pipeline, a.Module, terminal.Ago(a.Since, now), who, terminal.OneLine(a.Message))
			}
			return t.Flush()
		}),
	}
}
