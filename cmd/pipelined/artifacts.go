package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// artifactsCommand is `pipelined artifacts`.
type artifactsCommand struct{ env *environment }

func (c artifactsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "artifacts", Usage: "lists or downloads the output files of a run", ArgsUsage: "RUN [MODULE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "`DIR` to download to, as DIR/<module>/<path>", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 2, c.run),
	}
}

func (c artifactsCommand) run(ctx context.Context, cmd *cli.Command) error {
	ref, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	module, dir := cmd.Args().Get(1), cmd.String("o")
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("artifacts: %.80q cannot be the name of a module", module)
	case cmd.IsSet("o") && dir == "":
		return usagef("artifacts: -o names no directory")
	}

	api, id, err := c.env.connectRun(ctx, ref)
	if err != nil {
		return err
	}

	list, err := api.Artifacts().List(ctx, id, module)
	if err != nil {
		return err
	}

	if list.Artifacts == nil {
		list.Artifacts = []wire.Artifact{}
	}

	if dir != "" {
		got, err := fetchArtifacts(ctx, api, id, dir, list.Artifacts)
		if err != nil {
			return err
		}

		there := ""
		if n := got.there.Load(); n > 0 {
			there = fmt.Sprintf(", %d of them unchanged", n)
		}

		for _, text := range got.leftOut {
			c.env.tell("warning: left out %s", text)
		}
		c.env.tell("%s (%s) in %s%s", numberOf(len(list.Artifacts)-len(got.leftOut), "file"), humanize.IBytes(uint64(got.bytes.Load())), dir, there)
	}

	if cmd.Bool("json") {
		return c.env.printJSON(list)
	}

	if dir != "" {
		return nil
	}

	t := terminal.NewTable(c.env.stdout, "MODULE", "PATH", "SIZE", "MODE")
	for _, a := range list.Artifacts {
		name := a.Path
		if a.Link != "" {
			name += " -> " + a.Link
		}

		t.Row(a.Module, name, humanize.IBytes(uint64(max(a.Size, 0))), fmt.Sprintf("%04o", a.Mode&0o777))
	}

	return t.Flush()
}
