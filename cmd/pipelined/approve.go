package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// decisionCommand is `pipelined approve` and `pipelined reject`.
type decisionCommand struct{ env *environment }

func (c decisionCommand) approve() *cli.Command {
	return &cli.Command{
		Name: "approve", Usage: "approves a module that waits for approval", ArgsUsage: "RUN [MODULE]",
		Description: "MODULE may be left out if only one module waits. Approving twice is harmless; a rejection or an expired approval cannot be changed.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "comment", Usage: "`TEXT` that is stored with the approval; later modules see it as module.NAME.result.comment", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			return c.decide(ctx, cmd, "comment", client.Modules.Approve)
		}),
	}
}

func (c decisionCommand) reject() *cli.Command {
	return &cli.Command{
		Name: "reject", Usage: "rejects a module that waits for approval; the module fails", ArgsUsage: "RUN [MODULE]",
		Description: "MODULE may be left out if only one module waits.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is stored with the rejection", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			return c.decide(ctx, cmd, "reason", client.Modules.Reject)
		}),
	}
}

// decide sends a decision about a module.
func (c decisionCommand) decide(ctx context.Context, cmd *cli.Command, flag string, call func(client.Modules, context.Context, pipeline.RunID, string, string) (wire.Module, error)) error {
	ref, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	module, text := strings.TrimPrefix(cmd.Args().Get(1), "module."), cmd.String(flag)
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("%s: %.80q cannot be the name of a module", cmd.Name, module)
	case len(text) > pipeline.MaxComment:
		return usagef("-%s: %d bytes, at most %d are allowed", flag, len(text), pipeline.MaxComment)
	}

	api, id, err := c.env.connectRun(ctx, ref)
	if err != nil {
		return err
	}

	if module == "" {
		if module, err = theOneThatWaits(ctx, api, id); err != nil {
			return err
		}
	}

	m, err := call(api.Modules(), ctx, id, module, text)
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(m)
	}

	if m.Approval != nil && m.Approval.Repeated {
		c.env.tell("%s: nothing changed, it was decided before: %s", m.Name, m.Reason)
		return nil
	}

	c.env.tell("%s: %s", m.Name, m.Reason)
	return nil
}

// theOneThatWaits finds the module of a run that waits for an approval.
func theOneThatWaits(ctx context.Context, api *client.Client, id pipeline.RunID) (string, error) {
	r, err := api.Runs().Get(ctx, id)
	if err != nil {
		return "", err
	}

	var names []string
	for i := range r.Modules {
		if terminal.NeedsApproval(&r.Modules[i]) {
			names = append(names, r.Modules[i].Name)
		}
	}

	switch len(names) {
	case 0:
		return "", failf(exitFailed, "no module of run %s waits for approval: pipelined approvals lists those of all runs, also of pipelines that modules run", id)
	case 1:
		return names[0], nil
	}

	return "", usagef("%d modules of run %s wait for approval: name one of %s", len(names), id, strings.Join(names, ", "))
}
