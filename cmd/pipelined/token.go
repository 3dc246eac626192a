package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// tokenRoles are what -role takes.
var tokenRoles = []string{"read", "submit", "worker", "admin"}

func (p *program) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "makes, lists and revokes tokens", ArgsUsage: "create, ls or rm",
		Action: noCommand,
		Commands: []*cli.Command{
			{
				Name: "create", Usage: "makes a token and prints it, this once",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Usage: "what it allows (`ROLE`): " + strings.Join(tokenRoles, ", "), Local: true},
					&cli.DurationFlag{Name: "ttl", Usage: "how long it is good for (`DURATION`; default: until it is revoked)", HideDefault: true, Local: true},
					&cli.StringFlag{Name: "name", Usage: "what it is called in lists and in the history (`NAME`)", Local: true},
					jsonFlag(),
				},
				Action: p.action(0, 0, p.createToken),
			},
			{
				Name: "ls", Usage: "lists tokens, without their secrets", Flags: []cli.Flag{jsonFlag()},
				Action: p.action(0, 0, p.listTokens),
			},
			{
				Name: "rm", Usage: "revokes a token", ArgsUsage: "ID",
				Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
					c, err := p.connect(ctx)
					if err != nil {
						return err
					}
					id := cmd.Args().First()
					if err := c.Tokens().Delete(ctx, id); err != nil {
						return err
					}
					p.tell("token %s is revoked", id)
					return nil
				}),
			},
		},
	}
}

func (p *program) createToken(ctx context.Context, cmd *cli.Command) error {
	role, ttl := cmd.String("role"), cmd.Duration("ttl")
	switch {
	case role == "":
		return usagef("token create: give -role: %s", strings.Join(tokenRoles, ", "))
	case !slices.Contains(tokenRoles, role):
		return usagef("-role %q: want one of %s%s", role, strings.Join(tokenRoles, ", "), terminal.DidYouMean(role, tokenRoles))
	case ttl < 0 || ttl > 0 && ttl < time.Second:
		return usagef("-ttl %s: want at least a second", ttl)
	}
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	out, err := c.Tokens().Create(ctx, wire.TokenRequest{Name: cmd.String("name"), Role: role, TTLSeconds: ttl.Seconds()})
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(out)
	}
	fmt.Fprintln(p.stdout, out.Token)
	return nil
}

func (p *program) listTokens(ctx context.Context, cmd *cli.Command) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	list, err := c.Tokens().List(ctx)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		if list.Tokens == nil {
			list.Tokens = []wire.TokenInfo{}
		}
		return p.printJSON(list)
	}
	now := p.now()
	t := terminal.NewTable(p.stdout, "ID", "NAME", "ROLE", "CREATED", "EXPIRES")
	for _, tok := range list.Tokens {
		expires := "never"
		if tok.ExpiresAt != nil {
			expires = "expired"
			if left := tok.ExpiresAt.Sub(now); left > 0 {
				expires = "in " + terminal.ShortDuration(left)
			}
		}
		t.Row(tok.ID, tok.Name, tok.Role, terminal.Ago(tok.CreatedAt, now), expires)
	}
	return t.Flush()
}
