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
	"github.com/pipelined/pipelined/pipeline"
)

// cacheFlags say what a run does with recorded results.
func cacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-cache", Usage: "take no recorded results and record none", HideDefault: true, Local: true},
		&cli.BoolFlag{Name: "refresh", Usage: "run everything, and record it anew", HideDefault: true, Local: true},
	}
}

// cacheMode is wire.SubmitRequest.Cache.
func cacheMode(cmd *cli.Command) (string, error) {
	off, refresh := cmd.Bool("no-cache"), cmd.Bool("refresh")
	switch {
	case off && refresh:
		return "", usagef("-no-cache and -refresh exclude each other: one records nothing, the other everything")
	case off:
		return pipeline.CacheOff, nil
	case refresh:
		return pipeline.CacheRefresh, nil
	}
	return "", nil
}

// foresee adds to a plan which modules would take a recorded result: those of
// the cluster, or of what `run` has kept. Without either a plan is a plan.
func (p *program) foresee(ctx context.Context, cmd *cli.Command, def *pipeline.Pipeline, plan *runPlan) {
	c, err := p.connectRead(ctx)
	if err != nil {
		if p.address != "" {
			p.tell("expected durations and recorded results are not shown: %v", err)
		}
		return
	}
	p.reckon(ctx, cmd, c, plan)
	if !slices.ContainsFunc(def.Modules, func(m pipeline.Module) bool { return m.Cache }) {
		return
	}
	found, err := p.lookUp(ctx, cmd, c)
	if err != nil {
		p.tell("recorded results are not shown: %v", err)
		return
	}
	for i := range found.Modules {
		for j := range plan.Modules {
			if plan.Modules[j].Name == found.Modules[i].Name {
				plan.Modules[j].Cache = &found.Modules[i]
			}
		}
	}
}

// lookUp sends the listing of the files, without the files, and asks.
func (p *program) lookUp(ctx context.Context, cmd *cli.Command, c *client.Client) (wire.CacheForecast, error) {
	j, err := p.checkRun(ctx, cmd)
	if err != nil {
		return wire.CacheForecast{}, err
	}
	defer j.close()
	if err := j.takeFiles(ctx, p); err != nil {
		return wire.CacheForecast{}, err
	}
	j.workspace.remember()
	if w := j.workspace; w.digest != "" {
		listing, err := w.blobs.Open(w.digest)
		if err != nil {
			return wire.CacheForecast{}, wrap("read the listing of the workspace", err)
		}
		defer listing.Close()
		if err := c.Blobs().Put(ctx, w.digest, listing); err != nil {
			return wire.CacheForecast{}, err
		}
	}
	return c.Cache().Lookup(ctx, j.request)
}

func (p *program) printForecast(f *wire.ModuleForecast) {
	switch {
	case f == nil:
	case f.CachedFrom != nil:
		fmt.Fprintf(p.stdout, "      cached: result of run %s\n", f.CachedFrom.Run)
	case f.Unknown != "":
		fmt.Fprintf(p.stdout, "      cached or not: %s\n", terminal.Clean(f.Unknown))
	default:
		for _, why := range f.Missed {
			fmt.Fprintf(p.stdout, "      not cached: %s\n", terminal.Clean(why))
		}
	}
}

