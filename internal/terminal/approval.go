package terminal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// NeedsApproval reports whether a module waits for an approval now.
func NeedsApproval(m *wire.Module) bool {
	return m.State == pipeline.ModuleWaiting && m.Approval != nil && m.Approval.Since != nil && m.Approval.Decision == ""
}

// ApprovalPrompt asks the person at the terminal what modules of a followed run wait
// for. One goroutine uses it.
type ApprovalPrompt struct {
	// me is whose word it would be.
	User   string
	Decide func(ctx context.Context, module string, yes bool) error
	Stdin  io.Reader

	open  []question
	lines chan string // nil until the first question, and after the end of input
	ended bool
}

type question struct{ module, message string }

// update takes in which modules wait, and shows what is new.
func (a *ApprovalPrompt) update(ctx context.Context, c *Console) {
	var open []question
	for i := range c.view.modules {
		m := &c.view.modules[i]
		if NeedsApproval(m) && (&pipeline.Approval{Approvers: m.Approval.Approvers}).May(a.User) {
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
func (a *ApprovalPrompt) show(c *Console, anew bool) {
	c.question = ""
	if len(a.open) == 0 {
		return
	}

	text := fmt.Sprintf("%s asks: %s [y/n]", Flat(a.open[0].module), Flat(a.open[0].message))
	if c.live {
		c.question, c.dirty = text, true
	} else if anew {
		c.say("%s", text)
	}
}

// read reads lines until the input ends. The reader stays behind at the end of
// the run, as a terminal's cannot be stopped, and the process ends soon.
func (a *ApprovalPrompt) read(ctx context.Context) {
	lines := make(chan string)
	a.lines = lines
	go func() {
		defer close(lines)
		in := bufio.NewScanner(a.Stdin)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
}

// input is where answers come from; nil if nothing was asked.
func (a *ApprovalPrompt) input() <-chan string {
	if a == nil {
		return nil
	}
	return a.lines
}

// answer takes a line that was typed.
func (a *ApprovalPrompt) answer(ctx context.Context, c *Console, line string, ok bool) {
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
		a.tell(c, q, a.Decide(ctx, q.module, true))
	case "n", "no":
		a.tell(c, q, a.Decide(ctx, q.module, false))
	default:
		a.show(c, true)
	}
}

func (a *ApprovalPrompt) tell(c *Console, q question, err error) {
	if err != nil {
		c.say("%s: %s", q.module, OneLine(err.Error()))
		a.show(c, true)
		return
	}

	a.open = a.open[1:]
	a.show(c, true)
}
