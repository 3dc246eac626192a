package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gdamore/tcell/v3"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/internal/top"
)

// topCallLimit bounds one try of a call of `pipelined top`: a node that stands still is
// left for another one after that.
const topCallLimit = 2 * time.Second

// topCommand is `pipelined top`.
type topCommand struct{ env *environment }

func (c topCommand) command() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "shows nodes, runs and modules live, on the whole terminal",
		Description: "With keys for output, reasons, cancel, retry and drain; ? shows them. If the node that answers dies, it continues at another one. Leaving it ends nothing.",
		Action:      c.env.action(0, 0, c.run),
	}
}

func (c topCommand) run(ctx context.Context, _ *cli.Command) error {
	if !c.env.interactive || !c.env.stdout.Terminal {
		return usagef("top: needs a terminal; `pipelined status` and `pipelined list` print into a pipe")
	}

	if c.env.flags.address == runAddress {
		return usagef("top: needs a cluster; -address %s is what `pipelined run` has stored on this machine", runAddress)
	}

	api, err := connector(c).connectWith(ctx, func(cfg *client.Config) { cfg.CallTimeout = topCallLimit })
	if err != nil {
		return err
	}

	signals, back := c.env.signals()
	defer back()
	ctx, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	notes, quiet := c.env.retries.Take()
	defer quiet()

	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("open the terminal (TERM=%s): %w", terminal.Clean(os.Getenv("TERM")), err)
	}
	defer screen.Fini()

	return top.New(top.Config{Cluster: top.Client(api), Screen: screen, Now: c.env.now, Notes: notes, Unicode: terminal.SpeaksUnicode(c.env.getenv)}).Run(ctx)
}
