package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/storage"
)

// console gives what a console's configuration has in common in every command.
func (env *environment) console() terminal.ConsoleConfig {
	dir, _ := os.Getwd() // without it files keep their whole names
	return terminal.ConsoleConfig{Out: env.stdout, Err: env.stderr, Now: env.now, Quiet: env.flags.quiet, Plain: env.plain(), Static: env.automated(),
		Unicode: terminal.SpeaksUnicode(env.getenv), Dir: dir, CI: terminal.DetectCI(env.getenv), Exists: isLocalFile}
}

// isLocalFile reports whether there is a file of that name below the working directory.
func isLocalFile(name string) bool {
	if !filepath.IsLocal(name) {
		return false
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// live reports whether a followed run is shown on a live display.
func (env *environment) live() bool {
	return env.stderr.Terminal && !env.flags.quiet && !env.plain() && !env.automated()
}

// automated reports a CI system, where no person watches a live display even if there is a
// terminal.
func (env *environment) automated() bool {
	ci := env.getenv("CI")
	return ci != "" && ci != "false" && ci != "0"
}

// givenFlags are the flags of this command line by which another one reaches the same
// cluster; "" for none. A token is not repeated.
func (env *environment) givenFlags() string {
	var list []string
	add := func(flag, value, variable string) {
		if value != "" && value != env.getenv(variable) {
			list = append(list, flag+" "+terminal.Quote(value))
		}
	}
	add("-address", env.flags.address, "PIPELINED_ADDR")
	add("-key-file", env.flags.keyFile, "PIPELINED_KEY_FILE")
	add("-ca-file", env.flags.caFile, "PIPELINED_CA_FILE")
	add("-token-file", env.flags.tokenFile, "PIPELINED_TOKEN_FILE")
	if env.flags.token != "" && env.flags.token != env.getenv("PIPELINED_TOKEN") {
		list = append(list, "-token …")
	}
	return strings.Join(list, " ")
}

// addressGiven reports whether the command line itself names a node.
func (env *environment) addressGiven() bool {
	return env.flags.address != "" && env.flags.address != env.getenv("PIPELINED_ADDR")
}

// page gives the address of a run's page on the dashboard of the node that answered
// last, or "" if none does; it is nil if that node is of this process, and ends with it.
func (env *environment) page(api *client.Client, run string) func() string {
	if env.ownNode {
		return nil
	}
	return func() string {
		base := api.Page()
		if base == "" {
			return ""
		}
		return base + "/runs/" + run
	}
}

// reach learns which nodes there are; it fails only if none answers.
func (env *environment) reach(ctx context.Context, api *client.Client) error {
	if err := api.Learn(ctx); err != nil && api.Page() == "" {
		return err
	}
	return nil
}

// tellPage names a run and where it is seen.
func (env *environment) tellPage(run, page string) {
	if page != "" {
		run += ": " + page
	}
	env.tell("run %s", run)
}

// plain reports that no cursor tricks are wanted.
func (env *environment) plain() bool {
	return env.flags.noColor || env.getenv("NO_COLOR") != "" || env.getenv("TERM") == "dumb"
}

// color reports whether a stream may be coloured.
func (env *environment) color(s *terminal.Stream) bool { return s.Terminal && !env.plain() }

// tell prints a line of progress on stderr.
func (env *environment) tell(format string, args ...any) {
	if !env.flags.quiet {
		fmt.Fprintf(env.stderr, "%s\n", terminal.Clean(fmt.Sprintf(format, args...)))
		env.stderr.Flush()
	}
}

// confirm asks a question; without a person to ask, -yes must have been given.
func (env *environment) confirm(question string) (bool, error) {
	if !env.interactive {
		return false, usagef("confirmation needs a terminal: use -yes")
	}

	fmt.Fprintf(env.stderr, "%s [y/N] ", terminal.Clean(question))
	env.stderr.Flush()
	answer, err := bufio.NewReader(io.LimitReader(env.stdin, 1024)).ReadString('\n')
	if err != nil && answer == "" {
		return false, nil
	}

	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// numberOf is n things, by their noun.
func numberOf(n int, noun string) string {
	if n != 1 {
		if stem, ok := strings.CutSuffix(noun, "y"); ok {
			noun = stem + "ie"
		}
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// printJSON writes a document to stdout.
func (env *environment) printJSON(v any) error {
	enc := json.NewEncoder(env.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return wrap("write output", err)
	}

	return nil
}

// wrap says what was being done when err happened.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// signals catches what ends a command: from the keyboard, by kill, or with its
// terminal.
func (env *environment) signals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 2) // the second one counts too
	env.notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { env.unnotify(c) }
}

// ask reads an answer of one line; a signal, or the end of ctx or of the input,
// is an error. The reader stays behind then, as a terminal's cannot be stopped,
// and the process ends soon.
func (env *environment) ask(ctx context.Context, signals <-chan os.Signal) (string, error) {
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(env.stdin, 1024)).ReadString('\n')
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

// say prints a line on stderr, -quiet or not.
func (env *environment) say(format string, args ...any) {
	fmt.Fprintf(env.stderr, "%s\n", terminal.Clean(fmt.Sprintf(format, args...)))
	env.stderr.Flush()
}

// environment is everything that a command touches outside of itself, so that
// tests can replace it. Commands hold it and nothing else.
type environment struct {
	stdin          io.Reader
	stdout, stderr *terminal.Stream
	// interactive reports that a person at a terminal can answer questions.
	interactive bool

	getenv   func(string) string
	environ  func() []string
	notify   func(chan<- os.Signal, ...os.Signal)
	unnotify func(chan<- os.Signal)
	now      func() time.Time

	// open builds a node; see node.go.
	open func(context.Context, nodeConfig) (clusterNode, error)
	// local is the address that is tried first for the agent of this machine;
	// agents lists those that left their address in a file.
	local  string
	agents func() []storage.AgentFile

	// flags are those that every command takes; set when the command line was
	// parsed.
	flags sharedFlags
	// retries reports on stderr that calls are repeated; set by program.run.
	retries *terminal.RetryNotes
	// ownNode says that a node of this process answers, which ends with it.
	ownNode bool
	// atEnd is called when the command has ended, the last one first.
	atEnd []func()
}

// sharedFlags are the values of the flags that every command takes.
type sharedFlags struct {
	address, token, tokenFile, keyFile, caFile string
	timeout                                    time.Duration
	quiet, noColor                             bool
}

// maxSource bounds what is read of a pipeline or of a file of values; the
// language refuses far less.
const maxSource = 8 << 20

// readFile reads a file argument; "-" is standard input.
func (env *environment) readFile(name string) ([]byte, error) {
	var in io.Reader = env.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fileError(err)
		}

		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a directory", name)
		}

		in = f
	}

	text, err := io.ReadAll(io.LimitReader(in, maxSource+1))
	if err != nil {
		return nil, fileError(err)
	}

	if len(text) > maxSource {
		return nil, fmt.Errorf("%s is longer than %d MiB", name, maxSource>>20)
	}

	return text, nil
}

