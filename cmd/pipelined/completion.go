package main

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// completions are the scripts for shells.
//
//go:embed completions
var completions embed.FS

// completedShells are the shells that there is a script for, with what uses it.
var completedShells = []struct{ name, use string }{
	{"bash", `eval "$(pipelined completion bash)"`},
	{"zsh", `eval "$(pipelined completion zsh)"`},
	{"fish", "pipelined completion fish > ~/.config/fish/completions/pipelined.fish"},
}

// completionCommand makes urfave/cli's command one like the others, with scripts that
// need no package and run nothing of a command line but its first word.
func completionCommand(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "prints a shell completion script"
	cmd.ArgsUsage = "bash, zsh or fish"
	cmd.Category = groupOperate
	cmd.Description = ""
	cmd.Action = noCommand
	cmd.Commands = nil
	for _, shell := range completedShells {
		cmd.Description += shell.name + ": " + shell.use + "\n"
		cmd.Commands = append(cmd.Commands, &cli.Command{
			Name: shell.name, Usage: "prints the script for " + shell.name, Description: shell.use,
			Action: func(_ context.Context, cmd *cli.Command) error {
				script, err := completions.ReadFile("completions/pipelined." + shell.name)
				if err != nil {
					return wrap("read completion script", err)
				}

				_, err = cmd.Root().Writer.Write(script)
				return wrap("write output", err)
			},
		})
	}

	cmd.Description = strings.TrimSuffix(cmd.Description, "\n")
	prepare(cmd)
}

// completionLimit bounds how long a shell waits for names.
const completionLimit = 2 * time.Second

// completedRuns is how many runs a shell offers, newest first.
const completedRuns = 30

// completer gives a shell the words that may come next.
type completer struct{ env *environment }

// prepare gives every command of the tree its completion.
func (c completer) prepare(cmd *cli.Command) {
	cmd.ShellComplete = c.complete
	for _, sub := range cmd.Commands {
		c.prepare(sub)
	}
}

// complete prints a word, a tab and what it means for each word that may come next.
// If it prints nothing, the shell offers files.
func (c completer) complete(ctx context.Context, cmd *cli.Command) {
	args := cmd.Args().Slice()
	of := argumentOf(cmd)
	switch {
	case len(args) > 0 && strings.HasPrefix(args[len(args)-1], "-"):
		c.flags(cmd, args[len(args)-1])
	case len(args) > 0 && of != "RUN":
	case cmd.Name == "help":
		c.commands(cmd.Root())
	case len(cmd.Commands) > 0:
		c.commands(cmd)
	default:
		c.ofCluster(ctx, cmd, of, args)
	}
}

// argumentOf is what the first argument of a command names: the word of its usage, but
// for a schedule, which has a NAME.
func argumentOf(cmd *cli.Command) string {
	word, _, _ := strings.Cut(strings.Trim(cmd.ArgsUsage, "[]"), " ")
	if word == "NAME" && strings.HasPrefix(commandPath(cmd), "schedules ") {
		return "SCHEDULE"
	}
	return strings.TrimRight(word, "]")
}

// word prints one word that may come next.
func (c completer) word(word, description string) {
	fmt.Fprintf(c.env.stdout, "%s\t%s\n", terminal.Clean(word), terminal.Clean(description))
}

// commands prints the commands below a command.
func (c completer) commands(cmd *cli.Command) {
	for _, sub := range cmd.VisibleCommands() {
		c.word(sub.Name, sub.Usage)
	}
}

// flags prints the flags of a command that begin as the last word does, with as many
// dashes.
func (c completer) flags(cmd *cli.Command, last string) {
	name := strings.TrimLeft(last, "-")
	dashes := last[:len(last)-len(name)]
	for _, f := range append(cmd.VisibleFlags(), cmd.VisiblePersistentFlags()...) {
		doc, ok := f.(cli.DocGenerationFlag)
		if full := f.Names()[0]; ok && full != name && strings.HasPrefix(full, name) {
			c.word(dashes+full, strings.ReplaceAll(doc.GetUsage(), "`", ""))
		}
	}
}

// ofCluster prints what a cluster knows: runs, the modules of one, nodes, schedules or
// pipelines. Without an answer of a node it prints nothing: a shell has no place for an
// error.
func (c completer) ofCluster(ctx context.Context, cmd *cli.Command, of string, args []string) {
	lists := map[string]func(context.Context, *client.Client){"RUN": c.runs, "NODE": c.nodes, "SCHEDULE": c.schedules, "PIPELINE": c.pipelines}
	list := lists[of]
	if len(args) == 1 && strings.Contains(cmd.ArgsUsage, "MODULE") {
		list = func(ctx context.Context, api *client.Client) { c.modules(ctx, api, args[0]) }
	} else if len(args) > 0 {
		list = nil
	}
	if list == nil {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	connect := c.env.connectRead
	if of == "NODE" || of == "SCHEDULE" {
		connect = c.env.connect // what `pipelined run` has stored has none
	}
	if api, err := connect(ctx); err == nil {
		list(ctx, api)
	}
}

// nodes prints the names of the nodes, and what they are.
func (c completer) nodes(ctx context.Context, api *client.Client) {
	list, err := api.Cluster().Members(ctx)
	if err != nil {
		return
	}
	for _, m := range list.Members {
		c.word(m.Name, m.Role+", "+m.Status)
	}
}

// schedules prints the names of the schedules, and when their pipelines run.
func (c completer) schedules(ctx context.Context, api *client.Client) {
	list, err := api.Schedules().List(ctx)
	if err != nil {
		return
	}
	for i := range list.Schedules {
		s := &list.Schedules[i]
		text := strings.Join(s.Cron, "; ")
		if s.Paused {
			text += ", paused"
		}
		c.word(s.Name, text)
	}
}

// pipelines prints the names of the pipelines that have runs or a schedule.
func (c completer) pipelines(ctx context.Context, api *client.Client) {
	list, err := api.Histories().Pipelines(ctx)
	if err != nil {
		return
	}
	for i := range list.Pipelines {
		p := &list.Pipelines[i]
		c.word(p.Name, numberOf(p.Runs, "run"))
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
		c.word(strconv.FormatUint(r.Number, 10), r.Pipeline+", "+pipeline.Words(r.State))
	}
	if len(list.Runs) > 0 {
		c.word("last", "the newest run")
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
		c.word(m.Name, pipeline.Words(m.State))
	}
}
