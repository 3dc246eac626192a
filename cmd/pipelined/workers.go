package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// workersCommand is `pipelined workers`.
type workersCommand struct{ env *environment }

func (c workersCommand) command() *cli.Command {
	return &cli.Command{
		Name: "workers", Usage: "lists workers",
		Flags: []cli.Flag{jsonFlag()},
		Action: answer(c.env, c.env.connect, func(ctx context.Context, api *client.Client) (wire.WorkerList, error) {
			list, err := api.Workers().List(ctx)
			list.Workers = present(list.Workers)
			return list, err
		}, c.print),
	}
}

func (c workersCommand) print(list wire.WorkerList) error {
	t := terminal.NewTable(c.env.stdout, "WORKER", "STATUS", "LOAD", "CPU", "MEMORY", "OS", "ARCH", "TAGS", "TOOLS", "CONTAINERS", "ENDPOINT")
	for _, w := range list.Workers {
		name := w.Name
		if name == "" {
			name = w.ID
		}

		if w.External {
			name += " (external)"
		}

		tags := slices.Sorted(slices.Values(w.Capabilities.Tags))
		t.Row(name, w.Status, fmt.Sprintf("%d/%d", w.CurrentLoad, w.Capabilities.MaxParallelModules),
			reservedOf(w.Capabilities.CPU > 0, fmt.Sprintf("%v/%v", w.Reserved.CPU, w.Capabilities.CPU)),
			reservedOf(w.Capabilities.Memory > 0, fmt.Sprintf("%s/%s", pipeline.FormatBytes(w.Reserved.Memory), pipeline.FormatBytes(w.Capabilities.Memory))),
			w.Capabilities.OS, w.Capabilities.Arch, strings.Join(tags, ","), fmt.Sprint(len(w.Capabilities.InstalledTools)), cmp.Or(w.Capabilities.ContainerEngine, "no"), w.Endpoint)
	}

	return t.Flush()
}

// reservedOf is how much of something is reserved, if it is known how much
// there is.
func reservedOf(known bool, text string) string {
	if !known {
		return "unknown"
	}
	return text
}
