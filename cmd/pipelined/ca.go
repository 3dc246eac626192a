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
		Name: "ca", Usage: "prints the certificate of the cluster's authority",
		Description: "Nodes that serve HTTPS without a certificate of their own use one of this authority. It follows from the cluster key, so no cluster has to run.",
		Action: c.env.action(0, 0, func(context.Context, *cli.Command) error {
			key, err := connector{c.env}.clusterKey()
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
