package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
)

// submitCommand is `pipelined submit`.
type submitCommand struct{ env *environment }

func (c submitCommand) command() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "sends a pipeline and its files to the cluster, and follows the run", ArgsUsage: "[FILE]",
		Description: "Exits as the run does. Ctrl-C detaches; the run continues.",
		Flags: append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), c.env.snapshotFlags()...)...),
			&cli.BoolFlag{Name: "detach", Usage: "print the run's id and exit", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "register", Usage: "register or replace the pipeline's schedule, and run nothing now", HideDefault: true, Local: true},
			logsFlag(), yesFlag(), jsonFlag(), reportFlag(),
		),
		Action: c.env.action(0, 1, c.run),
	}
}

func (c submitCommand) run(ctx context.Context, cmd *cli.Command) error {
	if cmd.Bool("register") && cmd.Bool("detach") {
		return usagef("submit: -register and -detach exclude each other")
	}

	reports, err := c.env.reports(cmd)
	if err != nil {
		return err
	}

	if len(reports.files) > 0 && (cmd.Bool("detach") || cmd.Bool("register")) {
		return usagef("submit: -report needs the end of the run: leave out -detach and -register, or use pipelined wait -report")
	}

	o, err := c.env.submission(cmd)
	if err != nil {
		return err
	}

	job, err := o.Check(ctx)
	if err != nil {
		return c.env.explain(err)
	}

	defer job.Close()
	if cmd.Bool("register") && !job.Scheduled() {
		return usagef("submit: -register: %s has no schedule: add schedule { cron = \"…\" }", job.FileName())
	}

	if err := c.env.confirmWorkspace(ctx, cmd, job); err != nil {
		return err
	}

	if err := job.TakeFiles(ctx); err != nil {
		return err
	}

	c.env.tellWorkspace(job)

	signals, back := c.env.signals()
	defer back()
	sending, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	api, err := c.env.connectCluster(sending, "submit")
	if err != nil {
		return cause(sending, err)
	}

	if cmd.Bool("register") {
		return c.register(sending, api, job, cmd.Bool("json"))
	}

	c.env.explainOnce(job)
	created, err := job.Submit(sending, api)
	job.Remember()
	if err != nil {
		return c.env.explain(cause(sending, err))
	}

	cancel(nil)
	if errors.Is(context.Cause(sending), errInterrupted) {
		return c.env.left(created.ID)
	}

	if cmd.Bool("detach") {
		if cmd.Bool("json") {
			return c.env.printJSON(created)
		}

		fmt.Fprintln(c.env.stdout, created.ID)
		return nil
	}

	// If submit is interrupted the run continues, so its id must be known.
	at := c.env.page(api, fmt.Sprint(created.Number))
	if c.env.tellHeading(job, created, at()); !c.env.live() {
		c.env.tellPage(fmt.Sprintf("%s (number %d) of %s", created.ID, created.Number, job.PipelineName()), at())
	}
	_, err = watcher(c).watch(ctx, api.Runs(), created.ID, watchOptions{json: cmd.Bool("json"), logs: cmd.Bool("logs"), signals: signals, ctrlC: leavesRunning, health: api.Health, election: newestElection(api), page: at,
		ended: func(run wire.Run, outcome error) error { return reports.end(ctx, api, run, outcome) },
		interrupt: func(ctx context.Context, _ os.Signal) error {
			return watcher(c).detachOrCancel(ctx, api, created.ID, signals)
		}})
	return err
}

// register registers a pipeline for its schedule, in the place of submitting it.
func (c submitCommand) register(ctx context.Context, api *client.Client, j *submission.Job, asJSON bool) error {
	s, err := j.Register(ctx, api)
	j.Remember()
	if err != nil {
		return c.env.explain(cause(ctx, err))
	}

	if asJSON {
		return c.env.printJSON(s)
	}

	if s.Paused {
		c.env.tell("registered schedule %s, which is still paused: pipelined schedules resume %[1]s", s.Name)
	} else {
		c.env.tell("registered schedule %s%s", s.Name, c.env.nextTick(&s, ": next "))
	}

	c.env.tell("its runs use the files as they are now: after a change, pipelined schedules update -files %s %s", s.Name, j.FileName())
	return nil
}

// explainOnce says that a pipeline with a schedule is run only once.
func (env *environment) explainOnce(j *submission.Job) {
	if j.Scheduled() {
		env.tell("%s has a schedule; this runs it once and does not register it (pipelined submit -register %s does)", j.PipelineName(), j.FileName())
	}
}
