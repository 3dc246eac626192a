package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// approvalsCommand is `pipelined approvals`.
type approvalsCommand struct{ env *environment }

func (c approvalsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "approvals", Usage: "lists the modules that wait for approval, over all runs",
		Flags: []cli.Flag{jsonFlag()},
		Action: answer(c.env, c.env.connectRead, func(ctx context.Context, api *client.Client) (wire.ApprovalList, error) {
			return api.Modules().Approvals(ctx)
		}, c.print),
	}
}

func (c approvalsCommand) print(list wire.ApprovalList) error {
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
}
