package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/storage"
)

// program is one execution of the command line: everything that it touches
// outside of itself, so that tests can replace it.
type program struct {
	stdin          io.Reader
	stdout, stderr *terminal.Stream
	// interactive reports that a person at a terminal can answer questions.
	interactive bool

	getenv   func(string) string
	environ  func() []string
	notify   func(chan<- os.Signal, ...os.Signal)
	unnotify func(chan<- os.Signal)
	now      func() time.Time
	// open builds a node; see node.go.
	open func(context.Context, nodeConfig) (clusterNode, error)
	// local is where the agent of this machine is looked for first, agents
	// lists those that say where they are.
	local   string
	agents  func() []storage.AgentFile
	retries *terminal.RetryNotes
	// atEnd is called when the command has ended, the last one first.
	atEnd []func()

	// What the shared flags say.
	address, token, tokenFile, keyFile string
	timeout                            time.Duration
	quiet, noColor                     bool
}

// run executes a command line and returns its exit code. Every error becomes
// one line on stderr here and nowhere else.
func (p *program) run(ctx context.Context, args []string) int {
	if code, ok := p.hidden(ctx, args); ok {
		return code
	}
	p.retries = terminal.NewRetryNotes(p.now, func(text string) { p.tell("%s", text) })
	root := p.command()
	err := root.Run(ctx, append([]string{root.Name}, args...))
	for i := len(p.atEnd) - 1; i >= 0; i-- {
		p.atEnd[i]()
	}
	p.stdout.Flush()
	if err == nil {
		err = p.stdout.Err()
	}
	code := exitCode(err)
	var quiet *exitError
	if err != nil && !(errors.As(err, &quiet) && quiet.err == nil) && !errors.Is(err, terminal.ErrReaderClosed) {
		fmt.Fprintf(p.stderr, "pipelined: %s\n", terminal.OneLine(err.Error()))
	}
	p.stderr.Flush()
	return code
}

// command builds the tree of commands.
func (p *program) command() *cli.Command {
	root := &cli.Command{
		Name:            "pipelined",
		Usage:           "runs pipelines on a cluster that needs nothing but itself",
		UsageText:       "pipelined [flags] COMMAND [flags] [arguments]",
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		Reader:          p.stdin,
		Flags:           append(p.sharedFlags(), &cli.BoolFlag{Name: "version", Usage: "print what this binary is", HideDefault: true, Local: true}),
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		Commands: []*cli.Command{
			p.runCommand(), p.agentCommand(),
			p.submitCommand(), p.validateCommand(), p.formatCommand(), p.planCommand(), p.graphCommand(), p.schemaCommand(),
			p.listCommand(), p.statusCommand(), p.watchCommand(), p.waitCommand(), p.logsCommand(),
			p.cancelCommand(), p.againCommand(), p.pinCommand(), p.unpinCommand(), p.approveCommand(), p.rejectCommand(), p.whyCommand(), p.artifactsCommand(), p.execCommand(),
			p.workersCommand(), p.membersCommand(), p.drainCommand(), p.leaveCommand(), p.locksCommand(), p.schedulesCommand(), p.cacheCommand(),
			p.secretsCommand(), p.tokenCommand(), p.keygenCommand(), p.caCommand(),
			p.versionCommand(), p.helpCommand(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool("version") {
				fmt.Fprintf(p.stdout, "pipelined %s\n", readBuildInfo())
				return nil
			}
			return noCommand(ctx, cmd)
		},
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: completionCommand,
	}
	prepare(root)
	return root
}

// prepare gives every command of the tree what urfave/cli does not hand down.
func prepare(cmd *cli.Command) {
	cmd.OnUsageError = usageError
	// "-var list=a,b" is one value.
	cmd.DisableSliceFlagSeparator = true
	cmd.Flags = append(cmd.Flags, &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", HideDefault: true, Local: true})
	for _, f := range cmd.Flags {
		if s, ok := f.(cli.StringerSetter); ok {
			s.SetStringer(flagHelp)
		}
	}
	for _, sub := range cmd.Commands {
		prepare(sub)
	}
}

// action wraps what a command does: the number of its arguments is checked,
// and -timeout bounds it.
func (p *program) action(minArgs, maxArgs int, do func(context.Context, *cli.Command) error) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		n := cmd.Args().Len()
		want := cmd.ArgsUsage
		if want == "" {
			want = "no argument"
		}
		switch {
		case n < minArgs:
			return usagef("%s: it wants %s (pipelined %[1]s -help tells more)", commandPath(cmd), want)
		case maxArgs >= 0 && n > maxArgs:
			return usagef("%s: %q is one argument too many: it wants %s", commandPath(cmd), cmd.Args().Get(maxArgs), want)
		}
		if p.timeout < 0 {
			return usagef("-timeout %s: want a positive duration such as 90s", p.timeout)
		}
		if p.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, p.timeout, errTimedOut)
			defer cancel()
		}
		return cause(ctx, do(ctx, cmd))
	}
}
