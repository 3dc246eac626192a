package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// tokenRoles are what -role takes.
var tokenRoles = []string{"read", "submit", "worker", "admin"}

// tokenCommand is `pipelined token`.
type tokenCommand struct{ env *environment }

func (c tokenCommand) command() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "creates, lists and revokes tokens", ArgsUsage: "create, ls or rm",
		Action: noCommand,
		Commands: []*cli.Command{
			{
				Name: "create", Usage: "creates a token and prints it once",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Usage: "`ROLE` of the token: " + strings.Join(tokenRoles, ", "), Local: true},
					&cli.StringFlag{Name: "ttl", Usage: "`DURATION` for which it is valid, such as 12h or 30d (default until it is revoked)", Local: true},
					&cli.IntFlag{Name: "uses", Usage: "of role submit: how many runs it may begin; of role worker: how many workers may register with it: `N` (default any number)", HideDefault: true, Local: true},
					&cli.StringFlag{Name: "name", Usage: "`NAME` in lists and in the history", Local: true},
					&cli.BoolFlag{Name: "untrusted", Usage: "with -role submit: no other submission reads what its runs leave in caches", HideDefault: true, Local: true},
					&cli.StringSliceFlag{Name: "tag", Usage: "of role worker: a `TAG` that its workers may claim; may be repeated (default any)", HideDefault: true, Local: true},
					&cli.StringSliceFlag{Name: "pipeline", Usage: "of role worker: its workers get only modules of pipelines that match `PATTERN`, as in release-*; may be repeated (default any)", HideDefault: true, Local: true},
					&cli.BoolFlag{Name: "secrets", Usage: "of role worker: its workers get modules that have secrets too", HideDefault: true, Local: true},
					jsonFlag(),
				},
				Action: c.env.action(0, 0, c.create),
			},
			{
				Name: "ls", Usage: "lists tokens without their secrets", Flags: []cli.Flag{jsonFlag()},
				Action: answer(c.env, c.env.connect, c.list, c.print),
			},
			{
				Name: "rm", Usage: "revokes a token", ArgsUsage: "ID",
				Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
					api, err := c.env.connect(ctx)
					if err != nil {
						return err
					}

					id := cmd.Args().First()
					if err := api.Tokens().Delete(ctx, id); err != nil {
						return err
					}

					c.env.tell("revoked token %s", id)
					return nil
				}),
			},
		},
	}
}

func (c tokenCommand) create(ctx context.Context, cmd *cli.Command) error {
	role := cmd.String("role")
	ttl, err := spanFlag(cmd, "ttl")
	switch {
	case err != nil:
		return err
	case role == "":
		return usagef("token create: missing -role (%s)", strings.Join(tokenRoles, ", "))
	case !slices.Contains(tokenRoles, role):
		return usagef("-role %q: expected one of %s%s", role, strings.Join(tokenRoles, ", "), terminal.DidYouMean(role, tokenRoles))
	case ttl > 0 && ttl < time.Second:
		return usagef("-ttl %s: expected at least a second", ttl)
	case cmd.IsSet("uses") && cmd.Int("uses") < 1:
		return usagef("-uses %d: expected at least 1", cmd.Int("uses"))
	case cmd.IsSet("uses") && role != "submit" && role != "worker":
		return usagef("-uses counts the runs that a token begins and the workers that register with it: it needs -role submit or worker, not %s", role)
	case cmd.Bool("untrusted") && role != "submit":
		return usagef("-untrusted needs -role submit")
	}

	scope := wire.WorkerScope{Tags: cmd.StringSlice("tag"), Pipelines: cmd.StringSlice("pipeline"), Secrets: cmd.Bool("secrets")}
	if role != "worker" && (len(scope.Tags) > 0 || len(scope.Pipelines) > 0 || scope.Secrets) {
		return usagef("-tag, -pipeline and -secrets are of role worker, not of %s", role)
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	out, err := api.Tokens().Create(ctx, wire.TokenRequest{Name: cmd.String("name"), Role: role, TTLSeconds: ttl.Seconds(), Untrusted: cmd.Bool("untrusted"), Uses: cmd.Int("uses"),
		WorkerScope: scope})
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(out)
	}

	fmt.Fprintln(c.env.stdout, out.Token)
	return nil
}

func (c tokenCommand) list(ctx context.Context, api *client.Client) (wire.TokenList, error) {
	list, err := api.Tokens().List(ctx)
	list.Tokens = present(list.Tokens)
	return list, err
}

func (c tokenCommand) print(list wire.TokenList) error {
	now := c.env.now()
	t := terminal.NewTable(c.env.stdout, "ID", "NAME", "ROLE", "CREATED", "EXPIRES", "USED", "SCOPE")
	for _, tok := range list.Tokens {
		expires := "never"
		if tok.ExpiresAt != nil {
			expires = "expired"
			if left := tok.ExpiresAt.Sub(now); left > 0 {
				expires = "in " + terminal.ShortDuration(left)
			}
		}

		role := tok.Role
		if tok.Untrusted {
			role += " (untrusted)"
		}

		used := ""
		if tok.Uses > 0 {
			used = fmt.Sprintf("%d of %d", tok.Used, tok.Uses)
		}

		t.Row(tok.ID, tok.Name, role, terminal.Ago(tok.CreatedAt, now), expires, used, scopeText(tok))
	}

	return t.Flush()
}

// scopeText says what a worker's token admits.
func scopeText(tok wire.TokenInfo) string {
	if tok.Role != "worker" {
		return ""
	}

	parts := []string{"no secrets"}
	if tok.Secrets {
		parts[0] = "secrets"
	}
	if len(tok.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(tok.Tags, ","))
	}
	if len(tok.Pipelines) > 0 {
		parts = append(parts, "pipelines "+strings.Join(tok.Pipelines, ","))
	}

	return strings.Join(parts, "; ")
}
