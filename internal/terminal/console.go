package terminal

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Console shows a followed run. On a terminal a block of lines is drawn again and again:
// what runs, with its last line of output, what waits and why, and the counts; what has
// ended stays above. Elsewhere output is printed on stdout as "module | text", and
// progress on stderr, a line for each event. One goroutine uses it: calls come in
// batches, and flush ends a batch.
type Console struct {
	out, err *Stream
	now      func() time.Time
	// live draws the block; quiet shows no progress at all; prints shows each line of
	// output, and not only the last one of what runs.
	live, quiet, prints bool
	// color allows colours on stderr.
	color bool

	view    *runView
	tails   *tails
	board   *board
	screen  *screen
	output  *outputWriter
	changes heldChanges // until the output before them was shown
	recap   recap
	// question stands below the block.
	question string
	// dirty is set if the block differs from what is drawn.
	dirty bool
}

// ConsoleConfig says where and how a console shows a run.
type ConsoleConfig struct {
	Out, Err *Stream
	Now      func() time.Time
	// Quiet shows no progress, only how a run failed.
	Quiet bool
	// Plain uses neither colours nor a live display, even on a terminal; Static
	// leaves out the live display alone.
	Plain, Static bool
	// Unicode allows marks beyond ASCII.
	Unicode bool
	// Logs prints every line of output, also on a terminal.
	Logs bool
	// Known is an earlier state of the run, of which nothing is printed again; nil for
	// none.
	Known *wire.Run
	// Flags are those that another command needs to reach the run's node, like
	// "-address X"; "" for none. FlagsLater is the same once this command has ended; if
	// Gone is set, nothing reaches the run then.
	Flags, FlagsLater string
	Gone              bool
	// Page is the address of the run's page on the dashboard, "" if no node is known to
	// answer; it is nil if there is none.
	Page func() string
	// Dir is the working directory: files below it are named relative to it.
	Dir string
	// CI is the system whose log this is. Exists reports whether there is a file below
	// the working directory, for annotations; nil for no files.
	CI     CI
	Exists func(string) bool
	// Interrupt says what Ctrl-C does, for the live display.
	Interrupt string
}

// NewConsole makes the display of a followed run.
func NewConsole(cfg ConsoleConfig) *Console {
	live := cfg.Err.Terminal && !cfg.Quiet && !cfg.Plain && !cfg.Static
	c := &Console{
		out: cfg.Out, err: cfg.Err, now: cfg.Now, quiet: cfg.Quiet, live: live, color: cfg.Err.Terminal && !cfg.Plain,
		prints: cfg.Logs || !live || !cfg.Out.Terminal,
		view:   newRunView(), tails: newTails(), screen: &screen{err: cfg.Err, now: cfg.Now},
		output: &outputWriter{safe: cfg.Out.Terminal, color: cfg.Out.Terminal && !cfg.Plain, whole: live && cfg.Out.Terminal, prefixes: map[string]string{}},
	}

	marks := MarksOf(cfg.Unicode)
	c.board = &board{view: c.view, tails: c.tails, marks: marks, interrupt: cfg.Interrupt, shown: map[string]bool{}}
	c.recap = recap{later: flagText(cfg.FlagsLater), page: cfg.Page, gone: cfg.Gone, dir: cfg.Dir, marks: marks, ci: cfg.CI, exists: cfg.Exists}
	c.output.write = func(text []byte) {
		if c.live && c.out.Terminal {
			c.screen.above(c.out, text)
		} else {
			c.out.Write(text)
		}
	}

	if cfg.Known != nil {
		c.view.known = map[string]*wire.Module{}
		for i := range cfg.Known.Modules {
			c.view.known[cfg.Known.Modules[i].Name] = &cfg.Known.Modules[i]
		}
	}

	c.view.flags = flagText(cfg.Flags)

	return c
}

// flagText are flags as they stand before the arguments of a command.
func flagText(flags string) string {
	if flags == "" {
		return ""
	}
	return flags + " "
}

// begin opens the group of a CI system in which output and progress stand. Its marks go
// to stderr, so that stdout holds output alone.
func (c *Console) begin() {
	if !c.live && !c.quiet {
		c.recap.ci.open(c.err, "pipelined: output and progress", c.now())
		c.err.Flush()
	}
}

