package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
)

// cacheCommand is `pipelined cache`.
type cacheCommand struct{ env *environment }

func (c cacheCommand) command() *cli.Command {
	pipelineFlag := func() cli.Flag {
		return &cli.StringFlag{Name: "pipeline", Usage: "only entries of this pipeline (`NAME`)", Local: true}
	}
	kindFlag := func() cli.Flag {
		return &cli.StringFlag{Name: "kind", Usage: "`KIND` of entries: results (of modules), bazel (Bazel and ccache) or turbo", Value: wire.KindResults, Local: true}
	}
	return &cli.Command{
		Name: "cache", Usage: "lists, counts and removes cached results and entries of remote caches", ArgsUsage: "ls, stats or prune",
		Description: "Without an agent on this machine it shows what `pipelined run` has stored, as -address run does.",
		Action:      noCommand,
		Commands: []*cli.Command{
			{
				Name: "ls", Usage: "lists cached results, or entries of remote caches",
				Flags:  []cli.Flag{kindFlag(), pipelineFlag(), jsonFlag()},
				Action: c.env.action(0, 0, c.list),
			},
			{
				Name: "stats", Usage: "counts cached results, hits and misses, and entries of remote caches",
				Flags:  []cli.Flag{jsonFlag()},
				Action: c.env.action(0, 0, c.stats),
			},
			{
				Name: "prune", Usage: "removes cached results, or entries of remote caches",
				Description: "At least one flag must select entries. Their files are deleted by the next sweep, unless a run still uses them.",
				Flags: []cli.Flag{
					kindFlag(), pipelineFlag(),
					&cli.StringFlag{Name: "unused", Usage: "entries without a hit for this `DURATION`, such as 12h or 30d", Local: true},
					&cli.StringFlag{Name: "max-size", Usage: "the least recently used entries, until the rest has at most this `SIZE`, such as 10GiB", Local: true},
					&cli.BoolFlag{Name: "all", Usage: "all entries", HideDefault: true, Local: true},
					&cli.BoolFlag{Name: "dry-run", Usage: "report what would be removed, and remove nothing", HideDefault: true, Local: true},
					jsonFlag(),
				},
				Action: c.env.action(0, 0, c.prune),
			},
		},
	}
}

// cacheKind reads -kind.
func cacheKind(cmd *cli.Command) (string, error) {
	kinds := []string{wire.KindResults, wire.KindBazel, wire.KindTurbo}
	kind := cmd.String("kind")
	switch {
	case !slices.Contains(kinds, kind):
		return "", usagef("-kind %.40q: expected %s%s", kind, strings.Join(kinds, ", "), terminal.DidYouMean(kind, kinds))
	case kind != wire.KindResults && cmd.String("pipeline") != "":
		return "", usagef("-pipeline selects cached results, but -kind is %s", kind)
	}

	return kind, nil
}

func (c cacheCommand) list(ctx context.Context, cmd *cli.Command) error {
	kind, err := cacheKind(cmd)
	if err != nil {
		return err
	}

	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	if kind != wire.KindResults {
		return c.listTools(ctx, cmd, api, kind)
	}

	all := wire.CacheList{}
	all.Entries, err = pages(func(cursor string) ([]wire.CacheEntry, string, error) {
		page, err := api.Cache().List(ctx, cmd.String("pipeline"), 1000, cursor)
		return page.Entries, page.Cursor, err
	})
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(all)
	}

	t := terminal.NewTable(c.env.stdout, "KEY", "PIPELINE", "MODULE", "RUN", "SIZE", "TOOK", "MADE", "USED", "HITS")
	now := c.env.now()
	for _, e := range all.Entries {
		t.Row(string(e.Key[:min(len(e.Key), 12)]), terminal.Clean(e.Pipeline), terminal.Clean(e.Module), string(e.Run), humanize.IBytes(uint64(max(e.Bytes, 0))),
			terminal.ShortDuration(terminal.Seconds(e.DurationSeconds)), terminal.Elapsed(e.MadeAt, now)+" ago", terminal.Elapsed(e.UsedAt, now)+" ago", fmt.Sprint(e.Hits))
	}

	return t.Flush()
}

// pages gathers a list that comes in pages: each call gives one, and where the
// next begins, which is "" behind the last. Without entries it is empty, not nil.
func pages[T any](page func(cursor string) ([]T, string, error)) ([]T, error) {
	all := []T{}
	for cursor := ""; ; {
		part, next, err := page(cursor)
		if err != nil {
			return nil, err
		}

		all = append(all, part...)
		if cursor = next; cursor == "" {
			return all, nil
		}
	}
}

