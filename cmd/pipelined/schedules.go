package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

// schedulesCommand is `pipelined schedules`.
type schedulesCommand struct{ env *environment }

func (c schedulesCommand) command() *cli.Command {
	one := func(name, usage string, do func(context.Context, *client.Client, string) error) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "NAME",
			Action: c.env.action(1, 1, func(ctx context.Context, cmd *cli.Command) error {
				api, err := c.env.connect(ctx)
				if err != nil {
					return err
				}

				return do(ctx, api, cmd.Args().First())
			})}
	}
	list := answer(c.env, c.env.connect, c.list, c.print)
	return &cli.Command{
		Name: "schedules", Usage: "lists, pauses, resumes, triggers, backfills, updates and removes schedules",
		ArgsUsage:   "[ls, show, pause, resume, trigger, backfill, update or rm]",
		Description: "pipelined submit -register FILE adds a schedule. It has the name of its pipeline.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if name := cmd.Args().First(); name != "" {
				return unknownCommand(cmd, name)
			}
			return list(ctx, cmd)
		},
		Commands: []*cli.Command{
			{Name: "ls", Usage: "lists schedules with their next and last tick", Flags: []cli.Flag{jsonFlag()}, Action: list},
			{Name: "show", Usage: "shows a schedule with its last ticks", ArgsUsage: "NAME", Flags: []cli.Flag{jsonFlag()},
				Action: c.env.action(1, 1, c.show)},
			one("pause", "pauses a schedule; its running runs continue", func(ctx context.Context, api *client.Client, name string) error {
				_, err := api.Schedules().Pause(ctx, name)
				if err == nil {
					c.env.tell("schedule %s is paused; ticks missed while paused are skipped", name)
				}

				return err
			}),
			one("resume", "resumes a paused schedule", func(ctx context.Context, api *client.Client, name string) error {
				s, err := api.Schedules().Resume(ctx, name)
				if err == nil {
					c.env.tell("schedule %s resumed%s", name, c.env.nextTick(&s, ": next "))
				}

				return err
			}),
			{Name: "trigger", Usage: "starts a run of a schedule now, even if it is paused, and prints the run's id", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "var", Usage: "value of a variable for this run (`NAME=VALUE`); may be repeated", Local: true},
					&cli.StringSliceFlag{Name: "var-file", Usage: "`FILE` with values of variables, as for submit; may be repeated, the last wins", TakesFile: true, Local: true},
					&cli.StringFlag{Name: "tick", Usage: "`TIME` that the run is for, its run.tick: 2026-11-30T03:00:00Z, or 2026-11-30T03:00 or 2026-11-30 by the clock of the schedule's zone (default now)", Local: true},
				},
				Action: c.env.action(1, 1, c.trigger)},
			c.backfillCommand(),
			c.updateCommand(),
			one("rm", "removes a schedule; its runs are kept", func(ctx context.Context, api *client.Client, name string) error {
				err := api.Schedules().Remove(ctx, name)
				if err == nil {
					c.env.tell("removed schedule %s", name)
				}

				return err
			}),
		},
	}
}

func (c schedulesCommand) list(ctx context.Context, api *client.Client) (wire.ScheduleList, error) {
	return api.Schedules().List(ctx)
}

func (c schedulesCommand) print(list wire.ScheduleList) error {
	t := terminal.NewTable(c.env.stdout, "NAME", "CRON", "ZONE", "NEXT", "LAST", "RUN", "STATE", "FILES")
	for i := range list.Schedules {
		s := &list.Schedules[i]
		last, run, state := "", "", ""
		if s.Last != nil {
			last, run, state = c.env.clock(s.Last.Tick, s.Timezone), string(s.Last.Run), tickState(s.Last)
		}

		if s.Backfill != nil && s.Backfill.FinishedAt == nil {
			state += ", backfill " + backfillProgress(s.Backfill)
		}

		t.Row(terminal.Clean(s.Name), terminal.Clean(strings.Join(s.Cron, "; ")), s.Timezone, c.env.nextTick(s, ""), last, run, terminal.Clean(strings.TrimPrefix(state, ", ")), filesOf(s, c.env.now()))
	}

	return t.Flush()
}

func (c schedulesCommand) show(ctx context.Context, cmd *cli.Command) error {
	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	s, err := api.Schedules().Get(ctx, cmd.Args().First())
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(s)
	}

	line := func(name, text string) { fmt.Fprintf(c.env.stdout, "%-10s%s\n", name, terminal.Clean(text)) }
	line("schedule", s.Name)
	line("cron", strings.Join(s.Cron, "; ")+" in "+s.Timezone)
	line("overlap", s.Overlap+", catch_up "+s.CatchUp)
	if s.Group != "" {
		line("group", s.Group)
	}

	line("next", c.env.nextTick(&s, ""))
	line("ticks", fmt.Sprintf("%d started runs, %d were skipped", s.Fired, s.Skipped))
	if b := s.Backfill; b != nil {
		line("backfill", backfillText(b))
	}

	for _, name := range slices.Sorted(maps.Keys(s.Variables)) {
		line("variable", name+" = "+s.Variables[name])
	}
	for _, name := range s.Sensitive {
		line("variable", name+" = *** (sensitive)")
	}

	line("files", scheduleFiles(&s, c.env.now()))
	line("by", s.Submitter+", "+terminal.Ago(s.RegisteredAt, c.env.now()))
	if len(s.Ticks) == 0 {
		return nil
	}

	fmt.Fprintln(c.env.stdout)
	t := terminal.NewTable(c.env.stdout, "TICK", "RUN", "STATE")
	for i := range s.Ticks {
		t.Row(c.env.clock(s.Ticks[i].Tick, s.Timezone), string(s.Ticks[i].Run), terminal.Clean(tickState(&s.Ticks[i])))
	}

	return t.Flush()
}

func (c schedulesCommand) trigger(ctx context.Context, cmd *cli.Command) error {
	variables, err := c.env.variablesOf(cmd)
	if err != nil {
		return c.env.explain(err)
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	run, err := api.Schedules().Trigger(ctx, cmd.Args().First(), wire.TriggerRequest{Tick: cmd.String("tick"), Variables: variables})
	if err != nil {
		return c.env.explain(err)
	}

	fmt.Fprintln(c.env.stdout, run.ID)
	return nil
}

// tickState is what became of a tick, in words.
func tickState(t *wire.Tick) string {
	switch {
	case t.Skipped != "" && t.Count > 1:
		return fmt.Sprintf("skipped, with %d before it: %s", t.Count-1, t.Skipped)
	case t.Skipped != "":
		return "skipped: " + t.Skipped
	case t.State == "":
		return "deleted"
	}
	return pipeline.Words(t.State)
}

// nextTick is when a schedule is due next; before it stands before, if it is
// due at all.
func (env *environment) nextTick(s *wire.Schedule, before string) string {
	switch {
	case s.Paused:
		return "paused"
	case s.Next == nil || s.Next.Year() >= 9999:
		return "never"
	}

	text := before + env.clock(*s.Next, s.Timezone)
	if in := s.Next.Sub(env.now()); in > 0 {
		text += " (in " + terminal.ShortDuration(in) + ")"
	}

	return text
}

// clock shows a time as the clock of a zone does.
func (env *environment) clock(t time.Time, zone string) string {
	return calendar.In(t, zone).Format("2006-01-02 15:04:05 MST")
}
