package main

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxLiveModules is how many running modules the live display lists.
const maxLiveModules = 12

// console shows a followed run: output lines on stdout as "module | text", and
// progress on stderr, live on a terminal and as plain lines elsewhere. One
// goroutine uses it: calls come in batches, and flush ends a batch.
type console struct {
	out, err *stream
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
	drawn    int
	dirty    bool
	line     []byte
	prefixes map[string]string
}

// newConsole makes the display of a followed run.
func (p *program) newConsole() *console {
	c := &console{
		out: p.stdout, err: p.stderr, now: p.now, quiet: p.quiet,
		safe: p.stdout.terminal, colorOut: p.color(p.stdout), colorErr: p.color(p.stderr),
		view: newRunView(), prefixes: map[string]string{},
	}
	c.live = p.stderr.terminal && !p.quiet && !p.plain()
	return c
}

// plain reports that no cursor tricks are wanted.
func (p *program) plain() bool {
	return p.noColor || p.getenv("NO_COLOR") != "" || p.getenv("TERM") == "dumb"
}

// color reports whether a stream may be coloured.
func (p *program) color(s *stream) bool { return s.terminal && !p.plain() }

// update takes in what the cluster says of the run.
func (c *console) update(r wire.Run) {
	changes := c.view.apply(r)
	c.dirty = true
	if c.quiet {
		return
	}
	for _, ch := range changes {
		if c.live && ch.start {
			continue
		}
		c.erase()
		fmt.Fprintf(c.err, "%s: %s\n", clean(ch.module), c.paint(ch.mood, clean(ch.text)))
	}
}

// note prints a line of progress.
func (c *console) note(format string, args ...any) {
	if c.quiet {
		return
	}
	c.say(format, args...)
}

// failures tells, whatever is quiet, which modules failed and how the run ended.
func (c *console) failures(r *wire.Run) {
	for i := range r.Modules {
		if m := &r.Modules[i]; m.State == pipeline.ModuleFailed {
			text, _ := finalText(m)
			c.say("%s: %s", m.Name, text)
		}
	}
	c.say("%s", summary(&r.RunSummary, countModules(r.Modules)))
}

// say prints a line on stderr, -quiet or not.
func (c *console) say(format string, args ...any) {
	c.erase()
	fmt.Fprintf(c.err, "%s\n", clean(fmt.Sprintf(format, args...)))
}

// output prints a line of a module's output.
func (c *console) output(module string, line []byte) {
	c.erase()
	prefix, ok := c.prefixes[module]
	if !ok {
		prefix = clean(module) + " | "
		if c.colorOut {
			prefix = moduleColor(module) + clean(module) + " |\x1b[0m "
		}
		c.prefixes[module] = prefix
	}
	c.line = append(c.line[:0], prefix...)
	c.line = c.appendText(c.line, line)
	c.out.Write(append(c.line, '\n'))
}

// appendText appends a line of output as the destination may have it.
func (c *console) appendText(dst, line []byte) []byte {
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
func (c *console) flush() {
	c.out.Flush()
	if c.live && (c.drawn == 0 || c.dirty) {
		c.draw()
	}
	c.dirty = false
	c.err.Flush()
}

// tick redraws what changes with the time.
func (c *console) tick() {
	if c.live {
		c.dirty = true
		c.flush()
	}
}

// close takes the live block away.
func (c *console) close() {
	c.erase()
	c.live = false
	c.out.Flush()
	c.err.Flush()
}

// erase removes the live block, so that lines can be printed in its place.
// What is written to stdout afterwards must come after it on the terminal.
func (c *console) erase() {
	if c.drawn == 0 {
		return
	}
	fmt.Fprintf(c.err, "\r\x1b[%dA\x1b[J", c.drawn)
	c.drawn = 0
	c.err.Flush()
}

// typed takes note of the end of a line that was typed below the live block.
func (c *console) typed() {
	if c.drawn > 0 {
		c.drawn++
	}
	c.dirty = true
}

// draw prints the live block anew.
func (c *console) draw() {
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
func (c *console) block() []string {
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
		if a := lastAttempt(m); a != nil {
			if a.StartedAt != nil {
				elapsed = shortDuration(now.Sub(*a.StartedAt))
			}
			where = a.Worker + attemptNote(m, len(m.Attempts)-1)
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %6s  %s", widest, clean(m.Name), elapsed, clean(where)))
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
func (c *console) footer(now time.Time) string {
	n := c.view.counts()
	text := fmt.Sprintf("%d/%d done", n.done(), max(n.total(), c.view.run.ModuleCount))
	for _, part := range []struct {
		n    int
		what string
	}{{n.failed, "failed"}, {n.running, "running"}, {n.waiting, "waiting"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if !c.view.run.SubmittedAt.IsZero() {
		text += ", " + shortDuration(now.Sub(c.view.run.SubmittedAt))
	}
	if left, ok := estimate(c.view.modules, now); ok && !c.view.run.State.Final() && !slices.ContainsFunc(c.view.modules, func(m wire.Module) bool { return asks(&m) }) {
		text += ", about " + shortDuration(left.Round(time.Second)) + " left"
	}
	if c.view.run.State == pipeline.RunCancelling {
		text += ", cancelling"
	}
	return text
}

// paint colours a line of progress.
func (c *console) paint(m mood, s string) string {
	code := map[mood]string{good: "32", bad: "31", odd: "33"}[m]
	if !c.colorErr || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (c *console) dim(s string) string {
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

// clean gives text that came from elsewhere without anything that steers a
// terminal or breaks a line.
func clean(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			s = string(appendSafe(nil, []byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(s)), false))
			break
		}
	}
	return s
}

// cutLine cuts a line to a number of characters.
func cutLine(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
