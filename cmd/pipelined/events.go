package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// eventsCommand is `pipelined events`.
type eventsCommand struct{ env *environment }

func (c eventsCommand) command() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "prints what happened: runs, losses, elections, approvals, tokens",
		Description: "Prints the newest events, oldest first; with -f also those that follow, through any node. Successes of modules are not events: see status.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "follow: print events as they happen", HideDefault: true, Local: true},
			&cli.StringFlag{Name: "run", Usage: "only events of this `RUN`: an id, a number, PIPELINE/NUMBER or last", Local: true},
			&cli.StringFlag{Name: "node", Usage: "only events that name this `NODE`", Local: true},
			&cli.StringSliceFlag{Name: "type", Usage: "only events of this type (`NAME`), for example run.finished, or run for all types of runs; may be repeated", Local: true},
			&cli.StringFlag{Name: "since", Usage: "all events since this `TIME`: a duration before now such as 10m or 2d, or 2006-01-02T15:04:05Z; a whole number is the raft index of an event, and prints those after it", Local: true},
			&cli.IntFlag{Name: "limit", Usage: "largest number `N` of events that have happened before; not with -since", Value: 100, Local: true},
			&cli.StringFlag{Name: "o", Usage: "`FORMAT`: text, or json for CloudEvents as lines of JSON", Value: "text", Local: true},
			&cli.BoolFlag{Name: "json", Usage: "same as -o json", HideDefault: true, Local: true},
		},
		Action: c.env.action(0, 0, c.run),
	}
}

// maxEventPage is how many events are asked for at once.
const maxEventPage = 1000

func (c eventsCommand) run(ctx context.Context, cmd *cli.Command) error {
	limit, format := cmd.Int("limit"), cmd.String("o")
	types := cmd.StringSlice("type")
	switch {
	case limit < 1 || limit > maxEventPage:
		return usagef("-limit %d: expected 1 to %d", limit, maxEventPage)
	case format != "text" && format != "json":
		return usagef("-o %s: expected text or json", format)
	}
	for _, t := range types {
		if !slices.ContainsFunc(pipeline.EventKinds, func(k pipeline.EventKind) bool { return k.Matches(t) }) {
			return usagef("-type %.80s: expected a type of events such as run.finished, or its first part%s", t, terminal.DidYouMean(t, eventNames()))
		}
	}

	o := client.EventOptions{Limit: limit, Node: cmd.String("node"), Types: types}
	var from time.Time
	if cmd.IsSet("since") {
		index, err := strconv.ParseUint(cmd.String("since"), 10, 64)
		if err != nil {
			if from, err = wire.ParseSince(cmd.String("since"), c.env.now()); err != nil {
				return usagef("-%w, or the index of an event", err)
			}
		}
		o.Since, o.Limit = &index, maxEventPage
	}

	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	if err := c.env.reach(ctx, api); err != nil {
		return err
	}

	p := &eventPrinter{env: c.env, node: o.Node, types: types, from: from, json: format == "json" || cmd.Bool("json"), base: api.Page()}
	if name := cmd.String("run"); name != "" {
		ref, err := pipeline.ParseRunRef(name)
		if err != nil {
			return usagef("-run: %w", err)
		}
		if p.run, err = api.Runs().Find(ctx, ref); err != nil {
			return err
		}
	}

	o.Run = string(p.run)
	index, err := p.past(ctx, api, o)
	if err != nil || !cmd.Bool("f") {
		return err
	}

	signals, back := c.env.signals()
	defer back()
	ctx, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	return cause(ctx, api.Events().Follow(ctx, index, p.happened))
}

// eventNames are the names that -type takes.
func eventNames() []string {
	names := make([]string, len(pipeline.EventKinds))
	for i, k := range pipeline.EventKinds {
		names[i] = k.Name
	}
	return names
}

// eventPrinter prints events.
type eventPrinter struct {
	env   *environment
	run   pipeline.RunID
	node  string
	types []string
	// from leaves out what happened before it.
	from time.Time
	json bool
	// base is the address of the dashboard.
	base string
}

// past prints what has happened, and gives the index from which to follow.
func (p *eventPrinter) past(ctx context.Context, api *client.Client, o client.EventOptions) (uint64, error) {
	for {
		list, err := api.Events().List(ctx, o)
		if err != nil {
			return 0, err
		}
		if o.Since != nil && list.DeletedThrough > *o.Since && !p.reaches(list.Events) {
			p.env.tell("events up to index %d are no longer kept", list.DeletedThrough)
		}
		for i := range list.Events {
			if list.Events[i].Time.Before(p.from) {
				continue
			}
			if err := p.print(&list.Events[i]); err != nil {
				return 0, err
			}
		}
		p.env.stdout.Flush()
		if o.Since == nil || len(list.Events) < maxEventPage {
			return list.Index, nil
		}
		o.Since = &list.Index // there may be more
	}
}

// reaches reports whether kept events, oldest first, are of before the time from.
func (p *eventPrinter) reaches(events []wire.Event) bool {
	return len(events) > 0 && events[0].Time.Before(p.from)
}

// happened prints what is to be printed of what happened.
func (p *eventPrinter) happened(news wire.StreamHappened) error {
	if news.Reset {
		p.env.tell("some events before index %d are no longer kept and are left out", news.Index)
	}
	for i := range news.Events {
		e := &news.Events[i]
		selected := len(p.types) == 0 || slices.ContainsFunc(pipeline.EventKinds, func(k pipeline.EventKind) bool {
			return k.Name == e.Name && slices.ContainsFunc(p.types, k.Matches)
		})
		if !selected || p.run != "" && e.Run != p.run || p.node != "" && e.Node != p.node && e.Data.Previous != p.node {
			continue
		}
		if err := p.print(e); err != nil {
			return err
		}
	}
	p.env.stdout.Flush()
	return p.env.stdout.Err()
}

// print prints one event as a line.
func (p *eventPrinter) print(e *wire.Event) error {
	if !p.json {
		_, err := fmt.Fprintf(p.env.stdout, "%s  %-19s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Name, terminal.Flat(e.Text))
		return err
	}
	enc := json.NewEncoder(p.env.stdout)
	enc.SetEscapeHTML(false)
	return wrap("write output", enc.Encode(wire.CloudEventOf(*e, p.base)))
}
