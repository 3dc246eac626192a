package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
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

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "runs a pipeline here and now, in a cluster of this one process", ArgsUsage: "FILE",
		Description: "Nothing else has to run, and nothing is left behind but history. Ctrl-C cancels the run, twice kills it. " +
			"The secrets that modules name come from " + node.SecretPrefix + "NAME in the environment.",
		Flags: append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), p.snapshotFlags()...)...),
			&cli.IntFlag{Name: "max-parallel", Usage: "`N` modules at once (default: the number of cores)", HideDefault: true, Sources: p.env("PIPELINED_MAX_PARALLEL"), Local: true},
			&cli.StringSliceFlag{Name: "module-env", Usage: "`NAMES` of variables of this machine that modules see", Sources: p.env("PIPELINED_MODULE_ENV"), Local: true},
			&cli.StringFlag{Name: "folders", Usage: "how large folders of modules are laid out (`WAY`): auto, overlay, reflink or copy", DefaultText: "auto", Sources: p.env("PIPELINED_FOLDERS"), Local: true},
			&cli.BoolFlag{Name: "keep-work", Usage: "keep the folders of failed attempts", HideDefault: true, Sources: p.env("PIPELINED_KEEP_WORK"), Local: true},
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` for what is kept between runs (default: the user's state folder)", Local: true},
			&cli.StringFlag{Name: "log-level", Usage: "what the node itself says (`LEVEL`): trace, debug, info, warn, error or off", Value: "error", Sources: p.env("PIPELINED_LOG_LEVEL"), Local: true},
			jsonFlag(),
		),
		Action: p.action(1, 1, p.runPipeline),
	}
}

func (p *program) runPipeline(ctx context.Context, cmd *cli.Command) error {
	if err := platform("run"); err != nil {
		return err
	}
	cfg, err := p.embeddedConfig(cmd)
	if err != nil {
		return err
	}
	signals, back := p.signals()
	defer back()
	starting, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	j, err := p.checkRun(starting, cmd)
	if err != nil {
		return p.explain(cause(starting, err))
	}
	defer j.close()
	// The node starts while the files are read.
	var e *embedded
	var c *client.Client
	g, gctx := errgroup.WithContext(starting)
	g.Go(func() error { return j.takeFiles(gctx, p) })
	g.Go(func() (err error) {
		if e, err = p.startEmbedded(starting, cfg); err != nil {
			return err
		}
		if c, err = e.node.Client(whoami()); err != nil {
			return err
		}
		return cancelLeftovers(gctx, c)
	})
	err = g.Wait()
	if e != nil {
		defer e.stop()
	}
	if err != nil {
		return cause(starting, err)
	}
	p.onceOnly(j)
	created, err := j.submit(starting, c)
	j.workspace.remember()
	if err != nil {
		return p.explain(cause(starting, err))
	}
	cancel(nil)
	if errors.Is(context.Cause(starting), errInterrupted) {
		e.cancelRun(c, created.ID, "interrupted")
		return errInterrupted
	}
	o := watchOptions{json: cmd.Bool("json"), signals: signals, address: e.address}
	if p.interactive && p.stderr.Terminal {
		o.asker = &terminal.ApprovalPrompt{User: whoami(), Stdin: p.stdin, Decide: func(ctx context.Context, module string, yes bool) error {
			call := c.Modules().Reject
			if yes {
				call = c.Modules().Approve
			}
			_, err := call(ctx, created.ID, module, "")
			return err
		}}
	}
	return p.followEmbedded(ctx, e, c, created.ID, o)
}

// embeddedConfig is the node that a run brings along.
func (p *program) embeddedConfig(cmd *cli.Command) (nodeConfig, error) {
	s := defaultSettings()
	if err := setLevel(&s, []string{cmd.String("log-level")}); err != nil {
		return nodeConfig{}, usagef("-log-level %q: %w", cmd.String("log-level"), err)
	}
	if way := cmd.String("folders"); way != "" {
		if err := setFolders(&s, []string{way}); err != nil {
			return nodeConfig{}, usagef("-folders %q: %w", way, err)
		}
	}
	slots := cmd.Int("max-parallel")
	if slots < 0 || slots > 10_000 || cmd.IsSet("max-parallel") && slots == 0 {
		return nodeConfig{}, usagef("-max-parallel %d: want a number from 1 to 10000", slots)
	}
	cfg := nodeConfig{Name: "local", Bind: "127.0.0.1", Mode: pipeline.ModeStandalone, Embedded: true, Slots: slots,
		ModuleEnv: split(cmd.StringSlice("module-env")), KeepWork: cmd.Bool("keep-work"), Folders: s.Folders, DataDir: cmd.String("data-dir"),
		Version: readBuildInfo().Version, Secrets: p.ownSecrets(),
		Logger: hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.LevelFromString(s.logLevel), Output: p.stderr.Unbuffered()})}
	return cfg, p.nodeKey(&cfg, p.keyFile)
}

// embedded is a node that runs in this process.
type embedded struct {
	node   clusterNode
	cancel context.CancelFunc
	// done is closed when the node has ended; err holds why, then.
	done   chan struct{}
	err    error
	remove func()
	// address is what -address takes to reach the node from another shell.
	address string
}

// startEmbedded builds and starts a node and waits until it can serve. Its data
// folder is the one that all runs of the user share; where another run has
// that, one of its own.
func (p *program) startEmbedded(ctx context.Context, cfg nodeConfig) (*embedded, error) {
	shared := cfg.DataDir == ""
	if shared {
		cfg.DataDir = storage.DefaultRunDir()
	}
	e, err := p.startNode(ctx, cfg)
	var locked *storage.LockedError
	if !shared || !errors.As(err, &locked) {
		if err == nil {
			if e.address = runAddress; !shared {
				e.address = e.node.HTTPAddr()
			}
		}
		return e, err
	}
	dir, err := tempFolder("", "run")
	if err != nil {
		return nil, wrap("make a data folder", err)
	}
	remove := func() { _ = os.RemoveAll(dir) } // temporary; nothing depends on it
	p.tell("another run is under way (process %d): this one keeps no history", locked.PID)
	cfg.DataDir = dir
	if e, err = p.startNode(ctx, cfg); err != nil {
		remove()
		return nil, err
	}
	e.remove, e.address = remove, e.node.HTTPAddr()
	return e, nil
}

// startNode builds and starts a node and waits until it can serve.
func (p *program) startNode(ctx context.Context, cfg nodeConfig) (*embedded, error) {
	e := &embedded{done: make(chan struct{}), remove: func() {}}
	n, err := p.open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	// Not the caller's context: a node is stopped in order, after what it runs.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.node, e.cancel = n, cancel
	go func() {
		defer close(e.done)
		e.err = n.Run(running)
	}()
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	select {
	case <-n.Ready():
		return e, nil
	case <-e.done:
		err = e.err
		if err == nil {
			err = errors.New("the node stopped before it was ready")
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-limit.C:
		err = fmt.Errorf("the node was not ready within %s", readyLimit)
	}
	e.stop()
	return nil, err
}

// stop ends the node, and with it every process that it started.
func (e *embedded) stop() {
	e.cancel()
	select {
	case <-e.done:
	case <-time.After(stopLimit): // the process ends now in any case
	}
	e.remove()
}

// errKilled ends a run at once.
var errKilled = failf(exitInterrupted, "killed")

// followEmbedded follows a run of the own node. The first signal, or the end of
// ctx, cancels it; the second kills it.
func (p *program) followEmbedded(ctx context.Context, e *embedded, c *client.Client, id pipeline.RunID, o watchOptions) error {
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
					err = errors.New("the node stopped in the middle of the run")
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
			p.say("%s; cancelling the run", terminal.Clean(first.Error()))
		} else {
			p.say("cancelling the run; Ctrl-C again kills it")
		}
		_, err := c.Runs().Cancel(following, id, reason)
		if pipeline.KindOf(err) == pipeline.Conflict {
			err = nil // it has ended meanwhile
		}
		return err
	}
	ended, err := p.watchRun(following, c.Runs(), id, o)
	abort(nil)
	<-done
	if ended && first != nil {
		return first
	}
	if !ended {
		// Else it would go on in the next run's node.
		e.cancelRun(c, id, "its process ended")
	}
	return err
}

// cancelRun cancels a run that nobody follows any more, as far as that can be
// done.
func (e *embedded) cancelRun(c *client.Client, id pipeline.RunID, reason string) {
	select {
	case <-e.done:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	_, _ = c.Runs().Cancel(ctx, id, reason) // cancelled before, or left for the next run to cancel
}

// cancelLeftovers cancels runs that a process left behind that was killed:
// `run` is here and now, and the node would go on with them.
func cancelLeftovers(ctx context.Context, c *client.Client) error {
	list, err := c.Runs().List(ctx, client.ListOptions{Limit: leftoverRuns})
	if err != nil {
		return err
	}
	for _, r := range list.Runs {
		if r.State.Final() || r.State == pipeline.RunCancelling {
			continue
		}
		if _, err := c.Runs().Cancel(ctx, r.ID, "its process was killed"); err != nil && pipeline.KindOf(err) != pipeline.Conflict {
			return err
		}
	}
	return nil
}
