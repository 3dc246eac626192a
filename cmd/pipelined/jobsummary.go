package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pipelined/pipelined/internal/report"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// jobSummary puts a report in Markdown on the page of a CI job.
type jobSummary func(context.Context, *report.Report) error

// jobSummary finds out how this job's page gets one; nil if it has none.
func (env *environment) jobSummary() jobSummary {
	if path := env.getenv("GITHUB_STEP_SUMMARY"); path != "" {
		return func(_ context.Context, doc *report.Report) error { return appendSummary(path, doc) }
	}

	switch terminal.DetectCI(env.getenv) {
	case terminal.Azure:
		if dir := env.getenv("AGENT_TEMPDIRECTORY"); dir != "" {
			return func(_ context.Context, doc *report.Report) error { return env.uploadSummary(dir, doc) }
		}
	case terminal.Buildkite:
		if program, err := exec.LookPath("buildkite-agent"); err == nil {
			return func(ctx context.Context, doc *report.Report) error { return annotateBuild(ctx, program, doc) }
		}
	}
	return nil
}

// appendSummary appends the Markdown to what earlier commands of a job have written.
func appendSummary(path string, doc *report.Report) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}

	// A heading begins a line, whatever stands before it.
	b := bytes.NewBufferString("\n")
	err = report.Write(b, "md", doc)
	if err == nil {
		_, err = f.Write(b.Bytes())
	}
	return cmp.Or(err, f.Close())
}

// uploadSummary has the agent of Azure Pipelines read the Markdown from a file, which it
// deletes with its directory at the end of the job.
func (env *environment) uploadSummary(dir string, doc *report.Report) error {
	f, err := os.CreateTemp(dir, "pipelined-*.md")
	if err != nil {
		return err
	}
	if err := cmp.Or(report.Write(f, "md", doc), f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(env.stderr, "##vso[task.uploadsummary]%s\n", f.Name())
	env.stderr.Flush()
	return nil
}

// annotateBuild gives the Markdown to Buildkite's agent. The annotation of a run replaces
// an earlier one of the same run.
func annotateBuild(ctx context.Context, program string, doc *report.Report) error {
	var b bytes.Buffer
	if err := report.Write(&b, "md", doc); err != nil {
		return err
	}

	style := map[pipeline.RunState]string{pipeline.RunSucceeded: "success", pipeline.RunFailed: "error"}[doc.State]
	annotate := exec.CommandContext(ctx, program, "annotate", "--style", cmp.Or(style, "warning"), "--context", "pipelined-"+string(doc.ID))
	annotate.Stdin = &b
	annotate.WaitDelay = time.Second
	if out, err := annotate.CombinedOutput(); err != nil {
		return fmt.Errorf("buildkite-agent annotate: %w: %s", err, terminal.Clean(strings.Join(strings.Fields(string(out)), " ")))
	}
	return nil
}
