package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

func (p *program) artifactsCommand() *cli.Command {
	return &cli.Command{
		Name: "artifacts", Usage: "lists the output files of a run, or fetches them", ArgsUsage: "RUN [MODULE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "write them into this `DIR`, as DIR/<module>/<path>", Local: true},
			jsonFlag(),
		},
		Action: p.action(1, 2, p.artifacts),
	}
}

func (p *program) artifacts(ctx context.Context, cmd *cli.Command) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}
	module, dir := cmd.Args().Get(1), cmd.String("o")
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("artifacts: %.80q cannot be the name of a module", module)
	case cmd.IsSet("o") && dir == "":
		return usagef("artifacts: -o names no folder")
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	list, err := c.Artifacts().List(ctx, id, module)
	if err != nil {
		return err
	}
	if list.Artifacts == nil {
		list.Artifacts = []wire.Artifact{}
	}
	if dir != "" {
		got, err := fetchArtifacts(ctx, c, id, dir, list.Artifacts)
		if err != nil {
			return err
		}
		there := ""
		if n := got.there.Load(); n > 0 {
			there = fmt.Sprintf(", %d of them there already", n)
		}
		p.tell("%d files (%s) in %s%s", len(list.Artifacts), humanize.IBytes(uint64(got.bytes.Load())), dir, there)
	}
	if cmd.Bool("json") {
		return p.printJSON(list)
	}
	if dir != "" {
		return nil
	}
	t := terminal.NewTable(p.stdout, "MODULE", "PATH", "SIZE", "MODE")
	for _, a := range list.Artifacts {
		name := a.Path
		if a.Link != "" {
			name += " -> " + a.Link
		}
		t.Row(a.Module, name, humanize.IBytes(uint64(max(a.Size, 0))), fmt.Sprintf("%04o", a.Mode&0o777))
	}
	return t.Flush()
}
