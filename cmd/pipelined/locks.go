package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// locksCommand is `pipelined locks`.
type locksCommand struct{ env *environment }

func (c locksCommand) command() *cli.Command {
	return &cli.Command{
		Name: "locks", Usage: "lists locks (not_in_parallel) with holders and queues",
		Flags: []cli.Flag{jsonFlag()},
		Action: answer(c.env, c.env.connect, func(ctx context.Context, api *client.Client) (wire.LockList, error) {
			return api.Cluster().Locks(ctx)
		}, c.print),
	}
}

func (c locksCommand) print(list wire.LockList) error {
	t := terminal.NewTable(c.env.stdout, "LOCK", "MODULE", "RUN", "WORKER", "STATE", "SINCE")
	now := c.env.now()
	for _, l := range list.Locks {
		for i, h := range l.Holders {
			state := "held"
			if l.Limit > 1 || len(l.Holders) > 1 {
				state = fmt.Sprintf("held (%d of %d)", i+1, l.Limit)
			}
			t.Row(terminal.Clean(l.Key), h.Module, string(h.Run), h.Worker, state, terminal.Elapsed(h.Since, now))
		}
		for i, w := range l.Waiters {
			t.Row(terminal.Clean(l.Key), w.Module, string(w.Run), "", fmt.Sprintf("waits (%d)", i+1), terminal.Elapsed(w.Since, now))
		}
	}

	return t.Flush()
}
