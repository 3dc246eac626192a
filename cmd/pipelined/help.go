package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/urfave/cli/v3"
)

// firstHelp is what `pipelined` alone prints.
const firstHelp = `pipelined runs pipelines on one machine or many, and keeps running when machines die.

  pipelined init             writes a pipeline.hcl for the project in this directory
  pipelined run [FILE]       runs a pipeline here and now, without an agent
  pipelined agent            makes this machine a node; -join ADDRESS joins a cluster
  pipelined submit [FILE]    runs a pipeline on the cluster
  pipelined status, logs     show the cluster or a run, and the output of modules
  pipelined top, ui          show everything live, in the terminal or a browser
  pipelined help [COMMAND]   lists all commands, or describes one

Example, in a project:

  pipelined init && pipelined run
`

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
				printRootHelp(at.Writer, at)
				return nil
			}

			if len(at.VisibleCommands()) > 0 {
				return cli.ShowSubcommandHelp(at)
			}

			parent := at.Lineage()[1]
			return cli.ShowCommandHelp(ctx, parent, at.Name)
		}),
	}
}

// commandGroup is what a person wants to do, and the commands for it.
type commandGroup struct {
	title    string
	commands []*cli.Command
}

// groups gives the visible commands by groups, in the order of the tree.
func groups(root *cli.Command) []commandGroup {
	var list []commandGroup
	at := map[string]int{}
	for _, cmd := range root.VisibleCommands() {
		i, known := at[cmd.Category]
		if !known {
			i = len(list)
			at[cmd.Category] = i
			list = append(list, commandGroup{title: cmd.Category})
		}
		list[i].commands = append(list[i].commands, cmd)
	}

	return list
}

// useOwnHelp makes urfave/cli print the help of the root by groups: it would sort them
// by their names, and takes no other function than by its variable.
var useOwnHelp = sync.OnceFunc(func() {
	cli.HelpPrinter = func(w io.Writer, template string, data any) {
		if cmd, ok := data.(*cli.Command); ok && cmd.Root() == cmd {
			printRootHelp(w, cmd)
			return
		}

		cli.DefaultPrintHelp(w, template, data)
	}
})

// printRootHelp prints what `pipelined help` shows.
func printRootHelp(w io.Writer, root *cli.Command) {
	fmt.Fprintf(w, "%s %s\n\nUSAGE:\n   %s\n", root.Name, root.Usage, root.UsageText)
	for _, g := range groups(root) {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, cmd := range g.commands {
			fmt.Fprintf(w, "   %-11s %s\n", cmd.Name, cmd.Usage)
		}
	}

	fmt.Fprint(w, "\nFLAGS OF EVERY COMMAND:\n")
	table := tabwriter.NewWriter(w, 1, 8, 2, ' ', 0)
	for _, f := range root.VisibleFlags() {
		fmt.Fprintf(table, "   %s\n", flagHelp(f))
	}
	_ = table.Flush() // a broken w is reported when the program ends

	var codes []string
	for _, e := range exitMeanings {
		codes = append(codes, fmt.Sprintf("%d %s", e.code, e.meaning))
	}
	fmt.Fprintf(w, "\nEXIT CODES:\n   %s\n\npipelined help COMMAND describes a command.\n%s", strings.Join(codes, "\n   "), platformNote(runtime.GOOS))
}
