package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. args begin with the
// command; the environment and the signals are the process's own.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		stdin:   stdin,
		stdout:  newStream(stdout),
		stderr:  newStream(stderr),
		getenv:  os.Getenv,
		environ: os.Environ,
		notify:  signal.Notify,
		unnotify: func(c chan<- os.Signal) {
			signal.Stop(c)
		},
		now:   time.Now,
		open:  openNode,
		local: localAddress, agents: localAgents,
	}
	p.interactive = isTerminal(stdin)
	return p.run(ctx, args)
}
