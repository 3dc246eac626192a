package main

import (
	"context"
	"fmt"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/node"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// hidden runs the commands that only this program itself calls: the keeper of a
// node's modules, what keeps a container, the helper that evaluates expensive expressions, and the one
// that looks at a log which may end the process that does. They are
// looked at before anything else is set up: one of them is started for every
// evaluation.
func (p *program) hidden(ctx context.Context, args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}

	var err error
	switch args[0] {
	case executor.KeeperCommand:
		// The daemon may run before others; its keeper and their modules do not.
		node.SetPriority(0)
		err = executor.KeeperMain(ctx, args[1:])
	case container.Command:
		return container.Main(args[1:], p.env.stdout.Unbuffered(), p.env.stderr.Unbuffered()), true
	case node.CheckLogCommand:
		err = node.CheckLogMain(args[1:])
	case bounded.Command:
		// Expressions are users' work as modules are: at the daemon's priority they could
		// starve it, its modules and its clients.
		node.SetPriority(0)
		err = language.RunHelper(p.env.stdin, p.env.stdout.Unbuffered())
	default:
		return 0, false
	}

	if err != nil {
		fmt.Fprintf(p.env.stderr, "pipelined %s: %s\n", args[0], terminal.OneLine(err.Error()))
		p.env.stderr.Flush()
	}

	return exitCode(err), true
}