func (p *program) cacheCommand() *cli.Command {
	pipelineFlag := func() cli.Flag {
		return &cli.StringFlag{Name: "pipeline", Usage: "of this pipeline (`NAME`) only", Local: true}
	}
	kindFlag := func() cli.Flag {
		return &cli.StringFlag{Name: "kind", Usage: "`KIND`: results (of modules), bazel (what Bazel and ccache keep) or turbo", Value: wire.KindResults, Local: true}
	}
	return &cli.Command{
		Name: "cache", Usage: "lists, counts and removes the recorded results of modules with cache = true, and what other tools keep", ArgsUsage: "ls, stats or prune",
		Description: "Without an agent on this machine it looks at what `pipelined run` has kept, as -address run does.",
		Action:      noCommand,
		Commands: []*cli.Command{
			{
				Name: "ls", Usage: "lists recorded results, or what other tools keep",
				Flags:  []cli.Flag{kindFlag(), pipelineFlag(), jsonFlag()},
				Action: p.action(0, 0, p.listCache),
			},
			{
				Name: "stats", Usage: "counts recorded results, how often they were taken, and what other tools keep",
				Flags:  []cli.Flag{jsonFlag()},
				Action: p.action(0, 0, p.cacheStats),
			},
			{
				Name: "prune", Usage: "removes recorded results, or what other tools keep",
				Description: "At least one of the flags says which go. Their files go with the next sweep, unless a run still has them.",
				Flags: []cli.Flag{
					kindFlag(), pipelineFlag(),
					&cli.DurationFlag{Name: "unused", Usage: "those that were not used for this `DURATION`", HideDefault: true, Local: true},
					&cli.StringFlag{Name: "max-size", Usage: "those used longest ago, until the rest is no more than `SIZE` (such as 10GiB)", Local: true},
					&cli.BoolFlag{Name: "all", Usage: "all of them", HideDefault: true, Local: true},
					&cli.BoolFlag{Name: "dry-run", Usage: "tell what would go, and remove nothing", HideDefault: true, Local: true},
					jsonFlag(),
				},
				Action: p.action(0, 0, p.pruneCache),
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
		return "", usagef("-kind %.40q: want %s%s", kind, strings.Join(kinds, ", "), terminal.DidYouMean(kind, kinds))
	case kind != wire.KindResults && cmd.String("pipeline") != "":
		return "", usagef("-pipeline selects recorded results, and -kind is %s", kind)
	}
	return kind, nil
}

func (p *program) listCache(ctx context.Context, cmd *cli.Command) error {
	kind, err := cacheKind(cmd)
	if err != nil {
		return err
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	if kind != wire.KindResults {
		return p.listTools(ctx, cmd, c, kind)
	}
	all := wire.CacheList{}
	all.Entries, err = pages(func(cursor string) ([]wire.CacheEntry, string, error) {
		page, err := c.Cache().List(ctx, cmd.String("pipeline"), 1000, cursor)
		return page.Entries, page.Cursor, err
	})
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(all)
	}
	t := terminal.NewTable(p.stdout, "KEY", "PIPELINE", "MODULE", "RUN", "SIZE", "TOOK", "MADE", "USED", "HITS")
	now := p.now()
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
func (p *program) listTools(ctx context.Context, cmd *cli.Command, c *client.Client, kind string) (err error) {
	all := wire.ToolList{}
	all.Entries, err = pages(func(cursor string) ([]wire.ToolEntry, string, error) {
		page, err := c.Cache().Tools(ctx, kind, 1000, cursor)
		return page.Entries, page.Cursor, err
	})
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(all)
	}
	t := terminal.NewTable(p.stdout, "SPACE", "TEAM", "KEY", "SIZE", "STORED", "TAKEN")
	now := p.now()
	for _, e := range all.Entries {
		t.Row(string(e.Space), terminal.Clean(e.Team), terminal.Clean(e.Key[:min(len(e.Key), 16)]), humanize.IBytes(uint64(max(e.Bytes, 0))),
			terminal.Elapsed(e.StoredAt, now)+" ago", terminal.Elapsed(e.TakenAt, now)+" ago")
	}
	return t.Flush()
}

func (p *program) cacheStats(ctx context.Context, cmd *cli.Command) error {
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	s, err := c.Cache().Stats(ctx)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(s)
	}
	fmt.Fprintf(p.stdout, "recorded   %d results, %s\n", s.Entries, humanize.IBytes(uint64(max(s.Bytes, 0))))
	fmt.Fprintf(p.stdout, "in state   %s\n", humanize.IBytes(uint64(max(s.StateBytes, 0))))
	rate := ""
	if n := s.Hits + s.Misses; n > 0 {
		rate = fmt.Sprintf(" (%d %% of %d)", s.Hits*100/n, n)
	}
	fmt.Fprintf(p.stdout, "taken      %d%s\n", s.Hits, rate)
	fmt.Fprintf(p.stdout, "run        %d\n", s.Misses)
	fmt.Fprintf(p.stdout, "saved      %s of work\n", terminal.ShortDuration(terminal.Seconds(s.SavedSeconds)))
	fmt.Fprintf(p.stdout, "displaced  %d\n", s.Evicted)
	for _, t := range s.Tools {
		fmt.Fprintf(p.stdout, "%-10s %d entries, %s\n", terminal.Clean(t.Kind), t.Entries, humanize.IBytes(uint64(max(t.Bytes, 0))))
	}
	if s.ToolsEvicted > 0 {
		fmt.Fprintf(p.stdout, "displaced  %d entries of other tools\n", s.ToolsEvicted)
	}
	return nil
}

func (p *program) pruneCache(ctx context.Context, cmd *cli.Command) error {
	kind, err := cacheKind(cmd)
	if err != nil {
		return err
	}
	in := wire.CachePrune{Kind: kind, Pipeline: cmd.String("pipeline"), UnusedSeconds: cmd.Duration("unused").Seconds(), All: cmd.Bool("all"), DryRun: cmd.Bool("dry-run")}
	if in.UnusedSeconds < 0 {
		return usagef("-unused %s: want a duration above zero", cmd.Duration("unused"))
	}
	if text := cmd.String("max-size"); text != "" {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > 1<<62 {
			return usagef("-max-size %.40q: want a number and a unit, such as 10GiB", text)
		}
		size := int64(n)
		in.MaxBytes = &size
	}
	if !in.All && in.UnusedSeconds == 0 && in.MaxBytes == nil && in.Pipeline == "" {
		return usagef("cache prune: say which results go: -unused, -max-size, -pipeline or -all")
	}
	if in.All && (cmd.IsSet("unused") || in.MaxBytes != nil) {
		return usagef("cache prune: -all removes every one, whatever -unused and -max-size say: leave it, or them, out")
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	out, err := c.Cache().Prune(ctx, in)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(out)
	}
	what := "removed"
	if in.DryRun {
		what = "would remove"
	}
	things := "results"
	if kind != wire.KindResults {
		things = "entries of " + kind
	}
	fmt.Fprintf(p.stdout, "%s %d %s (%s)\n", what, out.Removed, things, humanize.IBytes(uint64(max(out.Bytes, 0))))
	return nil
}
