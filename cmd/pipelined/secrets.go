package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// maxSecret bounds what is read as the value of a secret; the cluster takes less.
const maxSecret = 1 << 20

// secretsCommand is `pipelined secrets`.
type secretsCommand struct{ env *environment }

func (c secretsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "secrets", Usage: "sets, lists and removes secrets", ArgsUsage: "set, ls or rm",
		Action: noCommand,
		Commands: []*cli.Command{
			{
				Name: "set", Usage: "sets or replaces a secret", ArgsUsage: "NAME",
				Description: "The value is read from standard input, without the line break at its end, or from a file, unchanged. It is never taken from the " +
					"command line, where others on the machine could read it.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "file", Usage: "`FILE` that holds the value (default standard input)", Local: true},
					jsonFlag(),
				},
				Action: c.env.action(1, -1, c.set),
			},
			{
				Name: "ls", Usage: "lists the names of secrets, with time and author", Flags: []cli.Flag{jsonFlag()},
				Action: answer(c.env, c.env.connect, c.list, c.print),
			},
			{
				Name: "rm", Usage: "removes a secret", ArgsUsage: "NAME",
				Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
					api, err := c.env.connect(ctx)
					if err != nil {
						return err
					}

					name := cmd.Args().First()
					if err := api.Secrets().Delete(ctx, name); err != nil {
						return err
					}

					c.env.tell("removed secret %s", name)
					return nil
				}),
			},
		},
	}
}

func (c secretsCommand) set(ctx context.Context, cmd *cli.Command) error {
	name, _, given := strings.Cut(cmd.Args().First(), "=")
	if given || cmd.Args().Len() > 1 {
		// What may be the value is not repeated.
		quoted := terminal.Quote(name)
		return usagef(`secrets set: %s, not from the command line: printf %%s "$VALUE" | pipelined secrets set %.80s, or pipelined secrets set -file FILE %[2]s`, secretValueHint, quoted)
	}

	value, err := c.read(cmd, name)
	if err != nil {
		return err
	}

	if value == "" {
		return usagef("secrets set: the value of %s is empty: %s", name, secretValueHint)
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	out, err := api.Secrets().Set(ctx, name, value)
	if err != nil {
		return err
	}

	if out.Unmasked {
		c.env.tell("warning: the value is shorter than 6 bytes and will not be masked in output")
	}

	if cmd.Bool("json") {
		return c.env.printJSON(out)
	}

	c.env.tell("set secret %s", out.Name)
	return nil
}

// read reads the value of a secret. On a terminal it asks for it, and does
// not show what is typed.
func (c secretsCommand) read(cmd *cli.Command, name string) (string, error) {
	in := c.env.stdin
	if cmd.IsSet("file") {
		file := cmd.String("file")
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("read the secret: %w", fileError(err))
		}

		defer f.Close()
		in = f
	} else if c.env.interactive {
		fmt.Fprintf(c.env.stderr, "value of %s (not shown): ", name)
		c.env.stderr.Flush()
		text, err := term.ReadPassword(int(c.env.stdin.(*os.File).Fd()))
		fmt.Fprintln(c.env.stderr)
		if err != nil {
			return "", wrap("read the secret", err)
		}

		return string(text), nil
	}

	text, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	if err != nil {
		return "", usagef("read the secret: %w", fileError(err))
	}

	if len(text) > maxSecret {
		return "", usagef("secrets set: the value of %s is longer than %d KiB", name, maxSecret>>10)
	}

	if !cmd.IsSet("file") {
		text = bytes.TrimRight(text, "\r\n")
	}

	return string(text), nil
}

func (c secretsCommand) list(ctx context.Context, api *client.Client) (wire.SecretList, error) {
	list, err := api.Secrets().List(ctx)
	list.Secrets = present(list.Secrets)
	return list, err
}

func (c secretsCommand) print(list wire.SecretList) error {
	now := c.env.now()
	t := terminal.NewTable(c.env.stdout, "NAME", "SET", "BY", "NOTE")
	for _, s := range list.Secrets {
		note := ""
		if s.Unmasked {
			note = "too short to be masked"
		}

		t.Row(s.Name, terminal.Ago(s.SetAt, now), s.SetBy, note)
	}

	return t.Flush()
}