// update takes in what the cluster says of the run.
func (c *Console) update(r wire.Run) {
	c.dirty = true
	c.tell(c.changes.add(c.view.apply(r)))
}

// logEnded takes note that all output of an attempt has come.
func (c *Console) logEnded(e *wire.LogEvent) {
	c.tell(c.changes.logEnded(e.Module, e.Attempt))
	c.tails.ended(e.Module, e.State)
}

// logsEnded takes note that no more output comes.
func (c *Console) logsEnded() { c.tell(c.changes.release()) }

// tell prints what changed.
func (c *Console) tell(changes []change) {
	if c.quiet || len(changes) == 0 {
		return
	}

	if c.live {
		for _, r := range c.board.happened(changes, c.screen.width()) {
			c.above(r)
		}
		return
	}

	for _, ch := range changes {
		c.flushLine()
		fmt.Fprintf(c.err, "%s: %s\n", Clean(ch.module), row{{Clean(ch.text), ch.look}}.render(c.color))
	}
}

// above prints a row that stays above the block.
func (c *Console) above(r row) {
	c.screen.above(c.err, []byte(r.render(c.color)+"\n"))
	c.dirty = true
}

// note prints a line of progress.
func (c *Console) note(format string, args ...any) {
	if c.quiet {
		return
	}
	c.say(format, args...)
}

// warn prints a line of progress about the cluster.
func (c *Console) warn(text string) {
	if c.live {
		c.above(row{{c.board.marks.Warning + " ", oddStyle}, {Flat(text), oddStyle}})
	} else {
		c.note("%s", text)
	}
}

// failures tells, whatever is quiet, which modules failed and how the run ended.
func (c *Console) failures(r *wire.Run) {
	for i := range r.Modules {
		if m := &r.Modules[i]; m.State == pipeline.ModuleFailed {
			text, _ := finalText(m)
			c.say("%s: %s", m.Name, text)
		}
	}
	c.say("%s", Summary(&r.RunSummary, CountModules(r.Modules)))
}

// finish takes the block away and tells how the run ended.
func (c *Console) finish(r *wire.Run) {
	c.suspend()
	c.flushLine()
	c.recap.print(c, r)
	c.close()
}

// say prints a line on stderr, -quiet or not.
func (c *Console) say(format string, args ...any) {
	text := Clean(fmt.Sprintf(format, args...)) + "\n"
	if c.live {
		c.screen.above(c.err, []byte(text))
		c.dirty = true
		return
	}

	c.flushLine()
	c.err.WriteString(text)
}

// part takes a line of a module's output, or a piece of one.
func (c *Console) part(p part) {
	c.tails.add(p)
	if c.prints {
		c.output.part(p)
	}
	c.dirty = true
}

// flushLine ends an open line of output before a line of progress, which may go to
// the same terminal or file.
func (c *Console) flushLine() {
	if c.output.end() {
		c.out.Flush()
	}
}

// flush shows everything of a batch, on a live display at most ten times a second.
func (c *Console) flush() {
	if !c.live {
		c.out.Flush()
		c.err.Flush()
		return
	}

	if !c.out.Terminal {
		c.out.Flush()
	}
	if (c.dirty || c.screen.bytes > 0) && c.screen.due() {
		c.screen.frame(c.block(), c.color)
		c.dirty = false
	}
}

// block is the live display.
func (c *Console) block() []row {
	most := c.screen.height()
	if c.question == "" {
		return c.board.rows(c.now(), c.screen.width(), most)
	}
	return append(c.board.rows(c.now(), c.screen.width(), most-1), row{{c.question, boldStyle}})
}

// tick redraws what changes with the time.
func (c *Console) tick() {
	c.dirty = true
	c.flush()
}

// suspend takes the block away for something that is written in its place; the next
// flush draws it again.
func (c *Console) suspend() {
	if c.live {
		c.screen.clear()
		c.dirty = true
	}
}

// close removes the block permanently.
func (c *Console) close() {
	if c.live {
		c.screen.clear()
		c.live = false
	}
	c.output.end()
	c.out.Flush()
	c.err.Flush()
}

// typed takes note of the end of a line that was typed below the live block.
func (c *Console) typed() {
	c.screen.below++
	c.dirty = true
}