// fileError words an error of the file system without the name of the call.
func fileError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Path, path.Err)
	}

	return err
}

// explain prints the mistakes of a refused pipeline with their places, carets
// and all, and gives the error that ends the command. Other errors stay.
func (env *environment) explain(err error) error {
	var local *submission.InvalidError
	var remote *wire.SourceError
	var list language.Diagnostics
	switch {
	case errors.As(err, &local):
		list = local.Diagnostics
	case errors.As(err, &remote) && len(remote.Diagnostics) > 0:
		for _, d := range remote.Diagnostics {
			list = append(list, language.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
				Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
		}
	default:
		return err
	}

	list.Write(env.stderr, env.color(env.stderr))
	fmt.Fprintln(env.stderr)
	annotate(env, list)
	what := "1 mistake"
	if len(list) != 1 {
		what = fmt.Sprintf("%d mistakes", len(list))
	}

	return failf(exitUsage, "invalid pipeline: %s", what)
}

// annotate marks mistakes at their places in the files, where a CI system shows that.
func annotate(env *environment, list language.Diagnostics) {
	ci := terminal.DetectCI(env.getenv)
	for _, d := range list[:min(len(list), terminal.MaxAnnotations)] {
		text, line := terminal.Flat(d.Summary), 0
		if d.Detail != "" {
			text += ": " + terminal.Flat(d.Detail)
		}
		if isLocalFile(d.File) {
			line = d.Line
		}
		ci.Annotate(env.stderr, d.File, line, "invalid pipeline", text)
	}
}

// action wraps what a command does: the number of its arguments is checked,
// and -timeout bounds it.
func (env *environment) action(minArgs, maxArgs int, do func(context.Context, *cli.Command) error) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		n := cmd.Args().Len()
		switch {
		case n < minArgs:
			return missingArgument(cmd, n)
		case maxArgs == 0 && n > 0 && len(cmd.Commands) > 0:
			return unknownCommand(cmd, cmd.Args().First())
		case maxArgs >= 0 && n > maxArgs:
			return usagef("unexpected argument %q: %s takes %s", cmd.Args().Get(maxArgs), commandPath(cmd), takes(cmd))
		}

		if env.flags.timeout < 0 {
			return usagef("-timeout %s: expected a positive duration such as 90s", env.flags.timeout)
		}

		if env.flags.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, env.flags.timeout, errTimedOut)
			defer cancel()
		}

		return hint(cause(ctx, do(ctx, cmd)))
	}
}
