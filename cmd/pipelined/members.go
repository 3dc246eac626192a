package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// membersCommand is `pipelined members`.
type membersCommand struct{ env *environment }

func (c membersCommand) command() *cli.Command {
	return &cli.Command{
		Name: "members", Usage: "lists the nodes of the cluster",
		Flags: []cli.Flag{jsonFlag()},
		Commands: []*cli.Command{{
			Name: "remove", Usage: "takes a node that has failed out of the cluster", ArgsUsage: "NODE",
			Description: "The others do not wait for it any more, and it does not count towards a majority. A node that is alive is removed with leave.",
			Action:      c.env.action(1, 1, c.remove),
		}},
		Action: answer(c.env, c.env.connect, func(ctx context.Context, api *client.Client) (wire.MemberList, error) {
			list, err := api.Cluster().Members(ctx)
			list.Members = present(list.Members)
			return list, err
		}, c.print),
	}
}

func (c membersCommand) print(list wire.MemberList) error {
	return c.env.printMembers(list.Members)
}

func (c membersCommand) remove(ctx context.Context, cmd *cli.Command) error {
	node := cmd.Args().First()
	if node == "" {
		return usagef("members remove: the node's name is empty")
	}

	api, err := c.env.connectCluster(ctx, "members remove")
	if err != nil {
		return err
	}

	if err := api.Cluster().Remove(ctx, node); err != nil {
		return err
	}

	c.env.tell("removed %s", node)
	return nil
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

		load := "-"
		if m.Status == pipeline.MemberAlive {
			load = fmt.Sprintf("%d/%d", m.CurrentLoad, m.MaxLoad)
		}

		t.Row(m.Name, status, m.Role, string(m.Mode), load, m.HTTP, m.Version)
	}

	return t.Flush()
}
