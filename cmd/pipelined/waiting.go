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

// waitingCommand is `pipelined waiting`.
type waitingCommand struct{ env *environment }

func (c waitingCommand) command() *cli.Command {
	return &cli.Command{
		Name: "waiting", Usage: "lists what waits in all runs, and for what",
		Description: "Modules that wait for other modules of their run are counted alone. Modules of a run that wait for the same are one line.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: answer(c.env, c.env.connect, func(ctx context.Context, api *client.Client) (wire.WaitingList, error) {
			return api.Cluster().Waiting(ctx)
		}, c.print),
	}
}

func (c waitingCommand) print(list wire.WaitingList) error {
	t := terminal.NewTable(c.env.stdout, "RUN", "MODULE", "SINCE", "WAITS")
	now := c.env.now()
	for _, w := range list.Waiting {
		t.Row(fmt.Sprintf("%s %d", w.Pipeline, w.Number), terminal.Clean(waitingModules(w)), terminal.Elapsed(w.Since, now), terminal.Clean(w.Reason))
	}
	return t.Flush()
}

// waitingModules names the modules of an entry.
func waitingModules(w wire.Waiting) string {
	names := strings.Join(w.Modules, ", ")
	switch more := w.Count - len(w.Modules); {
	case names == "":
		return numberOf(w.Count, "module")
	case more > 0:
		return fmt.Sprintf("%s and %d more", names, more)
	}
	return names
}
