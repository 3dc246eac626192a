package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
)

// drainCommand is `pipelined drain`.
type drainCommand struct{ env *environment }

func (c drainCommand) command() *cli.Command {
	return &cli.Command{
		Name: "drain", Usage: "drains a node: it gets no new modules", ArgsUsage: "NODE",
		Description: "Running modules continue; with -deadline, those that still run then are stopped and repeated elsewhere. The node stays a member.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "off", Usage: "end draining", HideDefault: true, Local: true},
			&cli.DurationFlag{Name: "deadline", Usage: "`DURATION` after which running modules are stopped (default never)", HideDefault: true, Local: true},
		},
		Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			node, off, deadline := cmd.Args().First(), cmd.Bool("off"), cmd.Duration("deadline")
			switch {
			case node == "":
				return usagef("drain: the node's name is empty")
			case deadline < 0:
				return usagef("-deadline %s: expected a positive duration such as 5m", deadline)
			case off && deadline > 0:
				return usagef("drain: -off and -deadline exclude each other")
			}

			api, err := c.env.connectCluster(ctx, "drain")
			if err != nil {
				return err
			}

			if err := api.Cluster().Drain(ctx, node, wire.DrainRequest{Off: off, DeadlineSeconds: deadline.Seconds()}); err != nil {
				return err
			}

			text := "draining"
			if off {
				text = "draining off"
			}

			c.env.tell("%s: %s", node, text)
			return nil
		}),
	}
}
