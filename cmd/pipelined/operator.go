package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/storage"
)

// operatorCommand is `pipelined operator`.
type operatorCommand struct{ env *environment }

func (c operatorCommand) command() *cli.Command {
	return &cli.Command{
		Name: "operator", Usage: "repairs a cluster that cannot repair itself", ArgsUsage: "recover",
		Action: noCommand,
		Commands: []*cli.Command{{
			Name: "recover", Usage: "makes a stopped node the only voter of a cluster that has lost its majority permanently",
			Description: "Acknowledged changes that this node had not received are lost: with -dry-run, compare the last entry of all nodes that are left, and recover the one with the highest term, then index. The recovered cluster has a new id, so the lost nodes cannot return; start them with empty data directories. Run it with -rejoin on the other nodes that are left: they keep their files and join the recovered cluster as new nodes.",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "data-dir", Usage: "`DIR` of the stopped agent (default the only one of this user)", Local: true},
				&cli.BoolFlag{Name: "dry-run", Usage: "show what the node holds and change nothing", HideDefault: true, Local: true},
				&cli.BoolFlag{Name: "rejoin", Usage: "prepare the node to join the recovered cluster", HideDefault: true, Local: true},
				&cli.BoolFlag{Name: "yes", Usage: "do not ask for confirmation", HideDefault: true, Local: true},
			},
			Action: c.env.action(0, 0, c.recover),
		}},
	}
}

func (c operatorCommand) recover(_ context.Context, cmd *cli.Command) error {
	if err := platform("operator recover"); err != nil {
		return err
	}
	dir, err := c.dataDir(cmd.String("data-dir"))
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return wrap("find own executable", err)
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.Error, Output: c.env.stderr.Unbuffered()})
	cfg := node.RecoverConfig{DataDir: dir, Rejoin: cmd.Bool("rejoin"), DryRun: true, Executable: exe, Logger: logger}

	found, err := node.Recover(cfg)
	if err != nil {
		return err
	}
	c.describe(dir, found, cfg.Rejoin)
	if cmd.Bool("dry-run") {
		return nil
	}
	if !cmd.Bool("yes") {
		question := "Are the other voters lost permanently, and is this the node with the newest entry? Make it the only voter?"
		if cfg.Rejoin {
			question = "Make this node a new one that joins another cluster?"
		}
		ok, err := c.env.confirm(question)
		if err != nil {
			return err
		}
		if !ok {
			return failf(exitFailed, "operator recover: not confirmed, nothing was changed")
		}
	}

	cfg.DryRun = false
	done, err := node.Recover(cfg)
	if err != nil {
		return err
	}
	c.env.tell("the raft directory as it was: %s", done.Aside)
	if cfg.Rejoin {
		c.env.tell("%s is a new node now: start its agent with -join and the address of the recovered node", done.Name)
		return nil
	}
	c.env.tell("%s is the only voter of cluster %s now: start its agent, then the other nodes with -join (those that are left after `operator recover -rejoin`, new ones with empty data directories)", done.Name, done.Cluster)
	return nil
}

// describe says what a node holds.
func (c operatorCommand) describe(dir string, found node.Recovery, rejoin bool) {
	fmt.Fprintf(c.env.stdout, "node       %s (%s)\ncluster    %s\ndata       %s\n", found.Name, found.Node, found.OldCluster, dir)
	if rejoin {
		return
	}
	fmt.Fprintf(c.env.stdout, "last entry %d of term %d\n", found.Index, found.Term)
	if found.Voters > 0 {
		fmt.Fprintf(c.env.stdout, "voters     %d\n", found.Voters)
	}
}

// dataDir is the directory that was named, or the only one of this user.
func (c operatorCommand) dataDir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	list, err := filepath.Glob(filepath.Join(filepath.Dir(storage.DefaultDataDir("x")), "*"))
	if err != nil {
		return "", wrap("find data directories", err)
	}
	switch len(list) {
	case 1:
		return list[0], nil
	case 0:
		return "", usagef("operator recover: no data directory of an agent below %s: name one with -data-dir", storage.DefaultRoot())
	}
	return "", usagef("operator recover: several data directories: choose one with -data-dir: %s", strings.Join(list, ", "))
}
