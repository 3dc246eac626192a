package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// updateCommand is `pipelined schedules update`.
func (c schedulesCommand) updateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "takes the pipeline and files of a schedule anew", ArgsUsage: "NAME [FILE]",
		Description: "A schedule runs the files of its registration: a fix in the repository is in its runs only after this. " +
			"The values of its variables, whether it is paused and what became of its ticks stay. To change values, register it again.",
		Flags: append(c.env.snapshotFlags(),
			&cli.BoolFlag{Name: "files", Usage: "take FILE (default pipeline.hcl) and the files of its workspace as they are now", HideDefault: true, Local: true},
			yesFlag(), jsonFlag()),
		Action: c.env.action(1, 2, c.update),
	}
}

func (c schedulesCommand) update(ctx context.Context, cmd *cli.Command) error {
	name := cmd.Args().First()
	if !cmd.Bool("files") {
		return usagef("schedules update: missing -files: it takes the pipeline and its files anew (see pipelined schedules update -h)")
	}

	file, err := c.env.fileAt(cmd, 1)
	if err != nil {
		return err
	}
	o, err := c.env.submissionOf(cmd, file, "")
	if err != nil {
		return err
	}
	o.Unchecked = true

	job, err := o.Check(ctx)
	if err != nil {
		return c.env.explain(err)
	}
	defer job.Close()

	if err := c.env.confirmWorkspace(ctx, cmd, job); err != nil {
		return err
	}
	if err := job.TakeFiles(ctx); err != nil {
		return err
	}
	c.env.tellWorkspace(job)

	api, err := c.env.connectCluster(ctx, "schedules update")
	if err != nil {
		return err
	}
	s, err := job.UpdateSchedule(ctx, api, name)
	job.Remember()
	if err != nil {
		return c.env.explain(err)
	}

	if cmd.Bool("json") {
		return c.env.printJSON(s)
	}
	c.env.tell("schedule %s runs %s and its files as they are now; its variables are kept; %s", s.Name, job.FileName(), c.env.nextTick(&s, "next "))
	return nil
}

// scheduleFiles says which files the runs of a schedule use.
func scheduleFiles(s *wire.Schedule, now time.Time) string {
	return filesOf(s, now) + "; after a change: pipelined schedules update -files " + s.Name
}

// filesOf says of when the files of a schedule are.
func filesOf(s *wire.Schedule, now time.Time) string {
	text := "of " + terminal.Ago(s.RegisteredAt, now)
	if s.Git != nil && s.Git.SHA != "" {
		text += ", commit " + s.Git.SHA[:min(8, len(s.Git.SHA))]
		if s.Git.Dirty {
			text += " with changes"
		}
	}
	return text
}
