package terminal

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxLiveModules is how many running modules the live display lists.
const maxLiveModules = 12

// Console shows a followed run: output lines on stdout as "module | text", and
// progress on stderr, live on a terminal and as plain lines elsewhere. One
// goroutine uses it: calls come in batches, and flush ends a batch.
type Console struct {
	out, err *Stream
	now      func() time.Time
	// live draws a block of lines that is replaced again and again; quiet shows
	// no progress at all.
	live, quiet bool
	// safe strips what steers a terminal from output; colorOut and colorErr
	// allow colours on the two streams.
	safe, colorOut, colorErr bool

	view *runView
	// question stands below the live block.
	question string
	// drawn is how many lines of the live block stand on the terminal.
	drawn int
	dirty bool
	line  []byte // reused for each line
	// open is the module of the line on stdout that has no end yet; "" for none.
	open string
	// raw prints output without the names of modules.
	raw bool
	// changes are held back until the output before them was shown.
	changes  heldChanges
	prefixes map[string]string
}

// ConsoleConfig says where and how a console shows a run.
type ConsoleConfig struct {
	Out, Err *Stream
	Now      func() time.Time
	// quiet shows no progress, only how a run failed.
	Quiet bool
	// plain uses neither colours nor a live display, even on a terminal; static
	// leaves out the live display alone.
	Plain, static bool
	// Known is an earlier state of the run, of which nothing is printed again; nil for
	// none.
	Known *wire.Run
	// Address is what -address must be to reach the run's node from another
	// shell; "" if the flag is not needed.
	Address string
}

// NewConsole makes the display of a followed run.
func NewConsole(cfg ConsoleConfig) *Console {
	c := &Console{
		out: cfg.Out, err: cfg.Err, now: cfg.Now, quiet: cfg.Quiet,
		live: cfg.Err.Terminal && !cfg.Quiet && !cfg.Plain && !cfg.static,
		safe: cfg.Out.Terminal, colorOut: cfg.Out.Terminal && !cfg.Plain, colorErr: cfg.Err.Terminal && !cfg.Plain,
		view: newRunView(), prefixes: map[string]string{},
	}

	if cfg.Known != nil {
		c.view.known = map[string]*wire.Module{}
		for i := range cfg.Known.Modules {
			c.view.known[cfg.Known.Modules[i].Name] = &cfg.Known.Modules[i]
		}
	}

	if cfg.Address != "" {
		c.view.address = "-address " + cfg.Address + " "
	}

	return c
}

// update takes in what the cluster says of the run.
func (c *Console) update(r wire.Run) {
	c.dirty = true
	c.tell(c.changes.add(c.view.apply(r)))
}

// logEnded takes note that all output of an attempt was printed.
func (c *Console) logEnded(module string, attempt int) {
	c.tell(c.changes.logEnded(module, attempt))
}

// logsEnded takes note that no more output comes.
func (c *Console) logsEnded() { c.tell(c.changes.release()) }

// tell prints what changed.
func (c *Console) tell(changes []change) {
	if c.quiet {
		return
	}

	for _, ch := range changes {
		if c.live && ch.start {
			continue
		}

		c.erase()
		c.flushLine()
		fmt.Fprintf(c.err, "%s: %s\n", Clean(ch.module), c.paint(ch.mood, Clean(ch.text)))
	}
}

