package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/cluster/keys"
)

// caCommand is `pipelined ca`.
type caCommand struct{ env *environment }

func (c caCommand) command() *cli.Command {
	return &cli.Command{
		Name: "ca", Usage: "prints the cluster's CA certificate",
		Description: "Nodes without a certificate of their own serve HTTPS with one of this authority. It is derived from the cluster key; no cluster has to be running.",
		Action: c.env.action(0, 0, func(context.Context, *cli.Command) error {
			key, err := connector(c).clusterKey()
			if err != nil {
				return usagef("%w", err)
			}

			k, err := keys.New(key)
			if err != nil {
				return err
			}

			_, err = c.env.stdout.Write(k.CACertPEM())
			return err
		}),
	}
}
