package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// completionCommand shows urfave/cli's command among the others and says what it
// is for.
func completionCommand(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "prints a shell completion script"
	cmd.ArgsUsage = "bash|zsh|fish|pwsh"
	cmd.Description = "bash: source <(pipelined completion bash), with the package bash-completion; zsh: the same with zsh; " +
		"fish: pipelined completion fish > ~/.config/fish/completions/pipelined.fish"
	cmd.Action = noCommand
	for _, sub := range cmd.Commands {
		sub.Usage = "prints the script for " + sub.Name
	}

	prepare(cmd)
}

// completionLimit bounds how long a shell waits for names.
const completionLimit = 2 * time.Second

// completedRuns is how many runs a shell offers, newest first.
const completedRuns = 30

// completer gives a shell the names of runs and of their modules.
type completer struct{ env *environment }

// prepare gives every command that takes RUN its completion.
func (c completer) prepare(root *cli.Command) {
	for _, sub := range root.Commands {
		if strings.HasPrefix(strings.TrimPrefix(sub.ArgsUsage, "["), "RUN") {
			sub.ShellComplete = c.complete
		}
	}
}

// complete prints "word:description" for each word that may come next. Without an
// answer of a node it offers nothing: a shell has no place for an error.
func (c completer) complete(ctx context.Context, cmd *cli.Command) {
	args := cmd.Args().Slice()
	if len(args) > 0 && strings.HasPrefix(args[len(args)-1], "-") {
		cli.DefaultCompleteWithFlags(ctx, cmd)
		return
	}

	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	api, err := c.env.connectRead(ctx)
	if err != nil {
		return
	}

	switch {
	case len(args) == 0:
		c.runs(ctx, api)
	case len(args) == 1 && strings.Contains(cmd.ArgsUsage, "MODULE"):
		c.modules(ctx, api, args[0])
	}
}

// runs prints the numbers of the newest runs.
func (c completer) runs(ctx context.Context, api *client.Client) {
	list, err := api.Runs().List(ctx, client.ListOptions{Limit: completedRuns})
	if err != nil {
		return
	}
	for i := range list.Runs {
		r := &list.Runs[i]
		fmt.Fprintf(c.env.stdout, "%d:%s, %s\n", r.Number, terminal.Clean(r.Pipeline), pipeline.Words(r.State))
	}
	if len(list.Runs) > 0 {
		fmt.Fprintln(c.env.stdout, "last:the newest run")
	}
}

// modules prints the modules of a run.
func (c completer) modules(ctx context.Context, api *client.Client, run string) {
	ref, err := pipeline.ParseRunRef(run)
	if err != nil {
		return
	}
	r, err := api.Runs().Get(ctx, pipeline.RunID(ref.Text))
	if err != nil {
		return
	}
	for i := range r.Modules {
		m := &r.Modules[i]
		fmt.Fprintf(c.env.stdout, "%s:%s\n", strings.ReplaceAll(terminal.Clean(m.Name), ":", `\:`), pipeline.Words(m.State))
	}
}
