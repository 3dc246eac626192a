package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func gateModule(name string, approvers ...string) wire.Module {
	since := time.Unix(1, 0)
	return wire.Module{Name: name, State: pipeline.ModuleWaiting, Approval: &wire.Approval{Message: "go?", Since: &since, Approvers: approvers}}
}

// The person at the terminal is asked one thing after the other, and only what
// they may decide; what is no answer is asked again, and so is what was refused.
func TestAsker(t *testing.T) {
	var out bytes.Buffer
	var said []string
	refuse := true
	a := &ApprovalPrompt{User: "ann", Decide: func(_ context.Context, module string, yes bool) error {
		if refuse {
			refuse = false
			return errors.New("no leader")
		}
		said = append(said, module+map[bool]string{true: " yes", false: " no"}[yes])
		return nil
	}}
	in, typing := io.Pipe()
	a.Stdin = in
	c := NewConsole(ConsoleConfig{Out: NewStream(io.Discard), Err: NewStream(&out), Now: time.Now})
	ctx := t.Context()
	c.view.apply(wire.Run{Index: 1, Modules: []wire.Module{gateModule("a"), gateModule("b", "bob"), gateModule("c", "a*")}})
	a.update(ctx, c)
	for _, line := range []string{"maybe\n", "y\n", "Yes\n", "n\n"} {
		go func() { _, _ = typing.Write([]byte(line)) }() // read at once
		answer, ok := <-a.input()
		a.answer(ctx, c, answer, ok)
	}
	if want := []string{"a yes", "c no"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	c.flush()
	want := "a asks: go? [y/n]\na asks: go? [y/n]\na: no leader\na asks: go? [y/n]\nc asks: go? [y/n]\n"
	if out.String() != want {
		t.Errorf("shown\n%s\nwant\n%s", out.String(), want)
	}
	typing.Close()
	_, ok := <-a.input()
	if a.answer(ctx, c, "", ok); ok || a.input() != nil {
		t.Error("the end of input is not the end of asking")
	}
}

func TestRunView_approval(t *testing.T) {
	v := newRunView()
	v.flags = "-address run "
	m := gateModule("a")
	r := wire.Run{RunSummary: wire.RunSummary{ID: "r"}, Index: 1, Modules: []wire.Module{m}}
	var lines []string
	for range 2 {
		for _, ch := range v.apply(r) {
			lines = append(lines, ch.module+": "+ch.text)
		}
	}
	m.State, m.Reason = pipeline.ModuleFailed, "rejected by bob: no"
	for _, ch := range v.apply(wire.Run{Index: 2, Modules: []wire.Module{m}}) {
		lines = append(lines, ch.module+": "+ch.text)
	}
	want := "a: waits for approval: go? (pipelined approve -address run r a)\na: failed: rejected by bob: no"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
