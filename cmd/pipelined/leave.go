package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// leaveCommand is `pipelined leave`.
type leaveCommand struct{ env *environment }

func (c leaveCommand) command() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "removes a node from the cluster permanently",
		Description: "The node that -address names is drained, what only it has is copied to the others, and it is removed; then its agent ends. To stop it temporarily, stop the agent instead.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "do not ask for confirmation", HideDefault: true, Local: true},
		},
		Action: c.env.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			api, err := c.env.connectCluster(ctx, "leave")
			if err != nil {
				return err
			}

			// The node that is meant, not one that answers in its place.
			if api, err = api.At(api.Address()); err != nil {
				return err
			}

			h, err := api.Health(ctx)
			if err != nil {
				return err
			}

			// The calls may go another way than the scheme of the address that a person uses.
			_, shown, _ := strings.Cut(api.Address(), "://")
			if !cmd.Bool("yes") {
				if !c.env.interactive {
					return usagef("leave: this removes %s (%s) from its cluster permanently: confirm with -yes, or choose another node with -address", h.Node, shown)
				}

				ok, err := c.env.confirm(fmt.Sprintf("Remove %s (%s) from its cluster permanently?", h.Node, shown))
				if err != nil {
					return err
				}

				if !ok {
					return failf(exitFailed, "leave: not confirmed, nothing was changed")
				}
			}

			if err := api.Cluster().Leave(ctx, ""); err != nil {
				return err
			}

			c.env.tell("%s (%s) is leaving the cluster", h.Node, shown)
			return c.waitGone(ctx, api.Address(), h)
		}),
	}
}

// leaveLimit bounds how long a node that leaves is waited for: it first lets
// what runs there end, and stops what does not.
const leaveLimit = 2 * time.Minute

// waitGone waits until the agent of a node that leaves has ended.
func (c leaveCommand) waitGone(ctx context.Context, address string, was wire.Health) error {
	ctx, cancel := context.WithTimeoutCause(ctx, leaveLimit, failf(exitTimeout, "%s has not ended within %s; it is still leaving", was.Node, leaveLimit))
	defer cancel()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	own, err := connector(c).newSelfToken()
	if err != nil {
		return err
	}
	server := own.server()
	for {
		h, err := askHealth(ctx, address, server)
		if ctx.Err() == nil && (err != nil && !terminal.Transient(err) || refused(err) || err == nil && h.NodeID != was.NodeID) {
			c.env.tell("%s has left", was.Node)
			return nil
		}
		if err == nil && !h.Leaving && h.LeaveRefused != "" {
			return failf(exitFailed, "%s stays in the cluster: %s", was.Node, h.LeaveRefused)
		}

		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// refused reports that no process listens where a call went.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) // ENOENT: of a socket
}
