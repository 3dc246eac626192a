package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/cluster/keys"
)

// keygenCommand is `pipelined keygen`.
type keygenCommand struct{ env *environment }

func (c keygenCommand) command() *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "prints a new cluster key",
		Description: "Every holder of the cluster key is an admin of the cluster. Agents of one user on one machine share a key automatically; copy the file to join from another machine.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "`FILE` to write the key to (mode 0600); an existing file is never replaced", TakesFile: true, Local: true},
			&cli.StringFlag{Name: "fingerprint", Usage: "print the fingerprint of the key in `FILE` instead, to compare it with that of another machine", TakesFile: true, Local: true},
		},
		Action: c.env.action(0, 0, func(_ context.Context, cmd *cli.Command) error {
			if cmd.String("fingerprint") != "" && cmd.String("o") != "" {
				return usagef("keygen: -o and -fingerprint exclude each other")
			}

			if file := cmd.String("fingerprint"); file != "" {
				return c.fingerprint(file)
			}

			key := keys.Generate()
			if file := cmd.String("o"); file != "" {
				return createKey(file, key)
			}

			_, err := c.env.stdout.WriteString(keys.Format(key) + "\n")
			return err
		}),
	}
}

// fingerprint prints what tells the key in a file from others and reveals nothing of it.
func (c keygenCommand) fingerprint(file string) error {
	key, err := keys.Load(file)
	if err != nil {
		return usagef("%w", err)
	}

	k, err := keys.New(key)
	if err != nil {
		return err
	}

	_, err = c.env.stdout.WriteString(k.Fingerprint() + "\n")
	return err
}

// createKey writes a new key file.
func createKey(path string, key []byte) error {
	err := keys.Create(path, key)
	if errors.Is(err, fs.ErrExist) {
		return usagef("write cluster key: %s exists, and a key is never replaced: choose another file with -o", path)
	}

	if err != nil {
		return fmt.Errorf("write cluster key: %w", err)
	}

	return nil
}
