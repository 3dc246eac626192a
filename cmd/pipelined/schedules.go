package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

func (p *program) schedulesCommand() *cli.Command {
	one := func(name, usage string, do func(context.Context, *client.Client, string) error) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "NAME",
			Action: p.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
				c, err := p.connect(ctx)
				if err != nil {
					return err
				}
				return do(ctx, c, cmd.Args().First())
			})}
	}
	list := p.action(0, 0, p.listSchedules)
	return &cli.Command{
		Name: "schedules", Usage: "lists the pipelines that are registered for their schedules; pauses, resumes, triggers and removes them",
		ArgsUsage:   "[ls, show, pause, resume, trigger or rm]",
		Description: "submit -register FILE registers a pipeline. A schedule has the name of its pipeline.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if name := cmd.Args().First(); name != "" {
				return unknownCommand(cmd, name)
			}
			return list(ctx, cmd)
		},
		Commands: []*cli.Command{
			{Name: "ls", Usage: "lists schedules: when each is due next, and what became of the last time", Flags: []cli.Flag{jsonFlag()}, Action: list},
			{Name: "show", Usage: "shows a schedule and what became of its last ticks", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag()},
				Action: p.action(1, 1, p.showSchedule)},
			one("pause", "lets a schedule make no runs; those that there are go on", func(ctx context.Context, c *client.Client, name string) error {
				_, err := c.Schedules().Pause(ctx, name)
				if err == nil {
					p.tell("schedule %s is paused; what is due meanwhile is passed over", name)
				}
				return err
			}),
			one("resume", "lets a paused schedule make runs again, from now on", func(ctx context.Context, c *client.Client, name string) error {
				s, err := c.Schedules().Resume(ctx, name)
				if err == nil {
					p.tell("schedule %s goes on%s", name, p.nextText(&s, ": next "))
				}
				return err
			}),
			one("trigger", "makes a run of a schedule now and prints its id, also where it is paused", func(ctx context.Context, c *client.Client, name string) error {
				run, err := c.Schedules().Trigger(ctx, name)
				if err == nil {
					fmt.Fprintln(p.stdout, run.ID)
				}
				return err
			}),
			one("rm", "removes a schedule; its runs stay", func(ctx context.Context, c *client.Client, name string) error {
				err := c.Schedules().Remove(ctx, name)
				if err == nil {
					p.tell("schedule %s is removed", name)
				}
				return err
			}),
		},
	}
}

func (p *program) listSchedules(ctx context.Context, cmd *cli.Command) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	list, err := c.Schedules().List(ctx)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(list)
	}
	t := terminal.NewTable(p.stdout, "NAME", "CRON", "ZONE", "NEXT", "LAST", "RUN", "STATE")
	for i := range list.Schedules {
		s := &list.Schedules[i]
		last, run, state := "", "", ""
		if s.Last != nil {
			last, run, state = p.clock(s.Last.Tick, s.Timezone), string(s.Last.Run), tickState(s.Last)
		}
		t.Row(terminal.Clean(s.Name), terminal.Clean(strings.Join(s.Cron, "; ")), s.Timezone, p.nextText(s, ""), last, run, terminal.Clean(state))
	}
	return t.Flush()
}

func (p *program) showSchedule(ctx context.Context, cmd *cli.Command) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	s, err := c.Schedules().Get(ctx, cmd.Args().First())
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(s)
	}
	line := func(name, text string) { fmt.Fprintf(p.stdout, "%-10s%s\n", name, terminal.Clean(text)) }
	line("schedule", s.Name)
	line("cron", strings.Join(s.Cron, "; ")+" in "+s.Timezone)
	line("overlap", s.Overlap+", catch_up "+s.CatchUp)
	if s.Group != "" {
		line("group", s.Group)
	}
	line("next", p.nextText(&s, ""))
	line("ticks", fmt.Sprintf("%d made runs, %d were skipped", s.Fired, s.Skipped))
	line("by", s.Submitter+", "+terminal.Ago(s.RegisteredAt, p.now()))
	if len(s.Ticks) == 0 {
		return nil
	}
	fmt.Fprintln(p.stdout)
	t := terminal.NewTable(p.stdout, "TICK", "RUN", "STATE")
	for i := range s.Ticks {
		t.Row(p.clock(s.Ticks[i].Tick, s.Timezone), string(s.Ticks[i].Run), terminal.Clean(tickState(&s.Ticks[i])))
	}
	return t.Flush()
}

// tickState is what became of a tick, in words.
func tickState(t *wire.Tick) string {
	switch {
	case t.Skipped != "" && t.Count > 1:
		return fmt.Sprintf("skipped, with %d before it: %s", t.Count-1, t.Skipped)
	case t.Skipped != "":
		return "skipped: " + t.Skipped
	case t.State == "":
		return "no longer kept"
	}
	return terminal.StateWords(string(t.State))
}

// nextText is when a schedule is due next; before it stands before, where it is
// due at all.
func (p *program) nextText(s *wire.Schedule, before string) string {
	switch {
	case s.Paused:
		return "paused"
	case s.Next == nil || s.Next.Year() >= 9999:
		return "never"
	}
	text := before + p.clock(*s.Next, s.Timezone)
	if in := s.Next.Sub(p.now()); in > 0 {
		text += " (in " + terminal.ShortDuration(in) + ")"
	}
	return text
}

// clock shows a time as the clock of a zone does, where the zone is known here.
func (p *program) clock(t time.Time, zone string) string {
	if loc, err := time.LoadLocation(zone); err == nil {
		t = t.In(loc)
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

// register registers a pipeline for its schedule, in the place of submitting it.
func (p *program) register(ctx context.Context, c *client.Client, j *job, asJSON bool) error {
	s, err := c.Schedules().RegisterWith(ctx, j.key, &j.request, j.send)
	j.workspace.remember()
	if err != nil {
		return p.explain(cause(ctx, err))
	}
	if asJSON {
		return p.printJSON(s)
	}
	if s.Paused {
		p.tell("schedule %s is registered, and still paused: pipelined schedules resume %[1]s", s.Name)
		return nil
	}
	p.tell("schedule %s is registered%s", s.Name, p.nextText(&s, ": next "))
	return nil
}

// onceOnly tells that a pipeline with a schedule is run once.
func (p *program) onceOnly(j *job) {
	if j.source.file.Scheduled() {
		p.tell("%s has a schedule, which this does not register: it runs once (pipelined submit -register %s)", j.source.file.Name(), j.source.name)
	}
}
