package main

import (
	"context"

	"github.com/urfave/cli/v3"
)

// helpCommand is `pipelined help`.
type helpCommand struct{ env *environment }

// command is `pipelined help [COMMAND…]`.
func (c helpCommand) command() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "shows the help of a command", ArgsUsage: "[COMMAND]",
		Action: c.env.action(0, 2, func(ctx context.Context, cmd *cli.Command) error {
			at := cmd.Root()
			for _, name := range cmd.Args().Slice() {
				sub := at.Command(name)
				if sub == nil {
					return unknownCommand(at, name)
				}

				at = sub
			}

			if at == cmd.Root() {
				return cli.ShowRootCommandHelp(at)
			}

			if len(at.VisibleCommands()) > 0 {
				return cli.ShowSubcommandHelp(at)
			}

			parent := at.Lineage()[1]
			return cli.ShowCommandHelp(ctx, parent, at.Name)
		}),
	}
}