// listTools lists what other tools keep.
func (c cacheCommand) listTools(ctx context.Context, cmd *cli.Command, api *client.Client, kind string) (err error) {
	all := wire.ToolList{}
	all.Entries, err = pages(func(cursor string) ([]wire.ToolEntry, string, error) {
		page, err := api.Cache().Tools(ctx, kind, 1000, cursor)
		return page.Entries, page.Cursor, err
	})
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(all)
	}

	t := terminal.NewTable(c.env.stdout, "SPACE", "TEAM", "KEY", "SIZE", "STORED", "USED")
	now := c.env.now()
	for _, e := range all.Entries {
		t.Row(string(e.Space), terminal.Clean(e.Team), terminal.Clean(e.Key[:min(len(e.Key), 16)]), humanize.IBytes(uint64(max(e.Bytes, 0))),
			terminal.Elapsed(e.StoredAt, now)+" ago", terminal.Elapsed(e.TakenAt, now)+" ago")
	}

	return t.Flush()
}

func (c cacheCommand) stats(ctx context.Context, cmd *cli.Command) error {
	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	s, err := api.Cache().Stats(ctx)
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(s)
	}

	fmt.Fprintf(c.env.stdout, "cached     %s, %s\n", numberOf(s.Entries, "result"), humanize.IBytes(uint64(max(s.Bytes, 0))))
	fmt.Fprintf(c.env.stdout, "in state   %s\n", humanize.IBytes(uint64(max(s.StateBytes, 0))))
	rate := ""
	if n := s.Hits + s.Misses; n > 0 {
		rate = fmt.Sprintf(" of %[2]d (%[1]d %%)", s.Hits*100/n, n)
	}

	fmt.Fprintf(c.env.stdout, "hits       %d%s\n", s.Hits, rate)
	fmt.Fprintf(c.env.stdout, "misses     %d\n", s.Misses)
	fmt.Fprintf(c.env.stdout, "saved      %s of work\n", terminal.ShortDuration(terminal.Seconds(s.SavedSeconds)))
	fmt.Fprintf(c.env.stdout, "evicted    %d\n", s.Evicted)
	for _, t := range s.Tools {
		fmt.Fprintf(c.env.stdout, "%-10s %s, %s\n", terminal.Clean(t.Kind), numberOf(t.Entries, "entry"), humanize.IBytes(uint64(max(t.Bytes, 0))))
	}

	if s.ToolsEvicted > 0 {
		fmt.Fprintf(c.env.stdout, "evicted    %s of remote caches\n", numberOf(int(s.ToolsEvicted), "entry"))
	}

	return nil
}

func (c cacheCommand) prune(ctx context.Context, cmd *cli.Command) error {
	kind, err := cacheKind(cmd)
	if err != nil {
		return err
	}

	unused, err := spanFlag(cmd, "unused")
	if err != nil {
		return err
	}
	in := wire.CachePrune{Kind: kind, Pipeline: cmd.String("pipeline"), UnusedSeconds: unused.Seconds(), All: cmd.Bool("all"), DryRun: cmd.Bool("dry-run")}

	if text := cmd.String("max-size"); text != "" {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > 1<<62 {
			return usagef("-max-size %.40q: expected a number and a unit, such as 10GiB", text)
		}

		size := int64(n)
		in.MaxBytes = &size
	}

	if !in.All && in.UnusedSeconds == 0 && in.MaxBytes == nil && in.Pipeline == "" {
		return usagef("cache prune: missing -unused, -max-size, -pipeline or -all")
	}

	if in.All && (cmd.IsSet("unused") || in.MaxBytes != nil) {
		return usagef("cache prune: -all excludes -unused and -max-size")
	}

	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}

	out, err := api.Cache().Prune(ctx, in)
	if err != nil {
		return err
	}

	if cmd.Bool("json") {
		return c.env.printJSON(out)
	}

	what := "removed"
	if in.DryRun {
		what = "would remove"
	}

	things := numberOf(out.Removed, "result")
	if kind != wire.KindResults {
		things = numberOf(out.Removed, "entry") + " of " + kind
	}

	fmt.Fprintf(c.env.stdout, "%s %s (%s)\n", what, things, humanize.IBytes(uint64(max(out.Bytes, 0))))
	return nil
}
