package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/storage"
)

// yesFlag answers the question about a workspace that is likely a mistake.
func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Usage: "do not ask if the workspace is a home directory, / or /tmp", HideDefault: true, Local: true}
}

// private are the paths of own keys, state and configuration, and the texts of the
// key and token that are in use: what never goes along with a run.
func (env *environment) private(cmd *cli.Command) (paths, secrets []string) {
	key := connector{env}.keyPath()
	paths = []string{key, filepath.Dir(connector{env}.defaultKeyPath()), env.flags.tokenFile, storage.DefaultRoot(), cmd.String("data-dir"),
		"/etc/pipelined", env.getenv("PIPELINED_CONFIG")}
	secrets = []string{env.getenv("PIPELINED_KEY"), env.flags.token, readStart(key), readStart(env.flags.tokenFile)}

	return paths, secrets
}

// readStart reads a short file; "" if it cannot be read, which its user reports.
func readStart(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()

	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return ""
	}

	return string(text)
}

// confirmWorkspace asks before the files of a directory go along that is likely to
// hold far more than the pipeline needs; without a person to ask, -yes must be given.
func (env *environment) confirmWorkspace(ctx context.Context, cmd *cli.Command, j *submission.Job) error {
	broad := j.BroadRoot()
	if broad == "" || cmd.Bool("yes") {
		return nil
	}

	const advice = "put the pipeline into a directory of its own, or set root or exclude in its workspace block"
	if !env.interactive {
		return usagef("%s: the workspace is %s, and all its files would go along: %s, or use -yes", cmd.Name, broad, advice)
	}

	env.say("The workspace is %s. All its files would go along, and can be read with a token of any role.", broad)
	fmt.Fprint(env.stderr, "Continue? [y/N] ")
	env.stderr.Flush()
	answer, err := env.ask(ctx, nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || answer != "y" && answer != "yes" {
		return failf(exitFailed, "%s: not confirmed, nothing was sent: %s", cmd.Name, advice)
	}

	return nil
}

// tellWorkspace says what goes along. A person at a live display reads it in the heading
// instead.
func (env *environment) tellWorkspace(j *submission.Job) {
	if !env.live() {
		env.tell("workspace: %s", workspaceText(j))
	}
}

func workspaceText(j *submission.Job) string {
	n, size := j.Files()
	return fmt.Sprintf("%s, %s", numberOf(n, "file"), humanize.IBytes(uint64(size)))
}

// tellHeading names a run above its live display. where says where else it is seen.
func (env *environment) tellHeading(j *submission.Job, created wire.RunCreated, where string) {
	if !env.live() {
		return
	}

	text := fmt.Sprintf("%s %d   ", j.PipelineName(), created.Number)
	if git := j.Git(); git.SHA != "" {
		text += fmt.Sprintf("%s %.7s, ", git.Branch, git.SHA)
	}
	env.tell("%s%s   %s", text, workspaceText(j), where)
}
