package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
)

// program executes one command line.
type program struct{ env *environment }

// run executes a command line and returns its exit code. Every error becomes
// one line on stderr here and nowhere else.
func (p *program) run(ctx context.Context, args []string) int {
	if code, ok := p.hidden(ctx, args); ok {
		return code
	}

	p.env.retries = terminal.NewRetryNotes(p.env.now, func(text string) { p.env.tell("%s", text) })
	root := p.command()
	err := root.Run(ctx, append([]string{root.Name}, args...))
	for i := len(p.env.atEnd) - 1; i >= 0; i-- {
		p.env.atEnd[i]()
	}

	p.env.stdout.Flush()
	if err == nil {
		err = p.env.stdout.Err()
	}

	code := exitCode(err)
	var quiet *exitError
	if err != nil && !(errors.As(err, &quiet) && quiet.err == nil) && !errors.Is(err, terminal.ErrReaderClosed) {
		fmt.Fprintf(p.env.stderr, "pipelined: %s\n", terminal.OneLine(err.Error()))
	}

	p.env.stderr.Flush()
	return code
}

// command builds the tree of commands.
func (p *program) command() *cli.Command {
	useOwnHelp()
	env := p.env
	root := &cli.Command{
		Name:            "pipelined",
		Usage:           "runs pipelines on a cluster without external services",
		UsageText:       "pipelined [flags] COMMAND [flags] [arguments]",
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          p.env.stdout,
		ErrWriter:       p.env.stderr,
		Reader:          p.env.stdin,
		Flags:           append(p.env.flagsOfEveryCommand(), &cli.BoolFlag{Name: "version", Usage: "print the version", HideDefault: true, Local: true}),
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		Commands:        commands(env),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool("version") {
				fmt.Fprintf(p.env.stdout, "pipelined %s\n", readBuildInfo())
				return nil
			}
			return noCommand(ctx, cmd)
		},
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(cmd *cli.Command) {
			completionCommand(cmd)
			completer{env}.prepare(cmd)
		},
	}
	prepare(root)
	completer{env}.prepare(root)
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

// The groups of commands in the help, by what a person wants to do.
const (
	groupRun     = "Run pipelines"
	groupLook    = "Look at runs"
	groupNodes   = "Nodes of a cluster"
	groupState   = "What a cluster stores"
	groupOperate = "Operate"
)

// commands lists every command in the order of the help, by groups.
func commands(env *environment) []*cli.Command {
	var all []*cli.Command
	group := func(title string, commands ...*cli.Command) {
		for _, c := range commands {
			c.Category = title
		}
		all = append(all, commands...)
	}
	group(groupRun,
		initCommand{env}.command(),
		convertCommand{env}.command(),
		runCommand{env}.command(),
		submitCommand{env}.command(),
		validateCommand{env}.command(),
		formatCommand{env}.command(),
		planCommand{env}.command(),
		graphCommand{env}.command(),
		schemaCommand{env}.command(),
		cancelCommand{env}.command(),
		retryCommand{env}.command(),
		decisionCommand{env}.approve(),
		decisionCommand{env}.reject(),
	)
	group(groupLook,
		listCommand{env}.command(),
		statusCommand{env}.command(),
		watchCommand{env}.command(),
		waitCommand{env}.command(),
		logsCommand{env}.command(),
		whyCommand{env}.command(),
		artifactsCommand{env}.command(),
		historyCommand{env}.command(),
		approvalsCommand{env}.command(),
		waitingCommand{env}.command(),
		eventsCommand{env}.command(),
		execCommand{env}.command(),
		topCommand{env}.command(),
		uiCommand{env}.command(),
	)
	group(groupNodes,
		agentCommand{env}.command(),
		membersCommand{env}.command(),
		nodesCommand{env}.command(),
		workersCommand{env}.command(),
		drainCommand{env}.command(),
		leaveCommand{env}.command(),
	)
	group(groupState,
		schedulesCommand{env}.command(),
		secretsCommand{env}.command(),
		tokenCommand{env}.command(),
		webhooksCommand{env}.command(),
		cacheCommand{env}.command(),
		locksCommand{env}.command(),
		pinCommand{env}.pin(),
		pinCommand{env}.unpin(),
	)
	group(groupOperate,
		snapshotCommand{env}.command(),
		operatorCommand{env}.command(),
		keygenCommand{env}.command(),
		caCommand{env}.command(),
		versionCommand{env}.command(),
		manCommand{env}.command(),
		helpCommand{env}.command(),
	)
	return all
}
