package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// historyCommand is `pipelined history`.
type historyCommand struct{ env *environment }

const (
	// historyRuns and historyModules are how many rows are printed.
	historyRuns    = 10
	historyModules = 20
	maxHistoryRuns = 200
)

func (c historyCommand) command() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "shows durations, failure rates and flaky modules over the newest runs", ArgsUsage: "[PIPELINE]",
		Description: "Without PIPELINE it lists the pipelines that have runs or a schedule.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Usage: "look at the newest `N` runs", Value: 50, Local: true},
			&cli.StringFlag{Name: "compare", Usage: "compare two runs (`RUN,RUN`), or a run (`RUN`) with the one before it that succeeded", Local: true},
			jsonFlag(),
		},
		Action: c.env.action(0, 1, c.run),
	}
}

func (c historyCommand) run(ctx context.Context, cmd *cli.Command) error {
	name, limit, compare := cmd.Args().First(), cmd.Int("limit"), cmd.String("compare")
	switch {
	case cmd.IsSet("compare") && name != "":
		return usagef("history: -compare excludes PIPELINE")
	case cmd.IsSet("compare") && compare == "":
		return usagef("-compare: expected RUN or RUN,RUN")
	case limit < 1 || limit > maxHistoryRuns:
		return usagef("-limit %d: expected 1 to %d", limit, maxHistoryRuns)
	}

	api, err := c.env.connectRead(ctx)
	if err != nil {
		return err
	}
	switch {
	case compare != "":
		return c.compare(ctx, api, cmd, compare)
	case name == "":
		return c.list(ctx, api, cmd)
	}

	h, err := api.Histories().Pipeline(ctx, name, limit)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return c.env.printJSON(h)
	}
	return c.print(&h)
}

// list prints a row for each pipeline.
func (c historyCommand) list(ctx context.Context, api *client.Client, cmd *cli.Command) error {
	list, err := api.Histories().Pipelines(ctx)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return c.env.printJSON(list)
	}

	t := terminal.NewTable(c.env.stdout, "PIPELINE", "RUNS", "LAST", "STATE", "P50", "P95", "FAILED", "CACHED", "TREND", "NEXT")
	for i := range list.Pipelines {
		p := &list.Pipelines[i]
		last, state := "", ""
		if len(p.Newest) > 0 {
			last, state = terminal.Ago(p.Newest[0].SubmittedAt, c.env.now()), pipeline.Words(p.Newest[0].State)
		}
		t.Row(p.Name, fmt.Sprint(p.Runs), last, state, shortSeconds(p.P50Seconds), shortSeconds(p.P95Seconds), percent(p.FailureRate), percent(p.CacheRate),
			trendText(p.Trend), c.next(p))
	}
	return t.Flush()
}

// next is when the schedule of a pipeline is due.
func (c historyCommand) next(p *wire.PipelineSummary) string {
	switch {
	case p.Paused:
		return "paused"
	case p.Next == nil || p.Next.Year() >= 9999:
		return ""
	}
	return "in " + terminal.ShortDuration(p.Next.Sub(c.env.now()))
}

