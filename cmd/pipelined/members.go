package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// membersCommand is `pipelined members`.
type membersCommand struct{ env *environment }

func (c membersCommand) command() *cli.Command {
	return &cli.Command{
		Name: "members", Usage: "lists the nodes of the cluster",
		Flags: []cli.Flag{jsonFlag()},
		Action: c.env.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			api, err := c.env.connect(ctx)
			if err != nil {
				return err
			}

			list, err := api.Cluster().Members(ctx)
			if err != nil {
				return err
			}

			if cmd.Bool("json") {
				if list.Members == nil {
					list.Members = []wire.Member{}
				}
				return c.env.printJSON(list)
			}

			return c.env.printMembers(list.Members)
		}),
	}
}

func (env *environment) printMembers(members []wire.Member) error {
	t := terminal.NewTable(env.stdout, "NODE", "STATUS", "ROLE", "MODE", "LOAD", "HTTP", "VERSION")
	for _, m := range members {
		status := m.Status
		if m.Draining {
			status += ", draining"
		}

		if left := m.AwayUntil.Sub(env.now()); !m.AwayUntil.IsZero() && left > 0 {
			status += ", back within " + terminal.ShortDuration(left)
		}

		if d := time.Duration(m.ClockAheadSeconds * float64(time.Second)); d > 0 {
			status += ", clock " + terminal.ShortDuration(d) + " ahead"
		} else if d < 0 {
			status += ", clock " + terminal.ShortDuration(-d) + " behind"
		}

		t.Row(m.Name, status, m.Role, string(m.Mode), fmt.Sprintf("%d/%d", m.CurrentLoad, m.MaxLoad), m.HTTP, m.Version)
	}

	return t.Flush()
}
