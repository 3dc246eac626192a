package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/storage"
)

// agentCommand is `pipelined agent`.
type agentCommand struct{ env *environment }

func (c agentCommand) command() *cli.Command {
	return &cli.Command{
		Name: "agent", Usage: "runs a node of a cluster",
		Description: "Alone it is a cluster of one; with -join it joins another. TERM and Ctrl-C stop the agent; running modules continue, and the agent adopts them if it starts again within a minute. A second signal ends it at once. Settings without a flag are keys of the configuration file: pipelined agent -print-config lists all.",
		Flags:       agentFlags(),
		Action:      c.env.action(0, 0, c.run),
	}
}

func (c agentCommand) run(ctx context.Context, cmd *cli.Command) error {
	if err := platform("agent"); err != nil {
		return err
	}

	if c.env.addressGiven() {
		return usagef("agent: -address names the node that a command talks to: write -bind ADDRESS for the address of this node, -join HOST to join a cluster")
	}

	s, found, err := c.resolve(cmd)
	if err != nil {
		return err
	}

	logger := hclog.New(&hclog.LoggerOptions{Name: "pipelined", Level: hclog.LevelFromString(s.logLevel), JSONFormat: s.logJSON, Output: c.env.stderr.Unbuffered()})
	if cmd.Bool("print-config") {
		logger = hclog.NewNullLogger() // the configuration is all that is asked for
	}

	cfg, err := c.nodeConfig(&s, logger)
	if err != nil {
		return err
	}

	if cmd.Bool("print-config") {
		return c.printConfig(&s, &cfg, found)
	}

	// From here on a signal stops the node in order.
	signals, back := c.env.signals()
	defer back()

	if s.dev {
		dir, err := devDir()
		if err != nil {
			return err
		}

		defer func() { _ = os.RemoveAll(dir) }() // in memory; nothing depends on it
		cfg.DataDir = dir
	}

	n, err := c.env.open(ctx, cfg)
	if err != nil {
		return err
	}

	s.DataDir = cfg.DataDir

	return c.serve(ctx, n, &s, signals, logger)
}

// nodeConfig checks the settings and completes the node's configuration, but for
// the data directory of -dev.
func (c agentCommand) nodeConfig(s *agentSettings, logger hclog.Logger) (cfg nodeConfig, err error) {
	cfg = s.nodeConfig

	switch {
	case (cfg.TLSCert == "") != (cfg.TLSKey == ""):
		return cfg, usagef("-tls-cert and -tls-key must be given together")
	case cfg.HTTPPlain && cfg.TLSCert != "":
		return cfg, usagef("-http-plain and -tls-cert exclude each other")
	case s.dev && cfg.DataDir != "":
		return cfg, usagef("-dev and -data-dir exclude each other")
	}

	var note string
	if cfg.Bind, note, err = resolveBind(s.bind, cfg.Join); err != nil {
		return cfg, err
	}

	if note != "" {
		logger.Info(note)
	}

	if err := localNode(c).key(&cfg, s.keyFile); err != nil {
		return cfg, err
	}

	cfg.Embedded = s.dev
	if cfg.DataDir == "" && !s.dev {
		cfg.DataDir = storage.DefaultDataDir(cfg.Bind)
	}

	cfg.Logger, cfg.Version = logger, readBuildInfo().release()

	return cfg, nil
}

// printConfig prints the effective configuration with the origin of each value.
func (c agentCommand) printConfig(s *agentSettings, cfg *nodeConfig, found origins) error {
	whole, err := node.Complete(*cfg)
	if err != nil {
		return usagef("%w", err)
	}

	effective := map[string]string{
		"name": whole.Name, "cpu": strconv.FormatFloat(whole.CPU, 'g', -1, 64), "memory": fmt.Sprintf("%dMiB", whole.Memory>>20),
		"bind": cfg.Bind, "advertise": cfg.Bind, "data-dir": cfg.DataDir, "key-file": connector(c).keyPath(),
		"max-parallel": strconv.Itoa(runtime.GOMAXPROCS(0)),
	}
	if s.dev {
		found["data-dir"] = origin{from: "-dev: in memory"}
	}

	if cfg.Key != nil { // the key itself is never printed
		found["key-file"] = origin{from: "PIPELINED_KEY"}
	}

	if o, ok := found["bind"]; ok { // private and public stand for an address
		o.values = []string{cfg.Bind}
		found["bind"] = o
	}

	if err := printConfig(c.env.stdout, found, effective); err != nil {
		return err
	}
	printWebhooks(c.env.stdout, s.webhooks)
	return nil
}

// serve runs a node until it ends or a signal does it.
func (c agentCommand) serve(ctx context.Context, n clusterNode, s *agentSettings, signals <-chan os.Signal, logger hclog.Logger) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }()
	socket := c.env.getenv("NOTIFY_SOCKET")
	notify := func(state string) {
		if err := sdNotify(socket, state); err != nil {
			logger.Warn("notify systemd", "error", err)
		}
	}
	ready := n.Ready()
	stopping := false
	for {
		select {
		case <-ready:
			ready = nil
			scheme := "http"
			if n.HTTPS() {
				scheme = "https"
			}

			where := []any{"node", n.Name(), "http", scheme + "://" + n.HTTPAddr()}
			if a, err := storage.ReadAgentFile(filepath.Join(s.DataDir, "agent.json")); err == nil { // none with -dev
				where = append(where, "peer", a.Peer, "gossip", a.Gossip)
			}

			logger.Info("ready", append(where, "data", s.DataDir, "version", readBuildInfo().release())...)
			notify("READY=1")
		case sig := <-signals:
			if stopping {
				// The keeper has the modules; the next start finds everything.
				return failf(exitInterrupted, "stopped at once by a second signal")
			}

			stopping = true
			notify("STOPPING=1")
			c.explainStop(ctx, n, s, sig)
			stop(errInterrupted)
		case err := <-ended:
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// explainStop says on a terminal what becomes of the modules that run here.
func (c agentCommand) explainStop(ctx context.Context, n clusterNode, s *agentSettings, sig os.Signal) {
	if sig == syscall.SIGTERM || !c.env.stderr.Terminal {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	load := n.Load(ctx)
	modules := fmt.Sprintf("%d modules are running", load)
	if load == 1 {
		modules = "1 module is running"
	}

	switch {
	case load == 0:
		c.env.say("stopping; no module is running here")
	case s.dev:
		c.env.say("stopping; %s and will be stopped (-dev)", modules)
	case s.DrainOnStop:
		c.env.say("stopping after the running modules: %s (-drain-on-stop); Ctrl-C again stops at once", modules)
	default:
		c.env.say("stopping; %s and will continue; start the agent within a minute to keep them, otherwise other workers repeat them; Ctrl-C again stops at once", modules)
	}
}
