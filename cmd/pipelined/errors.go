package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// The exit codes of every command.
const (
	exitOK          = 0   // it succeeded, warnings included
	exitFailed      = 1   // the run failed, or the command did
	exitUsage       = 2   // wrong usage, an invalid pipeline, a name that does not exist
	exitCancelled   = 3   // the run was cancelled
	exitForbidden   = 4   // not allowed
	exitUnavailable = 5   // no cluster or no leader reachable
	exitTimeout     = 6   // timed out waiting
	exitInterrupted = 130 // interrupted from the keyboard
)

// exitMeanings is what the help says of exit codes.
var exitMeanings = []struct {
	code    int
	meaning string
}{
	{exitOK, "it succeeded, warnings included"},
	{exitFailed, "the run failed, or the command did"},
	{exitUsage, "wrong usage, an invalid pipeline, a name that does not exist"},
	{exitCancelled, "the run was cancelled"},
	{exitForbidden, "not allowed"},
	{exitUnavailable, "no cluster or no leader can be reached"},
	{exitTimeout, "timed out waiting"},
	{exitInterrupted, "interrupted"},
}

// kindExits is the one table from kinds of error to exit codes.
var kindExits = map[pipeline.Kind]int{
	pipeline.Internal:        exitFailed,
	pipeline.Invalid:         exitUsage,
	pipeline.Unauthenticated: exitForbidden,
	pipeline.Forbidden:       exitForbidden,
	pipeline.NotFound:        exitUsage,
	pipeline.Conflict:        exitFailed,
	pipeline.TooLarge:        exitUsage,
	pipeline.Unavailable:     exitUnavailable,
	pipeline.Unknown:         exitUnavailable,
	pipeline.Canceled:        exitInterrupted,
	pipeline.Timeout:         exitTimeout,
}

// stateExits is the exit code of a command that followed a run to its end.
var stateExits = map[pipeline.RunState]int{
	pipeline.RunSucceeded: exitOK,
	pipeline.RunWarnings:  exitOK,
	pipeline.RunFailed:    exitFailed,
	pipeline.RunCancelled: exitCancelled,
}

// exitError ends a command with a code of its own. Without a cause nothing is
// printed: what there is to say was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit ends a command with a code and without a message.
func exit(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// failf ends a command with a code and a message.
func failf(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// usagef is wrong usage.
func usagef(format string, args ...any) error { return failf(exitUsage, format, args...) }

// errInterrupted is the cause of a context that a signal ended, errTimedOut
// that of one that -timeout ended.
var (
	errInterrupted = &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	errTimedOut    = &exitError{code: exitTimeout, err: errors.New("timed out (-timeout)")}
)

// exitCode says how the process ends after err.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}

	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}

	var p *pipeline.Error
	if errors.As(err, &p) {
		return kindExits[p.Kind]
	}

	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}

	return exitFailed
}

// cause puts the reason for which a context ended in the place of the error
// that its end led to.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}

	var e *exitError
	if errors.As(err, &e) && !errors.Is(err, context.Cause(ctx)) {
		return err
	}

	return context.Cause(ctx)
}
