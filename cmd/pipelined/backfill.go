package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
)

// backfillCommand is `pipelined schedules backfill`.
func (c schedulesCommand) backfillCommand() *cli.Command {
	return &cli.Command{
		Name: "backfill", Usage: "starts runs of a schedule for its ticks in an interval of the past", ArgsUsage: "NAME",
		Description: "Each tick of the interval gets one run, with that tick as its run.tick; ticks that have a run are left out. " +
			"TIME is 2026-11-30T03:00:00Z, or 2026-11-30T03:00 or 2026-11-30 by the clock of the schedule's zone. pipelined schedules show NAME shows how far it is.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`TIME` at which the interval begins", Local: true},
			&cli.StringFlag{Name: "to", Usage: "`TIME` at which it ends; a date alone is the end of that day (default now)", Local: true},
			&cli.IntFlag{Name: "max-parallel", Usage: "at most `N` of its runs at once", Value: 1, Local: true},
			&cli.BoolFlag{Name: "again", Usage: "start runs for ticks too that have one", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "cancel", Usage: "stop the backfill of the schedule; its runs continue", HideDefault: true, Local: true},
			jsonFlag(),
		},
		Action: c.env.action(1, 1, c.backfill),
	}
}

func (c schedulesCommand) backfill(ctx context.Context, cmd *cli.Command) error {
	name, from, stop := cmd.Args().First(), cmd.String("from"), cmd.Bool("cancel")
	switch {
	case stop && (from != "" || cmd.String("to") != "" || cmd.Bool("again")):
		return usagef("schedules backfill: -cancel stops a backfill, and takes neither -from, -to nor -again")
	case !stop && from == "":
		return usagef("schedules backfill: missing -from TIME (see pipelined schedules backfill -h)")
	case cmd.Int("max-parallel") < 1:
		return usagef("schedules backfill: -max-parallel %d: expected 1 or more", cmd.Int("max-parallel"))
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	var s wire.Schedule
	if stop {
		s, err = api.Schedules().StopBackfill(ctx, name)
	} else {
		s, err = api.Schedules().Backfill(ctx, name, wire.BackfillRequest{From: from, To: cmd.String("to"), MaxParallel: cmd.Int("max-parallel"), Again: cmd.Bool("again")})
	}
	switch b := s.Backfill; {
	case err != nil:
		return err
	case cmd.Bool("json"):
		return c.env.printJSON(s)
	case stop || b == nil:
		c.env.tell("the backfill of schedule %s is stopped; its runs continue", name)
	default:
		c.env.tell("backfill of schedule %s: %s from %s to %s, at most %s at once; see pipelined schedules show %[1]s",
			name, numberOf(b.Ticks, "tick"), b.From.Format(time.RFC3339), b.To.Format(time.RFC3339), numberOf(b.MaxParallel, "run"))
	}
	return nil
}

// backfillProgress is how many of its ticks are done.
func backfillProgress(b *wire.Backfill) string {
	return fmt.Sprintf("%d of %d", b.HadRuns+b.Succeeded+b.Failed, b.Ticks)
}

// backfillText says how far a backfill is.
func backfillText(b *wire.Backfill) string {
	text := fmt.Sprintf("%s to %s: %s, %d had a run, %d succeeded", b.From.Format(time.RFC3339), b.To.Format(time.RFC3339), numberOf(b.Ticks, "tick"), b.HadRuns, b.Succeeded)
	if b.Failed > 0 {
		text += fmt.Sprintf(", %d failed", b.Failed)
	}
	switch {
	case b.FinishedAt == nil:
		text += fmt.Sprintf(", %d running of at most %d", b.Running, b.MaxParallel)
	case b.Stopped != "":
		text += "; " + b.Stopped
	}
	return text
}
