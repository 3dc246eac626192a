package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func (p *program) submitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "sends a pipeline and its files to the cluster, and follows the run", ArgsUsage: "FILE",
		Description: "Ends as the run does. Interrupted, it leaves the run alone.",
		Flags: append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), p.snapshotFlags()...)...),
			&cli.BoolFlag{Name: "detach", Usage: "print the run's id and leave", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "register", Usage: "register the pipeline for its schedule, or replace it, and run nothing now", HideDefault: true, Local: true},
			jsonFlag(),
		),
		Action: p.action(1, 1, p.submit),
	}
}

func (p *program) submit(ctx context.Context, cmd *cli.Command) error {
	if cmd.Bool("register") && cmd.Bool("detach") {
		return usagef("submit: -register runs nothing, so there is nothing to detach from: leave -detach out")
	}
	job, err := p.prepareRun(ctx, cmd)
	if err != nil {
		return p.explain(err)
	}
	defer job.close()
	if cmd.Bool("register") && !job.source.file.Scheduled() {
		return usagef("submit: -register: %s has no schedule: write schedule { cron = \"…\" } in it", job.source.name)
	}
	signals, back := p.signals()
	defer back()
	sending, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	c, err := p.connect(sending)
	if err != nil {
		return cause(sending, err)
	}
	if cmd.Bool("register") {
		return p.register(sending, c, job, cmd.Bool("json"))
	}
	p.onceOnly(job)
	created, err := job.submit(sending, c)
	job.workspace.remember()
	if err != nil {
		return p.explain(cause(sending, err))
	}
	cancel(nil)
	if errors.Is(context.Cause(sending), errInterrupted) {
		return left(created.ID)
	}
	if cmd.Bool("detach") {
		if cmd.Bool("json") {
			return p.printJSON(created)
		}
		fmt.Fprintln(p.stdout, created.ID)
		return nil
	}
	// Where submit is interrupted the run goes on, so its name must be known.
	p.tell("run %s (number %d) of %s", created.ID, created.Number, job.source.file.Name())
	_, err = p.watchRun(ctx, c.Runs(), created.ID, watchOptions{json: cmd.Bool("json"), signals: signals,
		interrupt: func(ctx context.Context, _ os.Signal) error { return p.detachOrCancel(ctx, c, created.ID, signals) }})
	return err
}

// job is a run that is ready to be submitted.
type job struct {
	source    *source
	workspace *workspace
	request   wire.SubmitRequest
	key       string
	// known is where earlier snapshots are remembered; "" where none are.
	known string
}

// prepareRun reads and checks the pipeline and takes the snapshot of its files.
func (p *program) prepareRun(ctx context.Context, cmd *cli.Command) (*job, error) {
	j, err := p.checkRun(ctx, cmd)
	if err == nil {
		err = j.takeFiles(ctx, p)
	}
	return j, err
}

// checkRun reads and checks the pipeline.
func (p *program) checkRun(ctx context.Context, cmd *cli.Command) (*job, error) {
	s, err := p.readSource(ctx, cmd)
	if err != nil {
		return nil, err
	}
	cache, err := cacheMode(cmd)
	if err != nil {
		return nil, err
	}
	in := p.inputsOf(cmd, s)
	if err := s.check(ctx, in); err != nil {
		return nil, err
	}
	j := &job{source: s, workspace: &workspace{}, key: client.NewKey()}
	if !cmd.Bool("no-stat-cache") {
		j.known = storage.SnapshotsDir(cmd.String("data-dir"))
	}
	j.request = wire.SubmitRequest{Source: string(s.text), FileName: s.name, Variables: s.variables(),
		Env: in.Env, Targets: in.Targets, Tags: in.Tags, Skip: in.Skip, Cache: cache}
	if in.Git != (pipeline.Git{}) {
		j.request.Git = &in.Git
	}
	return j, nil
}

// takeFiles takes the snapshot of the files that go along.
func (j *job) takeFiles(ctx context.Context, p *program) error {
	w, err := p.takeWorkspace(ctx, j.source, j.known)
	if err != nil {
		return err
	}
	j.workspace, j.request.Workspace = w, w.digest
	return nil
}

