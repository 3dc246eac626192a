package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// execCommand is `pipelined exec`.
type execCommand struct{ env *environment }

func (c execCommand) command() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "runs a command or a shell in a module's directory", ArgsUsage: "RUN MODULE [-- COMMAND…]",
		Description: "The process runs on the worker that holds the directory, with the module's environment but without its secrets, and ends with this command. " +
			"A directory exists while its module runs, and afterwards if the module failed on an agent with -keep-work. Needs a token of role admin.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "attempt", Usage: "number `N` of the attempt (default the newest)", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "no-tty", Aliases: []string{"T"}, Usage: "allocate no terminal", HideDefault: true, Local: true},
		},
		Action: c.env.action(2, -1, c.run),
	}
}

func (c execCommand) run(ctx context.Context, cmd *cli.Command) error {
	ref, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	module := cmd.Args().Get(1)
	if !wire.ValidModule(module) {
		return usagef("exec: %.80q cannot be the name of a module", module)
	}

	in := wire.ExecRequest{Attempt: cmd.Int("attempt"), Command: cmd.Args().Slice()[2:]}
	if in.Attempt < 0 || cmd.IsSet("attempt") && in.Attempt == 0 {
		return usagef("-attempt %d: attempts are counted from 1", in.Attempt)
	}

	here, _ := c.env.stdin.(*os.File)
	in.TTY = !cmd.Bool("no-tty") && c.env.interactive && c.env.stdout.Terminal && here != nil
	if in.TTY {
		in.Term = c.env.getenv("TERM")
		in.Columns, in.Rows, _ = term.GetSize(int(here.Fd())) // a size of 0 is the usual one
	}

	api, err := c.env.connect(ctx)
	if err != nil {
		return err
	}

	id, err := api.Runs().Find(ctx, ref)
	if err != nil {
		return err
	}

	stream, err := api.Modules().Exec(ctx, id, module, in)
	if err != nil {
		return err
	}

	defer stream.Close()
	s := &execSession{p: c.env, stream: stream, out: &wire.ExecWriter{W: stream}}
	if in.TTY {
		before, err := term.MakeRaw(int(here.Fd()))
		if err != nil {
			return wrap("set up the terminal", err)
		}

		defer func() { _ = term.Restore(int(here.Fd()), before) }() // there is nothing else to be done
		defer s.watchSize(here)()
	} else {
		signals, back := c.env.signals()
		defer back()
		var cancel context.CancelCauseFunc
		ctx, cancel = untilSignal(ctx, signals)
		defer cancel(nil)
	}

	defer context.AfterFunc(ctx, func() { stream.Close() })()
	go s.send(in.TTY) // ends with its input or with the stream; the process ends after this command
	return cause(ctx, s.receive(id, module))
}

// execSession is a process elsewhere, as it is seen from here.
type execSession struct {
	p      *environment
	stream io.ReadWriteCloser
	out    *wire.ExecWriter
}

// send passes standard input on.
func (s *execSession) send(tty bool) {
	_, err := io.Copy(s.out.Of(wire.ExecInput), s.p.stdin)
	if err == nil && !tty {
		_ = s.out.Frame(wire.ExecEOF, nil) // a stream that is gone shows in receive
	}
}

// watchSize passes on how large the terminal is, whenever that changes, until
// the returned function is called.
func (s *execSession) watchSize(here *os.File) (stop func()) {
	changed, done := make(chan os.Signal, 1), make(chan struct{})
	s.p.notify(changed, syscall.SIGWINCH)
	go func() { // ends when stop is called
		for {
			select {
			case <-changed:
				if w, h, err := term.GetSize(int(here.Fd())); err == nil {
					_ = s.out.JSON(wire.ExecSize, wire.ExecWindow{Columns: w, Rows: h})
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		s.p.unnotify(changed)
		close(done)
	}
}

// receive prints what the process writes, and ends as it does.
func (s *execSession) receive(id pipeline.RunID, module string) error {
	buf := make([]byte, wire.MaxExecFrame)
	for {
		kind, b, err := wire.ReadExecFrame(s.stream, buf)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return pipeline.Errorf(pipeline.Unavailable, "exec in %s of run %s: connection lost, the process has ended: %w", module, id, err)
		}

		switch kind {
		case wire.ExecOutput:
			_, _ = s.p.stdout.Write(b) // see Err
			s.p.stdout.Flush()
			if err := s.p.stdout.Err(); err != nil {
				return err
			}
		case wire.ExecError:
			_, _ = s.p.stderr.Write(b)
			s.p.stderr.Flush()
		case wire.ExecExit:
			var st wire.ExecStatus
			if err := json.Unmarshal(b, &st); err != nil {
				return pipeline.Errorf(pipeline.Internal, "exec: read the exit status: %w", err)
			}

			if st.Message != "" {
				return failf(st.ExitCode, "exec: %s", st.Message)
			}

			return exit(st.ExitCode)
		}
	}
}
