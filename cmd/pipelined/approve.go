package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (p *program) approveCommand() *cli.Command {
	return &cli.Command{
		Name: "approve", Usage: "approves what a module of a run waits for", ArgsUsage: "RUN [MODULE]",
		Description: "Without MODULE the one that waits, where it is the only one. Approving twice does no harm; what was rejected, or decided by time, stays so.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "comment", Usage: "`TEXT` that is kept with it; later modules see it as module.NAME.result.comment", Local: true},
			jsonFlag(),
		},
		Action: p.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			return p.decide(ctx, cmd, "comment", (*client.Client).Approve)
		}),
	}
}

func (p *program) rejectCommand() *cli.Command {
	return &cli.Command{
		Name: "reject", Usage: "rejects what a module of a run waits for: the module fails", ArgsUsage: "RUN [MODULE]",
		Description: "Without MODULE the one that waits, where it is the only one.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is kept with it", Local: true},
			jsonFlag(),
		},
		Action: p.action(1, 2, func(ctx context.Context, cmd *cli.Command) error {
			return p.decide(ctx, cmd, "reason", (*client.Client).Reject)
		}),
	}
}

// decide sends a decision about a module.
func (p *program) decide(ctx context.Context, cmd *cli.Command, flag string, call func(*client.Client, context.Context, pipeline.RunID, string, string) (wire.Module, error)) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}
	module, text := strings.TrimPrefix(cmd.Args().Get(1), "module."), cmd.String(flag)
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("%s: %.80q cannot be the name of a module", cmd.Name, module)
	case len(text) > pipeline.MaxComment:
		return usagef("-%s: %d bytes are more than %d", flag, len(text), pipeline.MaxComment)
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	if module == "" {
		if module, err = theOneThatWaits(ctx, c, id); err != nil {
			return err
		}
	}
	m, err := call(c, ctx, id, module, text)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return p.printJSON(m)
	}
	p.tell("%s: %s", m.Name, m.Reason)
	return nil
}

// theOneThatWaits finds the module of a run that waits for an approval.
func theOneThatWaits(ctx context.Context, c *client.Client, id pipeline.RunID) (string, error) {
	r, err := c.Run(ctx, id)
	if err != nil {
		return "", err
	}
	var names []string
	for i := range r.Modules {
		if asks(&r.Modules[i]) {
			names = append(names, r.Modules[i].Name)
		}
	}
	switch len(names) {
	case 0:
		return "", failf(exitFailed, "no module of run %s waits for an approval now", id)
	case 1:
		return names[0], nil
	}
	return "", usagef("%d modules of run %s wait for an approval: name one of %s", len(names), id, strings.Join(names, ", "))
}

// asks reports whether a module waits for an approval now.
func asks(m *wire.Module) bool {
	return m.State == pipeline.ModuleWaiting && m.Approval != nil && m.Approval.Since != nil && m.Approval.Decision == ""
}

// asker asks the person at the terminal what modules of a followed run wait
// for. One goroutine uses it.
type asker struct {
	// me is whose word it would be.
	me     string
	decide func(ctx context.Context, module string, yes bool) error
	stdin  io.Reader

	open  []question
	lines chan string // nil until the first question, and after the end of input
	ended bool
}

type question struct{ module, message string }

// update takes in which modules wait, and shows what is new.
func (a *asker) update(ctx context.Context, c *console) {
	var open []question
	for i := range c.view.modules {
		m := &c.view.modules[i]
		if asks(m) && (&pipeline.Approval{Approvers: m.Approval.Approvers}).May(a.me) {
			open = append(open, question{m.Name, m.Approval.Message})
		}
	}
	if slices.Equal(open, a.open) || a.ended {
		return
	}
	was := question{}
	if len(a.open) > 0 {
		was = a.open[0]
	}
	a.open = open
	a.show(c, len(open) > 0 && open[0] != was)
	if len(open) > 0 && a.lines == nil {
		a.read(ctx)
	}
}

// show asks the first question: in the live display, or with a line where there
// is none.
func (a *asker) show(c *console, anew bool) {
	c.question = ""
	if len(a.open) == 0 {
		return
	}
	text := fmt.Sprintf("%s asks: %s [y/n]", clean(a.open[0].module), clean(a.open[0].message))
	if c.live {
		c.question, c.dirty = text, true
	} else if anew {
		c.say("%s", text)
	}
}

// read reads lines until the input ends. The reader stays behind at the end of
// the run, as a terminal's cannot be stopped, and the process ends soon.
func (a *asker) read(ctx context.Context) {
	lines := make(chan string)
	a.lines = lines
	go func() {
		defer close(lines)
		in := bufio.NewScanner(a.stdin)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
}

// input is where answers come from; nil where nothing was asked.
func (a *asker) input() <-chan string {
	if a == nil {
		return nil
	}
	return a.lines
}

// answer takes a line that was typed.
func (a *asker) answer(ctx context.Context, c *console, line string, ok bool) {
	c.typed()
	if !ok {
		a.lines, a.ended, c.question = nil, true, ""
		return
	}
	if len(a.open) == 0 {
		return
	}
	q := a.open[0]
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		a.tell(c, q, a.decide(ctx, q.module, true))
	case "n", "no":
		a.tell(c, q, a.decide(ctx, q.module, false))
	default:
		a.show(c, true)
	}
}

func (a *asker) tell(c *console, q question, err error) {
	if err != nil {
		c.say("%s: %s", q.module, oneLine(err.Error()))
		a.show(c, true)
		return
	}
	a.open = a.open[1:]
	a.show(c, true)
}
