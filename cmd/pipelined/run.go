package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// readyLimit bounds the start of an embedded node.
	readyLimit = time.Minute
	// stopLimit bounds its end; the processes of modules are dead long before.
	stopLimit = 15 * time.Second
	// cancelLimit bounds a call about a run whose process is about to end.
	cancelLimit = 2 * time.Second
	// oneInterrupt is how long after the first signal others belong to the same wish:
	// GNU timeout signals its child and then the whole group, and a terminal's Ctrl-C
	// reaches a process twice if its parent passes it on.
	oneInterrupt = time.Second
)

// runCommand is `pipelined run`.
type runCommand struct{ env *environment }

func (c runCommand) command() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "runs a pipeline on this machine, without an agent", ArgsUsage: "[FILE]",
		Description: "The node lives in this process; only the history is stored. Ctrl-C cancels the run, a second one kills it; a run whose output can no longer be written is cancelled too. " +
			"Secrets come from " + node.SecretPrefix + "NAME in the environment.",
		Flags: append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), c.env.snapshotFlags()...)...),
			c.flag("max-parallel", ""), c.flag("layout", ""), c.flag("log-level", "error"), c.flag("container-host", ""),
			&cli.StringSliceFlag{Name: "module-env", Usage: "`NAMES` of this machine's environment variables that modules get", Sources: c.env.variables("PIPELINED_MODULE_ENV"), Local: true},
			&cli.BoolFlag{Name: "keep-work", Usage: "keep the directories of failed attempts", HideDefault: true, Sources: c.env.variables("PIPELINED_KEEP_WORK"), Local: true},
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` that holds what is stored between runs (default the user's state directory)", Local: true},
			logsFlag(), yesFlag(), jsonFlag(), reportFlag(),
		),
		Action: c.env.action(0, 1, c.run),
	}
}

// runSettings are the agent's settings that `run` takes as flags with one value.
var runSettings = []string{"max-parallel", "layout", "log-level", "container-host"}

// settingNamed finds a setting of the table, which has it.
func settingNamed(name string) *setting {
	return &agentTable[slices.IndexFunc(agentTable, func(s setting) bool { return s.name == name })]
}

// flag makes a flag of one of runSettings; def replaces the agent's default.
func (c runCommand) flag(name, def string) cli.Flag {
	s := settingNamed(name)

	shown := def
	if def == "" {
		shown = s.defaultText()
	}

	return &cli.StringFlag{Name: name, Usage: s.usage, Value: def, DefaultText: shown, Sources: c.env.variables(s.variable()), Local: true}
}

func (c runCommand) run(ctx context.Context, cmd *cli.Command) error {
	if err := platform("run"); err != nil {
		return err
	}

	if c.env.addressGiven() && c.env.flags.address != runAddress {
		return usagef("run: runs on a node of its own and takes no -address: pipelined submit gives the run to a cluster")
	}

	cfg, err := c.config(cmd)
	if err != nil {
		return err
	}

	reports, err := c.env.reports(cmd)
	if err != nil {
		return err
	}

	signals, back := c.env.signals()
	defer back()
	starting, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	o, err := c.env.submission(cmd)
	if err != nil {
		return err
	}

	o.SecretPrefix = node.SecretPrefix
	j, err := o.Check(starting)
	if err != nil {
		return c.env.explain(cause(starting, err))
	}

	defer j.Close()
	if err := c.env.confirmWorkspace(starting, cmd, j); err != nil {
		return err
	}

	if err := needsEngine(starting, j.WithImage(), cfg.ContainerHost); err != nil {
		return err
	}

	// The node starts while the files are read.
	var e *embedded
	var api *client.Client
	g, gctx := errgroup.WithContext(starting)
	g.Go(func() error { return j.TakeFiles(gctx) })
	g.Go(func() (err error) {
		if e, err = localNode(c).startShared(starting, cfg); err != nil {
			return err
		}

		api, err = e.node.Client(whoami())
		return err
	})
	err = g.Wait()
	if e != nil {
		defer e.stop()
	}

	if err != nil {
		return cause(starting, err)
	}

	c.env.tellWorkspace(j)
	c.env.explainOnce(j)
	for _, n := range j.Definition().NotifyTargets() {
		c.env.tell("notify %s is skipped: run has no webhooks (%s)", n.Name, n.Webhook)
	}
	created, err := j.Submit(starting, api)
	j.Remember()
	if err != nil && starting.Err() != nil {
		// The node may have accepted the run although this call was given up.
		if id, ok := e.activeRun(api); ok {
			created.ID, err = id, nil
		}
	}

	if err != nil {
		return c.env.explain(cause(starting, err))
	}

	cancel(nil)
	c.env.tellHeading(j, created, "run "+string(created.ID))
	watch := watchOptions{json: cmd.Bool("json"), logs: cmd.Bool("logs"), signals: signals, address: e.address, gone: e.address != runAddress, ctrlC: cancelsRun,
		ended: func(run wire.Run, outcome error) error { return reports.end(ctx, api, run, outcome) }}
	if c.env.interactive && c.env.stderr.Terminal {
		watch.asker = c.asker(api, created.ID)
	}

	f := &runFollower{env: c.env, node: e, api: api, id: created.ID}
	return f.follow(ctx, watch, errors.Is(context.Cause(starting), errInterrupted))
}

// asker asks for the approvals of a run.
func (c runCommand) asker(api *client.Client, id pipeline.RunID) *terminal.ApprovalPrompt {
	return &terminal.ApprovalPrompt{User: whoami(), Stdin: c.env.stdin, Decide: func(ctx context.Context, module string, yes bool) error {
		call := api.Modules().Reject
		if yes {
			call = api.Modules().Approve
		}

		_, err := call(ctx, id, module, "")
		return err
	}}
}

// config is the node that a run brings along.
func (c runCommand) config(cmd *cli.Command) (nodeConfig, error) {
	s := defaultSettings()
	for _, name := range runSettings {
		v := cmd.String(name)
		if v == "" {
			continue
		}

		if err := settingNamed(name).set(&s, []string{v}); err != nil {
			return nodeConfig{}, usagef("-%s %q: %w", name, v, err)
		}
	}

	cfg := nodeConfig{Name: "local", Bind: "127.0.0.1", Mode: pipeline.ModeStandalone, Embedded: true, NoWebhooks: true, OwnKey: true, Slots: s.Slots,
		ModuleEnv: split(cmd.StringSlice("module-env")), KeepWork: cmd.Bool("keep-work"), Layout: s.Layout, ContainerHost: s.ContainerHost, DataDir: cmd.String("data-dir"),
		Version: readBuildInfo().Version, Secrets: c.secrets(),
		Logger: hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.LevelFromString(s.logLevel), Output: c.env.stderr.Unbuffered()})}
	return cfg, nil
}

// needsEngine refuses a run with a module that needs a container engine, if this
// machine has none.
func needsEngine(ctx context.Context, module, host string) error {
	if module == "" {
		return nil
	}
	e, err := container.Find(ctx, host)
	if err != nil {
		return fmt.Errorf("module %q has an image: %w. Install and start Docker or Podman (docker.io or podman on Debian), or name its socket with -container-host", module, err)
	}
	e.Close()
	return nil
}

// secrets are what `run` gives its modules: from the environment, in memory
// alone.
func (c runCommand) secrets() map[string]string {
	secrets := map[string]string{}
	for _, kv := range c.env.environ() {
		name, value, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(name, node.SecretPrefix); ok && name != "" {
			secrets[name] = value
		}
	}

	return secrets
}
