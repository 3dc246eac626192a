package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
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

			// The node that is meant, not one that answers in its place. The others are asked
			// how that ended.
			_ = api.Learn(ctx) // without it the end of the node may stay unknown
			others := api
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
			return c.waitGone(ctx, api.Address(), others, h)
		}),
	}
}

// leaveLimit bounds how long a node that leaves is waited for: it first lets
// what runs there end, and stops what does not.
const leaveLimit = 2 * time.Minute

// waitGone waits until the agent of a node that leaves has ended, and asks the other
// nodes whether it has left: it may have been killed.
func (c leaveCommand) waitGone(ctx context.Context, address string, others *client.Client, was wire.Health) error {
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
		switch {
		case ctx.Err() != nil:
		case err == nil && h.NodeID != was.NodeID:
			c.env.tell("%s has left", was.Node)
			return nil
		case err != nil && !terminal.Transient(err) || refused(err):
			status, err := statusElsewhere(ctx, others, address, was.NodeID)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				return failf(exitUnavailable, "whether %s has left is unknown: its agent has ended, and no other node says how (%w); see pipelined members", was.Node, err)
			case status == "left":
				c.env.tell("%s has left", was.Node)
				return nil
			case status != "alive" && status != "suspect": // these come before it is known
				return failf(exitFailed, "%s has not left: its agent ended before, and the others count it as %s: start it and repeat pipelined leave, or take it out with pipelined members remove %[1]s", was.Node, status)
			}
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

// statusElsewhere asks the nodes at other addresses for the status of a node, until one
// answers. One that they do not list has left.
func statusElsewhere(ctx context.Context, others *client.Client, address string, node pipeline.NodeID) (string, error) {
	err := errors.New("none is known")
	for _, other := range others.Addresses() {
		if other == address {
			continue
		}
		list, lastErr := membersAt(ctx, others, other)
		if lastErr != nil {
			err = lastErr
			continue
		}
		i := slices.IndexFunc(list.Members, func(m wire.Member) bool { return m.ID == node })
		if i >= 0 {
			return list.Members[i].Status, nil
		}
		return "left", nil
	}
	return "", err
}

// membersAt asks one node for the members of its cluster, once. A node that has no part in
// raft cannot know which have left, and is not asked.
func membersAt(ctx context.Context, api *client.Client, address string) (wire.MemberList, error) {
	one, err := api.At(address)
	if err != nil {
		return wire.MemberList{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	h, err := one.Health(ctx)
	if err != nil {
		return wire.MemberList{}, err
	}
	if h.Role == "worker" {
		return wire.MemberList{}, errors.New("only workers answer")
	}
	return one.Cluster().Members(ctx)
}

// refused reports that no process listens where a call went.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) // ENOENT: of a socket
}