// submit sends the files and then asks for the run, both at one node; where
// that dies, at another one. The same key makes one run of it.
func (j *job) submit(ctx context.Context, c *client.Client) (wire.RunCreated, error) {
	return c.Runs().SubmitWith(ctx, j.key, &j.request, j.send)
}

// send sends the files; those that changed since the snapshot make another
// workspace.
func (j *job) send(ctx context.Context, at *client.Client) error {
	err := j.workspace.send(ctx, at)
	j.request.Workspace = j.workspace.digest
	return err
}

func (j *job) close() { j.workspace.close() }

// signals catches what ends a command: from the keyboard, by kill, or with its
// terminal.
func (p *program) signals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 2) // the second one counts too
	p.notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { p.unnotify(c) }
}

// untilSignal gives a context that the first signal ends.
func untilSignal(ctx context.Context, signals <-chan os.Signal) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	// Whoever cancels has waited for the goroutine, so that no later signal is
	// lost to it.
	return ctx, func(why error) {
		cancel(why)
		<-done
	}
}

// watchOptions say how a run is followed.
type watchOptions struct {
	// json prints the finished run instead of the output.
	json bool
	// each is told every state of the run; may be nil.
	each      func(wire.Run) error
	positions map[string]wire.LogPosition // of output that is not shown again
	signals   <-chan os.Signal
	interrupt func(context.Context, os.Signal) error
	// asker asks what modules wait for; may be nil.
	asker *terminal.ApprovalPrompt
	// address is what reaches the run's node from another shell, as -address
	// takes it; "" where nothing has to be given.
	address string
}

// watchRun follows a run to its end and ends as the run did. ended is false
// where it went away before.
func (p *program) watchRun(ctx context.Context, c terminal.RunSource, id pipeline.RunID, o watchOptions) (ended bool, err error) {
	notes, back := p.retries.Take()
	defer back()
	display := p.console()
	display.Address = o.address
	f := &terminal.Follower{Source: c, ID: id, Console: terminal.NewConsole(display), Silent: o.json, Positions: o.positions, Notes: notes, Each: o.each, Signals: o.signals, Interrupt: o.interrupt, Approvals: o.asker}
	run, err := f.Run(ctx)
	if errors.Is(err, errTimedOut) {
		return false, failf(exitTimeout, "timed out (-timeout); run %s goes on: pipelined watch %[1]s", id)
	}
	if err != nil {
		return false, err
	}
	if o.json && o.each == nil {
		if err := p.printJSON(complete(run)); err != nil {
			return true, err
		}
	}
	return true, exit(stateExits[run.State])
}

// detachOrCancel is what Ctrl-C does to a command that follows a run: one
// question where somebody can answer it, else it leaves the run alone.
func (p *program) detachOrCancel(ctx context.Context, c *client.Client, id pipeline.RunID, signals <-chan os.Signal) error {
	if !p.interactive {
		return left(id)
	}
	fmt.Fprintf(p.stderr, "\nrun %s goes on without you. [d]etach, [c]ancel it, or go on watching [enter]? ", id)
	p.stderr.Flush()
	answer, err := p.ask(ctx, signals)
	if err != nil {
		return left(id)
	}
	switch {
	case strings.HasPrefix(answer, "d"):
		return left(id)
	case strings.HasPrefix(answer, "c"):
		if _, err := c.Runs().Cancel(ctx, id, "cancelled from the keyboard"); err != nil && pipeline.KindOf(err) != pipeline.Conflict {
			return err
		}
	}
	return nil
}

// left ends a command that was interrupted and leaves its run alone.
func left(id pipeline.RunID) error {
	return failf(exitInterrupted, "interrupted; run %s goes on: pipelined watch %[1]s", id)
}

// ask reads an answer of one line; a signal, or the end of ctx or of the input,
// is an error. The reader stays behind then, as a terminal's cannot be stopped,
// and the process ends soon.
func (p *program) ask(ctx context.Context, signals <-chan os.Signal) (string, error) {
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(p.stdin, 1024)).ReadString('\n')
		replies <- reply{text, err}
	}()
	select {
	case r := <-replies:
		return strings.ToLower(strings.TrimSpace(r.text)), r.err
	case <-signals:
		return "", errInterrupted
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
