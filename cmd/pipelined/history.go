package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// runAddress is what -address says for the runs of `pipelined run`.
const runAddress = "run"

// connectRead finds the cluster for a command that is about runs. If no agent runs
// on this machine, that is what `pipelined run` has stored.
func (env *environment) connectRead(ctx context.Context) (*client.Client, error) {
	api, err := env.connect(ctx)
	if env.isOnlyHistory(err) {
		return history{env}.open(ctx)
	}
	return api, err
}

// connectRun is connectRead with the id of the run that is named.
func (env *environment) connectRun(ctx context.Context, ref pipeline.RunRef) (*client.Client, pipeline.RunID, error) {
	api, err := env.connectRead(ctx)
	if err != nil {
		return nil, "", err
	}
	id, err := api.Runs().Find(ctx, ref)
	return api, id, err
}

// isOnlyHistory reports, by the error of connect, whether there is no agent but what
// `pipelined run` has stored.
func (env *environment) isOnlyHistory(err error) bool {
	if err == nil || env.flags.address != "" || len(env.agents()) > 0 {
		return false
	}

	_, missing := os.Stat(storage.DefaultRunDir())
	return missing == nil
}

// history opens what `pipelined run` keeps between runs.
type history struct{ env *environment }

// open opens what `pipelined run` keeps between runs: through the run
// that is under way, or else by a node of our own that takes no modules. The
// node stops when the command ends.
func (c history) open(ctx context.Context) (*client.Client, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}

	cfg.Idle, c.env.ownNode = true, true
	_, api, err := c.start(ctx, cfg)
	var locked *storage.LockedError
	if errors.As(err, &locked) {
		return c.underWay(ctx, locked)
	}

	if err != nil {
		return nil, err
	}

	return api, nil
}

// runner opens it with a node that runs modules, as `pipelined run` does.
func (c history) runner(ctx context.Context) (*embedded, *client.Client, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, nil, err
	}

	s := defaultSettings()
	cfg.Slots, cfg.Layout, cfg.Secrets = s.Slots, s.Layout, runCommand(c).secrets()
	e, api, err := c.start(ctx, cfg)
	var locked *storage.LockedError
	if errors.As(err, &locked) {
		return nil, nil, failf(exitFailed, "another run is active (%s): try again when it has ended", locked.Holder())
	}

	return e, api, err
}

// config is the node that opens the history.
func (c history) config() (nodeConfig, error) {
	cfg := nodeConfig{Name: "local", Bind: "127.0.0.1", Mode: pipeline.ModeStandalone, Embedded: true, OwnKey: true,
		DataDir: storage.DefaultRunDir(), Version: readBuildInfo().Version,
		Logger: hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.Error, Output: c.env.stderr.Unbuffered()})}
	if err := platform("-address run"); err != nil {
		return cfg, err
	}

	if _, err := os.Stat(cfg.DataDir); err != nil {
		return cfg, failf(exitUnavailable, "`pipelined run` has stored no run here (%s does not exist)", cfg.DataDir)
	}

	return cfg, nil
}

// start starts a node, which stops when the command ends. It cancels runs that a
// killed process left behind before anything else.
func (c history) start(ctx context.Context, cfg nodeConfig) (*embedded, *client.Client, error) {
	e, err := localNode(c).start(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}

	c.env.atEnd = append(c.env.atEnd, e.stop)
	e.address = runAddress
	api, err := e.node.Client(whoami())
	if err != nil {
		return nil, nil, err
	}

	return e, api, awaitLeftovers(ctx, api)
}

const (
	// leftoverLimit bounds the wait for the end of runs that a killed process left.
	leftoverLimit = 2 * time.Second
	// leftoverRuns is among how many runs, the newest, those are looked for.
	leftoverRuns = 50
)

// awaitLeftovers waits a moment for the end of the runs that a killed process left:
// the node cancelled them when it started.
func awaitLeftovers(ctx context.Context, api *client.Client) error {
	list, err := api.Runs().List(ctx, client.ListOptions{Limit: leftoverRuns, State: pipeline.RunCancelling})
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, leftoverLimit)
	defer cancel()
	for _, r := range list.Runs {
		_, _ = terminal.FinalRun(ctx, api.Runs(), r.ID) // else it is shown as what it is: cancelling
	}

	return nil
}

// underWay connects to the node of a run that has the history, by its socket: the
// directory is this user's alone, so no key is needed.
func (c history) underWay(ctx context.Context, locked *storage.LockedError) (*client.Client, error) {
	a, err := storage.ReadAgentFile(filepath.Join(storage.DefaultRunDir(), "agent.json"))
	way := socketOf(a)
	if err == nil && way != nil {
		err = connects(ctx, way)
	}
	if err != nil || way == nil {
		return nil, failf(exitUnavailable, "another run is starting (process %d) and does not answer yet: try again", locked.PID)
	}

	return client.New(client.Config{Addresses: []string{a.HTTP}, Local: ways{a.HTTP: way}, UserAgent: userAgent(), OnRetry: c.env.retries.Retrying})
}
