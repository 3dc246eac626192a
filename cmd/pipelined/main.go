package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/internal/terminal"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. args begin with the
// command; the environment and the signals are the process's own.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// A reader that went away makes writes fail, so that commands end in order:
	// the default would kill this process, and leave behind what a run started.
	// Children do not inherit this.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	env := &environment{
		stdin:   stdin,
		stdout:  terminal.NewStream(stdout),
		stderr:  terminal.NewStream(stderr),
		getenv:  os.Getenv,
		environ: os.Environ,
		notify:  notify,
		unnotify: func(c chan<- os.Signal) {
			signal.Stop(c)
		},
		now:   time.Now,
		open:  openNode,
		local: localAddress, agents: localAgents,
	}
	env.interactive = terminal.IsTerminal(stdin)
	return (&program{env}).run(ctx, args)
}
