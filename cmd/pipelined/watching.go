package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// watchOptions say how a run is followed.
type watchOptions struct {
	// json prints the finished run instead of the output.
	json bool
	// each is called with every state of the run; may be nil.
	each func(wire.Run) error
	// known is a state of the run of which neither output nor progress is shown
	// again; nil for none.
	known     *wire.Run
	signals   <-chan os.Signal
	interrupt func(context.Context, os.Signal) error
	// asker asks what modules wait for; may be nil.
	asker *terminal.ApprovalPrompt
	// address is what reaches the run's node from another shell, as -address
	// takes it; "" if nothing has to be given. gone says that nothing reaches it once
	// the command has ended.
	address string
	gone    bool
	// page is the address of the run's page on the dashboard; nil if there is none.
	page func() string
	// logs prints every line of output on a terminal too.
	logs bool
	// ctrlC is what Ctrl-C does, in the words of the live display.
	ctrlC string
	// health says who leads; nil for the own node.
	health func(context.Context) (wire.Health, error)
	// election is the newest election; nil for the own node.
	election func(context.Context) (wire.Event, error)
	// ended is called with the run once it has ended and is shown, and with the error
	// with which the command would end; nil keeps that.
	ended func(run wire.Run, outcome error) error
}

// finish is how the command ends after a run.
func (o *watchOptions) finish(run wire.Run, outcome error) error {
	if o.ended == nil {
		return outcome
	}
	return o.ended(run, outcome)
}

// logsFlag is -logs, of the commands that follow a run.
func logsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "logs", Usage: "print every line of output on a terminal too", HideDefault: true, Local: true}
}

// What Ctrl-C does, for watchOptions.ctrlC.
const (
	leavesRunning = "^C leaves it running"
	cancelsRun    = "^C cancels it"
)

// watcher follows a run to its end for the commands that do so.
type watcher struct{ env *environment }

// newestElection asks for the newest event of an election.
func newestElection(api *client.Client) func(context.Context) (wire.Event, error) {
	return func(ctx context.Context) (wire.Event, error) {
		list, err := api.Events().List(ctx, client.EventOptions{Limit: 1, Types: []string{"leader.changed"}})
		if err != nil || len(list.Events) == 0 {
			return wire.Event{}, err
		}
		return list.Events[len(list.Events)-1], nil
	}
}

// watch follows a run to its end and ends as the run did. ended is false
// where it went away before.
func (c watcher) watch(ctx context.Context, source terminal.RunSource, id pipeline.RunID, o watchOptions) (ended bool, err error) {
	notes, back := c.env.retries.Take()
	defer back()
	display := c.env.console()
	display.Known, display.Logs, display.Interrupt = o.known, o.logs, o.ctrlC
	display.Flags, display.Gone, display.Page = c.env.givenFlags(), o.gone, o.page
	if o.address != "" {
		display.Flags = "-address " + o.address
	}
	display.FlagsLater = display.Flags
	f := &terminal.Follower{Source: source, ID: id, Console: terminal.NewConsole(display), Silent: o.json, Positions: shown(o.known), Notes: notes, Each: o.each,
		Signals: o.signals, Interrupt: o.interrupt, Approvals: o.asker, Health: o.health, Election: o.election}
	run, err := f.Run(ctx)
	if errors.Is(err, errTimedOut) {
		return false, failf(exitTimeout, "timed out (-timeout); run %s continues: %s", id, c.env.watchCommand(id))
	}

	if err != nil {
		return false, err
	}

	err = exit(stateExits[run.State])
	if o.json && o.each == nil {
		if shown := c.env.printJSON(complete(run)); shown != nil {
			err = shown
		}
	}

	return true, o.finish(run, err)
}

// detachOrCancel is what Ctrl-C does to a command that follows a run: one
// question if a person can answer it, otherwise it leaves the run alone.
func (c watcher) detachOrCancel(ctx context.Context, api *client.Client, id pipeline.RunID, signals <-chan os.Signal) error {
	if !c.env.interactive {
		return c.env.left(id)
	}

	fmt.Fprintf(c.env.stderr, "\nrun %s continues without you. [d]etach, [c]ancel it, or keep watching [enter]? ", id)
	c.env.stderr.Flush()
	answer, err := c.env.ask(ctx, signals)
	if err != nil {
		return c.env.left(id)
	}

	switch {
	case strings.HasPrefix(answer, "d"):
		return c.env.left(id)
	case strings.HasPrefix(answer, "c"):
		if _, err := api.Runs().Cancel(ctx, id, "cancelled from the keyboard"); err != nil && pipeline.KindOf(err) != pipeline.Conflict {
			return err
		}
	}

	return nil
}

// left ends a command that was interrupted and leaves its run alone.
func (env *environment) left(id pipeline.RunID) error {
	return failf(exitInterrupted, "interrupted; run %s continues: %s", id, env.watchCommand(id))
}

// watchCommand is the command that follows a run, as this command line reaches it.
func (env *environment) watchCommand(id pipeline.RunID) string {
	flags := env.givenFlags()
	if flags != "" {
		flags += " "
	}
	return fmt.Sprintf("pipelined watch %s%s", flags, id)
}
