package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

func (p *program) membersCommand() *cli.Command {
	return &cli.Command{
		Name: "members", Usage: "lists the nodes of the cluster",
		Flags: []cli.Flag{jsonFlag()},
		Action: p.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			list, err := c.Cluster().Members(ctx)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				if list.Members == nil {
					list.Members = []wire.Member{}
				}
				return p.printJSON(list)
			}
			return p.memberTable(list.Members)
		}),
	}
}

func (p *program) memberTable(members []wire.Member) error {
	t := terminal.NewTable(p.stdout, "NODE", "STATUS", "ROLE", "MODE", "LOAD", "HTTP", "VERSION")
	for _, m := range members {
		status := m.Status
		if m.Draining {
			status += ", draining"
		}
		if left := m.AwayUntil.Sub(p.now()); !m.AwayUntil.IsZero() && left > 0 {
			status += ", back within " + terminal.ShortDuration(left)
		}
		t.Row(m.Name, status, m.Role, string(m.Mode), fmt.Sprintf("%d/%d", m.CurrentLoad, m.MaxLoad), m.HTTP, m.Version)
	}
	return t.Flush()
}

func (p *program) workersCommand() *cli.Command {
	return &cli.Command{
		Name: "workers", Usage: "lists who can execute modules",
		Flags: []cli.Flag{jsonFlag()},
		Action: p.action(0, 0, func(ctx context.Context, cmd *cli.Command) error {
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			list, err := c.Workers().List(ctx)
			if err != nil {
				return err
			}
			if cmd.Bool("json") {
				if list.Workers == nil {
					list.Workers = []wire.WorkerNode{}
				}
				return p.printJSON(list)
			}
			t := terminal.NewTable(p.stdout, "WORKER", "STATUS", "LOAD", "CPU", "MEMORY", "OS", "ARCH", "TAGS", "TOOLS", "ENDPOINT")
			for _, w := range list.Workers {
				name := w.Name
				if name == "" {
					name = w.ID
				}
				if w.Outside {
					name += " (outside)"
				}
				tags := slices.Sorted(slices.Values(w.Capabilities.Tags))
				t.Row(name, w.Status, fmt.Sprintf("%d/%d", w.CurrentLoad, w.Capabilities.MaxParallelModules),
					reservedOf(w.Capabilities.CPU > 0, fmt.Sprintf("%v/%v", w.Reserved.CPU, w.Capabilities.CPU)),
					reservedOf(w.Capabilities.Memory > 0, fmt.Sprintf("%s/%s", pipeline.FormatBytes(w.Reserved.Memory), pipeline.FormatBytes(w.Capabilities.Memory))),
					w.Capabilities.OS, w.Capabilities.Arch, strings.Join(tags, ","), fmt.Sprint(len(w.Capabilities.InstalledTools)), w.Endpoint)
			}
			return t.Flush()
		}),
	}
}

// reservedOf is how much of something is reserved, where it is known how much
// there is.
func reservedOf(known bool, text string) string {
	if !known {
		return "unknown"
	}
	return text
}