// note prints a line of progress.
func (c *Console) note(format string, args ...any) {
	if c.quiet {
		return
	}
	c.say(format, args...)
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

// say prints a line on stderr, -quiet or not.
func (c *Console) say(format string, args ...any) {
	c.erase()
	c.flushLine()
	fmt.Fprintf(c.err, "%s\n", Clean(fmt.Sprintf(format, args...)))
}

// output prints a line of a module's output, or a piece of one. A piece stays open
// for the next one of its line, unless a live display stands below it.
func (c *Console) output(p part) {
	c.erase()
	c.line = c.line[:0]
	if c.open != p.module {
		c.endLine()
		if !p.begins && len(p.text) == 0 {
			return // the end of a line that something else has ended
		}
		c.line = append(c.line, c.prefix(p.module)...)
	}

	c.line = c.appendText(c.line, p.text)
	c.open = p.module
	if p.ends || c.live {
		c.line, c.open = append(c.line, '\n'), ""
	}
	c.out.Write(c.line)
}

// endLine ends a line of output that is open, so that another one can begin.
func (c *Console) endLine() {
	if c.open != "" {
		c.out.WriteString("\n")
		c.open = ""
	}
}

// flushLine ends an open line of output before a line of progress, which may go to
// the same terminal or file.
func (c *Console) flushLine() {
	if c.open != "" {
		c.endLine()
		c.out.Flush()
	}
}

// prefix is what stands before each line of a module's output.
func (c *Console) prefix(module string) string {
	if c.raw {
		return ""
	}

	prefix, ok := c.prefixes[module]
	if !ok {
		prefix = Clean(module) + " | "
		if c.colorOut {
			prefix = moduleColor(module) + Clean(module) + " |\x1b[0m "
		}

		c.prefixes[module] = prefix
	}
	return prefix
}

// appendText appends a line of output as the destination may have it.
func (c *Console) appendText(dst, line []byte) []byte {
	if !c.safe {
		return append(dst, line...)
	}

	dst = appendSafe(dst, line, c.colorOut)
	if c.colorOut && hasColor(line) {
		dst = append(dst, "\x1b[0m"...)
	}

	return dst
}

// flush shows everything of a batch.
func (c *Console) flush() {
	c.out.Flush()
	if c.live && (c.drawn == 0 || c.dirty) {
		c.draw()
	}

	c.dirty = false
	c.err.Flush()
}

// tick redraws what changes with the time.
func (c *Console) tick() {
	if c.live {
		c.dirty = true
		c.flush()
	}
}

// close takes the live block away.
func (c *Console) close() {
	c.erase()
	c.live = false
	c.endLine()
	c.out.Flush()
	c.err.Flush()
}

// erase removes the live block, so that lines can be printed in its place.
// What is written to stdout afterwards must come after it on the terminal.
func (c *Console) erase() {
	if c.drawn == 0 {
		return
	}

	fmt.Fprintf(c.err, "\r\x1b[%dA\x1b[J", c.drawn)
	c.drawn = 0
	c.err.Flush()
}

// typed takes note of the end of a line that was typed below the live block.
func (c *Console) typed() {
	if c.drawn > 0 {
		c.drawn++
	}
	c.dirty = true
}

// draw prints the live block anew.
func (c *Console) draw() {
	lines := c.block()
	if c.drawn > 0 {
		fmt.Fprintf(c.err, "\r\x1b[%dA\x1b[J", c.drawn)
	}

	width := max(c.err.width()-1, 20)
	for _, l := range lines {
		c.err.WriteString(c.dim(cutLine(l, width)) + "\n")
	}

	c.drawn = len(lines)
}

// block is the live display: a line for each running module and a footer.
func (c *Console) block() []string {
	now := c.now()
	var lines []string
	running, widest := 0, 0
	for i := range c.view.modules {
		if m := &c.view.modules[i]; m.State == pipeline.ModuleRunning {
			if running++; running <= maxLiveModules {
				widest = max(widest, utf8.RuneCountInString(m.Name))
			}
		}
	}

	for i := range c.view.modules {
		m := &c.view.modules[i]
		if m.State != pipeline.ModuleRunning || len(lines) == maxLiveModules {
			continue
		}

		elapsed, where := "", ""
		if a := LastAttempt(m); a != nil {
			if a.StartedAt != nil {
				elapsed = ShortDuration(now.Sub(*a.StartedAt))
			}
			where = a.Worker + attemptNote(m, len(m.Attempts)-1)
		}

		lines = append(lines, fmt.Sprintf("  %-*s  %6s  %s", widest, Clean(m.Name), elapsed, Clean(where)))
	}

	if more := running - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}

	lines = append(lines, c.footer(now))
	if c.question != "" {
		lines = append(lines, c.question)
	}

	return lines
}

// footer counts, and guesses what is left.
func (c *Console) footer(now time.Time) string {
	n := c.view.counts()
	text := fmt.Sprintf("%d/%d done", n.done(), max(n.Total(), c.view.run.ModuleCount))
	for _, part := range []struct {
		n    int
		what string
	}{{n.failed, "failed"}, {n.running, "running"}, {n.waiting, "waiting"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}

	if !c.view.run.SubmittedAt.IsZero() {
		text += ", " + ShortDuration(c.view.run.Took(now))
	}

	if left, ok := estimate(c.view.modules, now); ok && hasHistory(c.view.modules) && !c.view.run.State.Final() && !slices.ContainsFunc(c.view.modules, func(m wire.Module) bool { return NeedsApproval(&m) }) {
		text += ", about " + ShortDuration(left.Round(time.Second)) + " left"
	}

	if c.view.run.State == pipeline.RunCancelling {
		text += ", cancelling"
	}

	return text
}

// paint colours a line of progress.
func (c *Console) paint(m mood, s string) string {
	code := map[mood]string{good: "32", bad: "31", odd: "33"}[m]
	if !c.colorErr || code == "" {
		return s
	}

	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (c *Console) dim(s string) string {
	if !c.colorErr {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

// moduleColor picks one of six colours by the module's name, the same in every
// run.
func moduleColor(module string) string {
	h := fnv.New32a()
	h.Write([]byte(module))
	return fmt.Sprintf("\x1b[%dm", 31+h.Sum32()%6)
}

// text prints a line of output, with or without its end, and nothing before it.
func (c *Console) text(line []byte) {
	c.line = c.appendText(c.line[:0], trimEnd(line))
	c.out.Write(append(c.line, '\n'))
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}