// print prints the history of a pipeline.
func (c historyCommand) print(h *wire.PipelineHistory) error {
	out := c.env.stdout
	fmt.Fprintf(out, "%s: %s\n\n", terminal.Clean(h.Name), figuresText(h))
	t := terminal.NewTable(out, "RUN", "STATE", "TOOK", "MODULES", "FAILED", "FLAKY", "CACHED", "SUBMITTED", "BY")
	for i := range h.Newest[:min(len(h.Newest), historyRuns)] {
		r := &h.Newest[i]
		t.Row(fmt.Sprint(r.Number), pipeline.Words(r.State), shortSeconds(r.Seconds), fmt.Sprint(r.Modules), countText(r.Failed), countText(r.Flaky), countText(r.Cached),
			terminal.Ago(r.SubmittedAt, c.env.now()), r.Submitter)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(h.Modules) == 0 {
		return nil
	}

	fmt.Fprintln(out)
	modules := failedFirst(h.Modules)
	t = terminal.NewTable(out, "MODULE", "RUNS", "P50", "P95", "TREND", "FAILED", "FLAKY", "CACHED", "LAST FAILURE")
	for i := range modules[:min(len(modules), historyModules)] {
		m := &modules[i]
		t.Row(m.Name, fmt.Sprint(m.Runs), shortSeconds(m.P50Seconds), shortSeconds(m.P95Seconds), trendText(m.Trend), percent(m.FailureRate), percent(m.FlakyRate),
			percent(m.CacheRate), lastFailure(m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if n := len(h.Modules) - historyModules; n > 0 {
		text := "with less time"
		if failed := failures(modules[historyModules:]); failed > 0 {
			text = fmt.Sprintf("(%d failed too)", failed)
		}
		fmt.Fprintf(out, "and %s %s (-json has all)\n", numberOf(n, "more module"), text)
	}
	return nil
}

// failedFirst puts the modules that failed or were flaky before the others.
func failedFirst(modules []wire.ModuleHistory) []wire.ModuleHistory {
	list := slices.Clone(modules)
	slices.SortStableFunc(list, func(a, b wire.ModuleHistory) int {
		switch failed := hasFailed(&a); {
		case failed == hasFailed(&b):
			return 0
		case failed:
			return -1
		}
		return 1
	})
	return list
}

// hasFailed reports whether a module failed or was flaky.
func hasFailed(m *wire.ModuleHistory) bool { return m.LastFailed != nil || m.LastFlaky != nil }

// failures counts the modules that failed or were flaky.
func failures(modules []wire.ModuleHistory) (n int) {
	for i := range modules {
		if hasFailed(&modules[i]) {
			n++
		}
	}
	return n
}

// figuresText is the history in a sentence.
func figuresText(h *wire.PipelineHistory) string {
	if h.Runs == 0 {
		return "no runs yet"
	}
	parts := []string{numberOf(h.Runs, "run")}
	if n := len(h.Newest); n < h.Runs {
		parts = append(parts, fmt.Sprintf("of the newest %d", n))
	}
	if len(h.Newest) > 0 && !slices.ContainsFunc(h.Newest, func(r wire.RunPoint) bool { return r.State.Final() }) {
		parts = append(parts, "none has ended yet")
	}
	if h.FailureRate != nil {
		parts = append(parts, percent(h.FailureRate)+" failed")
	}
	if h.P50Seconds != nil {
		parts = append(parts, fmt.Sprintf("half took %s or less, 95 %% %s", shortSeconds(h.P50Seconds), shortSeconds(h.P95Seconds)))
	}
	if h.Trend != nil {
		parts = append(parts, trendText(h.Trend)+" against those before")
	}
	if h.CacheRate != nil {
		parts = append(parts, percent(h.CacheRate)+" of modules cached")
	}
	return strings.Join(parts, ", ")
}

// lastFailure names the newest attempt that failed, be it of a flaky module.
func lastFailure(m *wire.ModuleHistory) string {
	f := m.LastFailed
	if f == nil || m.LastFlaky != nil && m.LastFlaky.Number > f.Number {
		f = m.LastFlaky
	}
	if f == nil {
		return ""
	}
	text := fmt.Sprintf("run %d", f.Number)
	if f.Attempt > 0 {
		text += fmt.Sprintf(", attempt %d", f.Attempt)
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

func shortSeconds(s *float64) string {
	if s == nil {
		return ""
	}
	return terminal.ShortDuration(time.Duration(*s * float64(time.Second)))
}

// percent is a rate as people read it; "" if there is none.
func percent(rate *float64) string {
	switch {
	case rate == nil:
		return ""
	case *rate > 0 && *rate < 0.01:
		return "<1 %"
	}
	return fmt.Sprintf("%.0f %%", 100**rate)
}

// trendText is a trend as people read it: +20 % is a fifth longer.
func trendText(trend *float64) string {
	if trend == nil {
		return ""
	}
	return fmt.Sprintf("%+.0f %%", 100*(*trend-1))
}

// countText is a count; "" for none.
func countText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// compare prints what differs between two runs.
func (c historyCommand) compare(ctx context.Context, api *client.Client, cmd *cli.Command, runs string) error {
	first, second, two := strings.Cut(runs, ",")
	with, of := first, second
	if !two {
		with, of = "", first
	}
	ref, err := pipeline.ParseRunRef(of)
	if err != nil {
		return usagef("-compare: %w", err)
	}
	if with != "" {
		if _, err := pipeline.ParseRunRef(with); err != nil {
			return usagef("-compare: %w", err)
		}
	}
	id, err := api.Runs().Find(ctx, ref)
	if err != nil {
		return err
	}
	d, err := api.Histories().Compare(ctx, id, with)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return c.env.printJSON(d)
	}

	out, now := c.env.stdout, c.env.now()
	fmt.Fprintf(out, "run %d of %s %s in %s, run %d %s in %s\n", d.B.Number, terminal.Clean(d.B.Pipeline), pipeline.Words(d.B.State), runTook(&d.B, now),
		d.A.Number, pipeline.Words(d.A.State), runTook(&d.A, now))
	for _, line := range d.Different {
		fmt.Fprintf(out, "  - %s\n", terminal.Clean(line))
	}
	same := 0
	for i := range d.Modules {
		m := &d.Modules[i]
		if len(m.Different) == 0 {
			same++
			continue
		}
		fmt.Fprintf(out, "%s\n", terminal.Clean(m.Name))
		for _, line := range m.Different {
			fmt.Fprintf(out, "  - %s\n", terminal.Clean(line))
		}
	}
	if same > 0 {
		fmt.Fprintf(out, "the same: %d of %d modules\n", same, len(d.Modules))
	}
	return nil
}
