package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func (p *program) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "prints the output of a run or of a module, live or of long ago", ArgsUsage: "RUN [MODULE]",
		Description: "Without MODULE every line is printed as `module | text`. With MODULE the output comes as it was written, of the newest attempt, or with -f of every attempt in turn.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "f", Aliases: []string{"follow"}, Usage: "go on until the run has ended", HideDefault: true, Local: true},
			&cli.IntFlag{Name: "attempt", Usage: "the attempt with this number (`N`); needs MODULE", HideDefault: true, Local: true},
			&cli.IntFlag{Name: "tail", Usage: "begin with the last `N` lines of each module", HideDefault: true, Local: true},
			&cli.StringFlag{Name: "since", Usage: "only what was written since `TIME`: a duration before now such as 10m, or as 2006-01-02T15:04:05Z", Local: true},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "print when each line was written", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "json", Usage: "print a line of JSON for each piece of output", HideDefault: true, Local: true},
		},
		Action: p.action(1, 2, p.logs),
	}
}

func (p *program) logs(ctx context.Context, cmd *cli.Command) error {
	id, err := runArg(cmd, 0)
	if err != nil {
		return err
	}
	module, attempt := cmd.Args().Get(1), cmd.Int("attempt")
	switch {
	case cmd.Args().Len() == 2 && !wire.ValidModule(module):
		return usagef("logs: %.80q cannot be the name of a module", module)
	case attempt < 0 || cmd.IsSet("attempt") && attempt == 0:
		return usagef("-attempt %d: attempts are counted from 1", attempt)
	case attempt > 0 && module == "":
		return usagef("logs: -attempt needs a MODULE")
	}
	o, err := p.logPart(cmd)
	if err != nil {
		return err
	}
	c, err := p.connectRead(ctx)
	if err != nil {
		return err
	}
	signals, back := p.signals()
	defer back()
	ctx, cancel := untilSignal(ctx, signals)
	defer cancel(nil)
	if o.Once && module != "" && !cmd.Bool("json") && o.Lines == 0 && o.Since.IsZero() && !o.Times {
		return cause(ctx, p.printLog(ctx, c, id, module, attempt))
	}
	if o.Once && module != "" && attempt == 0 {
		// Of one module, without -f, it is the newest attempt.
		r, info, err := c.Log(ctx, id, module, client.LogOptions{})
		if err != nil {
			return cause(ctx, err)
		}
		_ = r.Close() // only its number was wanted
		attempt = info.Attempt
	}
	if module != "" {
		o.Modules = []string{module}
	}
	if attempt > 0 {
		o.Positions = map[string]wire.LogPosition{module: {Attempt: attempt}}
	}
	w := &logWriter{p: p, attempt: attempt, raw: module != "", times: o.Times}
	if cmd.Bool("json") {
		w.json = json.NewEncoder(p.stdout)
		w.json.SetEscapeHTML(false)
	}
	return cause(ctx, w.follow(ctx, c, id, o))
}

// logPart reads which part of the output is wanted.
func (p *program) logPart(cmd *cli.Command) (client.FollowOptions, error) {
	o := client.FollowOptions{Once: !cmd.Bool("f"), Lines: cmd.Int("tail"), Times: cmd.Bool("timestamps")}
	if cmd.IsSet("tail") && (o.Lines < 1 || o.Lines > 1_000_000) {
		return o, usagef("-tail %d: want from 1 to 1000000 lines", o.Lines)
	}
	if text := cmd.String("since"); cmd.IsSet("since") {
		var err error
		if o.Since, err = wire.ParseSince(text, p.now()); err != nil {
			return o, usagef("-%w", err)
		}
	}
	return o, nil
}

// printLog copies the output of one attempt as far as it is there.
func (p *program) printLog(ctx context.Context, c *client.Client, id pipeline.RunID, module string, attempt int) error {
	r, _, err := c.Log(ctx, id, module, client.LogOptions{Attempt: attempt})
	if err != nil {
		return err
	}
	defer r.Close()
	if !p.stdout.terminal {
		if _, err := io.Copy(p.stdout, r); err != nil && p.stdout.Err() == nil {
			return wrap("read output", err)
		}
		return p.stdout.Err()
	}
	con := p.newConsole()
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			con.text(line)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return wrap("read output", err)
		}
	}
}

// errEnough ends a stream of which everything wanted was seen.
var errEnough = errors.New("enough")

// logWriter prints a stream of output.
type logWriter struct {
	p *program
	// attempt, where above 0, is the only one that is wanted.
	attempt int
	// raw prints one module's output as it is, without its name.
	raw  bool
	json *json.Encoder
	// times prints when each line was written.
	times bool
}

func (w *logWriter) follow(ctx context.Context, c *client.Client, id pipeline.RunID, o client.FollowOptions) error {
	// Announcements of attempts would be part of a live display.
	con := w.p.newConsole()
	con.live = false
	lines := newLineSplitter(nil, func(module string, number int) {
		if w.attempt == 0 {
			con.note("%s: attempt %d", module, number)
		}
	})
	var stamped []byte
	lines.emit = func(module string, line []byte) {
		if w.times {
			stamped = append(lines.at.UTC().AppendFormat(stamped[:0], wire.LogTimeLayout), ' ')
			stamped = append(stamped, line...)
			line = stamped
		}
		if w.raw {
			con.text(line)
			return
		}
		con.output(module, line)
	}
	err := c.FollowRun(ctx, id, o, func(e wire.LogEvent) error {
		switch {
		case w.attempt > 0 && e.Attempt > w.attempt:
			return errEnough
		case w.json != nil:
			if err := w.json.Encode(e); err != nil {
				return wrap("write output", err)
			}
		case w.raw && !con.safe && !w.times:
			if _, err := con.out.Write(e.Bytes()); err != nil {
				return wrap("write output", err)
			}
		default:
			lines.add(&e)
		}
		con.flush()
		if w.attempt > 0 && e.Attempt == w.attempt && e.End {
			return errEnough
		}
		return con.out.Err()
	})
	lines.end()
	con.close()
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// text prints a line of output, with or without its end, and nothing before it.
func (c *console) text(line []byte) {
	c.line = c.appendText(c.line[:0], trimEnd(line))
	c.out.Write(append(c.line, '\n'))
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}
