package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// nodesCommand is `pipelined nodes`.
type nodesCommand struct{ env *environment }

func (c nodesCommand) command() *cli.Command {
	return &cli.Command{
		Name: "nodes", Usage: "shows which nodes reach which, how far they are behind, and their disks",
		Description: "For each other node: the round trip of the last probe, or failed, silent (others say that it is alive, but it does not answer this node) or new.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: answer(c.env, c.env.connect, func(ctx context.Context, api *client.Client) (wire.NodeReports, error) {
			return api.Cluster().Nodes(ctx)
		}, c.print),
	}
}

func (c nodesCommand) print(list wire.NodeReports) error {
	t := terminal.NewTable(c.env.stdout, "NODE", "UP", "BEHIND", "DISK FREE", "SEES")
	for i := range list.Nodes {
		n := &list.Nodes[i]
		if n.Missing != "" {
			t.Row(n.Name, "-", "-", "-", terminal.Clean(n.Missing))
			continue
		}

		behind, disk := "-", "-"
		if n.Lag != nil {
			behind = fmt.Sprint(*n.Lag)
		}
		if d := n.Disk; d != nil && d.TotalBytes > 0 {
			disk = fmt.Sprintf("%s of %s", pipeline.FormatBytes(int64(d.FreeBytes)), pipeline.FormatBytes(int64(d.TotalBytes)))
		}
		t.Row(n.Name, terminal.Elapsed(n.StartedAt, c.env.now()), behind, disk, sightsText(n.Sees))
	}
	if err := t.Flush(); err != nil {
		return err
	}

	for _, text := range list.Findings {
		fmt.Fprintln(c.env.stdout, terminal.Clean(text))
	}
	return nil
}

// sightsText lists the other nodes with their round trips.
func sightsText(list []wire.Sight) string {
	if len(list) == 0 {
		return "no other node"
	}
	var out []string
	for _, s := range list {
		text := s.Status
		if s.Status == pipeline.MemberAlive {
			text = time.Duration(s.RoundTripSeconds * float64(time.Second)).Round(10 * time.Microsecond).String()
		}
		out = append(out, s.Node+" "+text)
	}
	return strings.Join(out, ", ")
}
