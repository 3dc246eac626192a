package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/report"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// reportLimit bounds reading the last lines for reports.
	reportLimit = 15 * time.Second
	// maxTails is of how many modules a report has the last lines, tailBytes how much
	// of their output is read for them.
	maxTails  = 50
	tailBytes = 16 << 10
)

// reportFlag is -report of the commands that see a run to its end.
func reportFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "report", Usage: "`FORM=FILE` writes a report at the end of the run, whatever its state: " +
		strings.Join(report.Forms(), ", ") + "; may be repeated", Local: true}
}

// reports are the files that a command is to write about a run.
type reports struct {
	env   *environment
	files []reportFile
	// summary puts a report on the page of a CI job; nil if there is none.
	summary jobSummary
}

type reportFile struct{ form, path string }

// reports reads -report, so that a mistake in it is found before anything runs.
func (env *environment) reports(cmd *cli.Command) (*reports, error) {
	r := &reports{env: env, summary: env.jobSummary()}
	for _, value := range cmd.StringSlice("report") {
		form, path, _ := strings.Cut(value, "=")
		if !slices.Contains(report.Forms(), form) {
			return nil, usagef("-report %q: expected FORM=FILE, with a form of %s%s", value, strings.Join(report.Forms(), ", "), terminal.DidYouMean(form, report.Forms()))
		}
		if path == "" || path == "-" {
			return nil, usagef("-report %q: expected a file after %s=", value, form)
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return nil, usagef("-report %q: there is no directory %s", value, filepath.Dir(path))
		}
		r.files = append(r.files, reportFile{form, path})
	}
	return r, nil
}

// write writes the reports about a run that has ended. It reads the last lines of
// modules that failed; lines that cannot be read are left out.
func (r *reports) write(ctx context.Context, api *client.Client, run wire.Run) error {
	if len(r.files) == 0 && r.summary == nil {
		return nil
	}

	// Also after a timeout or an interruption: then the reports are wanted most.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportLimit)
	defer cancel()
	doc := &report.Report{Run: complete(run), Tails: map[string][]string{}, Version: readBuildInfo().Version}
	for i := range run.Modules {
		if m := &run.Modules[i]; report.NeedsTail(m) && len(m.Attempts) > 0 && len(doc.Tails) < maxTails {
			if lines := lastLines(ctx, api.Modules(), &run, m); len(lines) > 0 {
				doc.Tails[m.Name] = lines
			}
		}
	}

	doc.Tests, doc.Usual = reportedTests(ctx, api.Histories(), &run), usual(ctx, api.Histories(), &run)
	if r.summary != nil {
		if err := r.summary(ctx, doc); err != nil {
			r.env.say("%v", wrap("write the summary of the job", err))
		}
	}
	for _, f := range r.files {
		if err := writeReport(f, doc); err != nil {
			return wrap("write the report "+f.path, err)
		}
	}
	return nil
}

// end writes the reports, and gives the error with which the command ends: that of
// the run, unless the run has none.
func (r *reports) end(ctx context.Context, api *client.Client, run wire.Run, outcome error) error {
	err := r.write(ctx, api, run)
	if err == nil || outcome == nil {
		return cmp.Or(outcome, err)
	}

	r.env.say("%v", err)
	return outcome
}

// maxReportTests is how many tests a report has, those that failed first.
const maxReportTests = 2000

// reportedTests are the tests that the modules of a run reported, by module; nil if there
// are none, or if they cannot be read.
func reportedTests(ctx context.Context, histories client.Histories, run *wire.Run) map[string][]wire.TestCase {
	if !slices.ContainsFunc(run.Modules, func(m wire.Module) bool { return m.Tests != nil }) {
		return nil
	}
	list, err := histories.Tests(ctx, run.ID, maxReportTests)
	if err != nil {
		return nil
	}

	out := map[string][]wire.TestCase{}
	for _, c := range list.Cases {
		out[c.Module] = append(out[c.Module], c)
	}
	return out
}

// usualRuns is over how many earlier runs the usual time of a run goes.
const usualRuns = 20

// usual is the median of how long the runs of the same pipeline took that went well
// before this one; 0 if there are none, or if they cannot be read.
func usual(ctx context.Context, histories client.Histories, run *wire.Run) time.Duration {
	h, err := histories.Pipeline(ctx, run.Pipeline, 2*usualRuns)
	if err != nil {
		return 0
	}
	var took []float64
	for _, p := range h.Newest {
		well := p.State == pipeline.RunSucceeded || p.State == pipeline.RunWarnings
		if well && p.Number < run.Number && p.Seconds != nil && len(took) < usualRuns {
			took = append(took, *p.Seconds)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return terminal.Seconds(took[len(took)/2])
}

// lastLines are the last lines of the output of a module's last attempt.
func lastLines(ctx context.Context, modules client.Modules, run *wire.Run, m *wire.Module) []string {
	log, info, err := modules.Log(ctx, run.ID, m.Name, client.LogOptions{Tail: tailBytes})
	if err != nil {
		return nil
	}
	defer log.Close()

	text, err := io.ReadAll(io.LimitReader(log, tailBytes))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if info.Offset > 0 && len(lines) > 1 {
		lines = lines[1:] // its beginning is cut off
	}
	lines = lines[max(0, len(lines)-report.TailLines):]
	for i := range lines {
		lines[i] = terminal.Clean(lines[i])
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines
}

// writeReport writes a file whole or not at all; a pipe or a device is written to.
func writeReport(f reportFile, doc *report.Report) error {
	var b bytes.Buffer
	if err := report.Write(&b, f.form, doc); err != nil {
		return err
	}

	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(f.path, b.Bytes(), 0o644)
	}
	return renameio.WriteFile(f.path, b.Bytes(), 0o644)
}
