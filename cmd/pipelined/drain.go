package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

func (p *program) drainCommand() *cli.Command {
	return &cli.Command{
		Name: "drain", Usage: "gives a node no more work", ArgsUsage: "NODE",
		Description: "What runs on the node goes on to its end; with -deadline, what still runs then is stopped and repeated elsewhere. The node stays a member.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "off", Usage: "take the node into use again", HideDefault: true, Local: true},
			&cli.DurationFlag{Name: "deadline", Usage: "stop what still runs after this `DURATION` (default: never)", HideDefault: true, Local: true},
		},
		Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
			node, off, deadline := cmd.Args().First(), cmd.Bool("off"), cmd.Duration("deadline")
			switch {
			case node == "":
				return usagef("drain: the node's name is empty")
			case deadline < 0:
				return usagef("-deadline %s: want a positive duration such as 5m", deadline)
			case off && deadline > 0:
				return usagef("drain: -off and -deadline exclude each other")
			}
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			if err := c.Cluster().Drain(ctx, node, wire.DrainRequest{Off: off, DeadlineSeconds: deadline.Seconds()}); err != nil {
				return err
			}
			text := "gets no more work"
			if off {
				text = "is in use again"
			}
			p.tell("%s %s", node, text)
			return nil
		}),
	}
}

func (p *program) leaveCommand() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "takes the node that is asked out of its cluster, for good",
		Description: "The node is emptied, removed from the voters and forgotten; its agent ends. To stop it for a while, stop the agent instead.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "do not ask", HideDefault: true, Local: true},
		},
		Action: p.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			// The node that is meant, not one that answers in its place.
			if c, err = c.At(c.Address()); err != nil {
				return err
			}
			h, err := c.Health(ctx)
			if err != nil {
				return err
			}
			if !cmd.Bool("yes") {
				ok, err := p.confirm(fmt.Sprintf("%s (%s) leaves its cluster for good. Go on?", h.Node, c.Address()))
				if err != nil {
					return err
				}
				if !ok {
					return failf(exitFailed, "leave: nothing was changed")
				}
			}
			if err := c.Cluster().Leave(ctx, ""); err != nil {
				return err
			}
			p.tell("%s leaves the cluster", h.Node)
			return p.waitGone(ctx, c.Address(), h)
		}),
	}
}

// leaveLimit bounds how long a node that leaves is waited for: it first lets
// what runs there end, and stops what does not.
const leaveLimit = 2 * time.Minute

// waitGone waits until the agent of a node that leaves has ended.
func (p *program) waitGone(ctx context.Context, address string, was wire.Health) error {
	ctx, cancel := context.WithTimeoutCause(ctx, leaveLimit, failf(exitTimeout, "%s has not ended within %s; it goes on leaving", was.Node, leaveLimit))
	defer cancel()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	tlsConfig := p.newOwnToken().tls()
	for {
		h, err := askHealth(ctx, address, tlsConfig)
		if ctx.Err() == nil && (err != nil && !terminal.Transient(err) || refused(err) || err == nil && h.NodeID != was.NodeID) {
			p.tell("%s has left", was.Node)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// refused reports that nobody listens where a call went.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// tell prints a line of progress on stderr.
func (p *program) tell(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, "%s\n", terminal.Clean(fmt.Sprintf(format, args...)))
		p.stderr.Flush()
	}
}

// confirm asks a question; without a person to ask, -yes must have been given.
func (p *program) confirm(question string) (bool, error) {
	if !p.interactive {
		return false, usagef("this asks before it acts, and nobody is there to answer: give -yes")
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", terminal.Clean(question))
	p.stderr.Flush()
	answer, err := bufio.NewReader(io.LimitReader(p.stdin, 1024)).ReadString('\n')
	if err != nil && answer == "" {
		return false, nil
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
