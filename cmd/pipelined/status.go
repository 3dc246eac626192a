package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// statusCommand is `pipelined status`.
type statusCommand struct{ env *environment }

func (c statusCommand) command() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "shows the cluster, or a run with its modules", ArgsUsage: "[RUN]",
		Description: "With -check the exit code is 0 if the cluster is healthy, 1 if it is degraded, and 5 if it has no leader or does not answer.",
		Flags: []cli.Flag{jsonFlag(),
			&cli.BoolFlag{Name: "check", Usage: "print the state of the cluster alone, and exit with it", HideDefault: true, Local: true},
		},
		Action: c.env.action(0, 1, func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() == 0 {
				return clusterStatus(c).show(ctx, cmd.Bool("json"), cmd.Bool("check"))
			}

			if cmd.Bool("check") {
				return usagef("status: -check is about the cluster, and takes no RUN")
			}

			ref, err := runArg(cmd, 0)
			if err != nil {
				return err
			}

			api, id, err := c.env.connectRun(ctx, ref)
			if err != nil {
				return err
			}

			run, err := api.Runs().Get(ctx, id)
			if err != nil {
				return err
			}

			if cmd.Bool("json") {
				return c.env.printJSON(complete(run))
			}

			return c.printRun(run)
		}),
	}
}

// complete gives lists that are lists also where they are empty.
func complete(r wire.Run) wire.Run {
	if r.Modules == nil {
		r.Modules = []wire.Module{}
	}

	for i := range r.Modules {
		m := &r.Modules[i]
		if m.Outputs == nil {
			m.Outputs = []string{}
		}

		if m.Attempts == nil {
			m.Attempts = []wire.Attempt{}
		}
	}

	return r
}

// printRun prints a run and a table of its modules.
func (c statusCommand) printRun(r wire.Run) error {
	now := c.env.now()
	fmt.Fprintf(c.env.stdout, "run       %s (number %d)\n", terminal.Clean(string(r.ID)), r.Number)
	fmt.Fprintf(c.env.stdout, "pipeline  %s\n", terminal.Clean(r.Pipeline))
	fmt.Fprintf(c.env.stdout, "state     %s%s\n", pipeline.Words(r.State), terminal.Clean(terminal.ReasonSuffix(r.Reason)))
	submitted := r.SubmittedAt.Local().Format("2006-01-02 15:04:05")
	if r.Submitter != "" {
		submitted += " by " + terminal.Clean(r.Submitter)
	}

	fmt.Fprintf(c.env.stdout, "submitted %s\n", submitted)
	if p := r.Parent; p != nil {
		fmt.Fprintf(c.env.stdout, "parent    run %d (%s), module %s\n", p.Number, terminal.Clean(string(p.Run)), terminal.Clean(p.Module))
	}
	if r.Tick != nil {
		fmt.Fprintf(c.env.stdout, "tick      %s\n", terminal.Clean(tickText(&r.RunSummary)))
	}

	for _, fact := range r.RetryFacts() {
		label, rest, _ := strings.Cut(terminal.Clean(fact), " ") // retry of run 3 with …
		fmt.Fprintf(c.env.stdout, "%-9s %s\n", label, rest)
	}
	fmt.Fprintf(c.env.stdout, "took      %s\n", runTook(&r.RunSummary, now))
	if n := terminal.CountModules(r.Modules); n.Total() > 0 {
		fmt.Fprintf(c.env.stdout, "modules   %s\n", n)
	}
	for i := range r.Notices {
		fmt.Fprintf(c.env.stdout, "notified  %s\n", noticeText(&r.Notices[i], now))
	}

	fmt.Fprintln(c.env.stdout)
	t := terminal.NewTable(c.env.stdout, "MODULE", "STATE", "WORKER", "ATTEMPTS", "EXIT", "TOOK", "REASON")
	for i := range r.Modules {
		m := &r.Modules[i]
		code := ""
		if m.ExitCode != nil {
			code = fmt.Sprint(*m.ExitCode)
		}

		t.Row(m.Name, pipeline.Words(m.State), moduleWorker(m), fmt.Sprint(terminal.CountTries(m.Attempts)), code, moduleTook(m, now), moduleReason(m, now))
	}

	return t.Flush()
}

// noticeText says what became of a notification.
func noticeText(n *pipeline.Notice, now time.Time) string {
	text := fmt.Sprintf("%s of %s to webhook %s: %s", n.Name, n.Event, n.Webhook, n.State)
	if n.Reason != "" {
		text += ", " + n.Reason
	}
	return terminal.Clean(text + ", " + terminal.Ago(n.At, now))
}

// tickText is the time that a run of a schedule is for, and what made the run.
func tickText(r *wire.RunSummary) string {
	text := r.Tick.Format(time.RFC3339)
	if r.Schedule == "" {
		return text // the run retries one of a schedule
	}
	text += " of schedule " + r.Schedule
	switch r.Trigger {
	case pipeline.TriggerManual:
		text += ", triggered by hand"
	case pipeline.TriggerBackfill:
		text += ", made by a backfill"
	}
	return text
}

func moduleWorker(m *wire.Module) string {
	if m.Worker != "" {
		return m.Worker
	}

	if a := m.Last(); a != nil && !a.State.Final() {
		return a.Worker
	}

	return ""
}

// moduleTook is how long a module took, or has been running.
func moduleTook(m *wire.Module, now time.Time) string {
	if m.State == pipeline.ModuleRunning {
		if a := m.Last(); a != nil && a.StartedAt != nil {
			return terminal.ShortDuration(now.Sub(*a.StartedAt))
		}
		if c := m.Child(); c != nil && c.StartedAt != nil {
			return terminal.ShortDuration(now.Sub(*c.StartedAt))
		}
	}

	if m.StartedAt == nil || m.FinishedAt == nil {
		return ""
	}

	return terminal.ShortDuration(m.FinishedAt.Sub(*m.StartedAt))
}

// moduleReason is why a module stands where it does.
func moduleReason(m *wire.Module, now time.Time) string {
	if m.Reason != "" || m.State != pipeline.ModuleWaiting {
		return m.Reason
	}

	if m.NotBefore != nil && m.NotBefore.After(now) {
		return "retrying in " + terminal.ShortDuration(m.NotBefore.Sub(now))
	}

	return ""
}
