package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// readyLimit bounds the start of an embedded node.
	readyLimit = time.Minute
	// stopLimit bounds its end; the processes of modules are dead long before.
	stopLimit = 15 * time.Second
	// cancelLimit bounds the last word about a run that is given up.
	cancelLimit = 2 * time.Second
	// leftoverRuns is among how many runs those are looked for that a killed
	// process left behind; they are the newest.
	leftoverRuns = 50
)

// runCommand is `pipelined run`.
type runCommand struct{ env *environment }

func (c runCommand) command() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "runs a pipeline on this machine, without an agent", ArgsUsage: "FILE",
		Description: "The node lives in this process; only the history is stored. Ctrl-C cancels the run, a second one kills it. " +
			"Secrets come from " + node.SecretPrefix + "NAME in the environment.",
		Flags: append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), c.env.snapshotFlags()...)...),
			c.flag("max-parallel", ""), c.flag("layout", ""), c.flag("log-level", "error"),
			&cli.StringSliceFlag{Name: "module-env", Usage: "`NAMES` of this machine's environment variables that modules get", Sources: c.env.variables("PIPELINED_MODULE_ENV"), Local: true},
			&cli.BoolFlag{Name: "keep-work", Usage: "keep the directories of failed attempts", HideDefault: true, Sources: c.env.variables("PIPELINED_KEEP_WORK"), Local: true},
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` that holds what is stored between runs (default the user's state directory)", Local: true},
			jsonFlag(),
		),
		Action: c.env.action(1, 1, c.run),
	}
}

// runSettings are the agent's settings that `run` takes as flags with one value.
var runSettings = []string{"max-parallel", "layout", "log-level"}

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

	cfg, err := c.config(cmd)
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

	j, err := o.Check(starting)
	if err != nil {
		return c.env.explain(cause(starting, err))
	}

	defer j.Close()
	// The node starts while the files are read.
	var e *embedded
	var api *client.Client
	g, gctx := errgroup.WithContext(starting)
	g.Go(func() error { return j.TakeFiles(gctx) })
	g.Go(func() (err error) {
		if e, err = localNode(c).startShared(starting, cfg); err != nil {
			return err
		}

		if api, err = e.node.Client(whoami()); err != nil {
			return err
		}

		return cancelLeftovers(gctx, api)
	})
	err = g.Wait()
	if e != nil {
		defer e.stop()
	}

	if err != nil {
		return cause(starting, err)
	}

	c.env.explainOnce(j)
	created, err := j.Submit(starting, api)
	j.Remember()
	if err != nil {
		return c.env.explain(cause(starting, err))
	}

	cancel(nil)
	if errors.Is(context.Cause(starting), errInterrupted) {
		e.cancelRun(api, created.ID, "interrupted")
		return errInterrupted
	}

	watch := watchOptions{json: cmd.Bool("json"), signals: signals, address: e.address}
	if c.env.interactive && c.env.stderr.Terminal {
		watch.asker = &terminal.ApprovalPrompt{User: whoami(), Stdin: c.env.stdin, Decide: func(ctx context.Context, module string, yes bool) error {
			call := api.Modules().Reject
			if yes {
				call = api.Modules().Approve
			}

			_, err := call(ctx, created.ID, module, "")
			return err
		}}
	}

	return c.follow(ctx, e, api, created.ID, watch)
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

	cfg := nodeConfig{Name: "local", Bind: "127.0.0.1", Mode: pipeline.ModeStandalone, Embedded: true, Slots: s.Slots,
		ModuleEnv: split(cmd.StringSlice("module-env")), KeepWork: cmd.Bool("keep-work"), Folders: s.Folders, DataDir: cmd.String("data-dir"),
		Version: readBuildInfo().Version, Secrets: c.secrets(),
		Logger: hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.LevelFromString(s.logLevel), Output: c.env.stderr.Unbuffered()})}
	return cfg, localNode(c).key(&cfg, c.env.flags.keyFile)
}

// errKilled ends a run at once.
var errKilled = failf(exitInterrupted, "killed")

// follow follows a run of the own node. The first signal, or the end of
// ctx, cancels it; the second kills it.
func (c runCommand) follow(ctx context.Context, e *embedded, api *client.Client, id pipeline.RunID, o watchOptions) error {
	following, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	signals, merged := o.signals, make(chan os.Signal, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		timeout, ended := ctx.Done(), e.done
		for {
			var s os.Signal
			select {
			case s = <-signals:
			case <-timeout:
				s, timeout = syscall.SIGALRM, nil
			case <-ended:
				err := e.err
				if err == nil {
					err = errors.New("node stopped during the run")
				}

				abort(err)
				return
			case <-following.Done():
				return
			}

			select {
			case merged <- s:
			case <-following.Done():
				return
			}
		}
	}()
	var first error
	o.signals = merged
	o.interrupt = func(_ context.Context, s os.Signal) error {
		if first != nil && s != syscall.SIGALRM {
			return errKilled
		}

		reason := "interrupted"
		if first = errInterrupted; s == syscall.SIGALRM {
			first, reason = context.Cause(ctx), "timed out"
			c.env.say("%s; cancelling the run", terminal.Clean(first.Error()))
		} else {
			c.env.say("cancelling the run; Ctrl-C again kills it")
		}

		_, err := api.Runs().Cancel(following, id, reason)
		if pipeline.KindOf(err) == pipeline.Conflict {
			err = nil // it has ended meanwhile
		}

		return err
	}
	ended, err := watcher(c).watch(following, api.Runs(), id, o)
	abort(nil)
	<-done
	if ended && first != nil {
		return first
	}

	if !ended {
		// Otherwise it would resume in the next run's node.
		e.cancelRun(api, id, "its process ended")
	}

	return err
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
