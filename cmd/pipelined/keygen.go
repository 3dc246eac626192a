package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/storage"
)

func (p *program) keygenCommand() *cli.Command {
	return &cli.Command{
		Name: "keygen", Usage: "prints a new cluster key",
		Description: "Whoever has the cluster key is an admin of the cluster. The agents of one user on one machine share a key without help; copy the file to join from another machine.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Usage: "write it to this `FILE` (mode 0600) instead; a file that is there is never replaced", TakesFile: true, Local: true},
		},
		Action: p.action(0, 0, func(_ context.Context, cmd *cli.Command) error {
			text := storage.FormatKey(storage.NewKey()) + "\n"
			if file := cmd.String("o"); file != "" {
				return writeKey(file, text)
			}
			_, err := p.stdout.WriteString(text)
			return err
		}),
	}
}

// writeKey makes the key file; nobody but its owner can read it at any moment.
func writeKey(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usagef("write cluster key: %s is there already, and a key is never replaced: name another file with -o", path)
	}
	if err != nil {
		return fmt.Errorf("write cluster key: %w", err)
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("write cluster key: %w", err)
	}
	return nil
}
