package terminal

import (
	"fmt"
	"hash/fnv"

	"github.com/pipelined/pipelined/pipeline/safetext"
)

// outputWriter writes lines of modules' output as "module | text". One goroutine uses
// it.
type outputWriter struct {
	// write takes text for stdout, whole lines but for those that stay open.
	write func(text []byte)
	// safe strips what steers a terminal from output; color allows colours; whole ends
	// every line at once, since something stands below it.
	safe, color, whole bool
	// raw prints output without the names of modules.
	raw bool

	// open is the module of the line that has no end yet; "" for none.
	open     string
	line     []byte // reused for each line
	prefixes map[string]string
}

// part writes a line, or a piece of one. A piece stays open for the next one of its
// line.
func (w *outputWriter) part(p part) {
	w.line = w.line[:0]
	if w.open != p.module {
		w.end()
		if !p.begins && len(p.text) == 0 {
			return // the end of a line that something else has ended
		}
		w.line = append(w.line, w.prefix(p.module)...)
	}

	w.line = w.appendText(w.line, p.text)
	w.open = p.module
	if p.ends || w.whole {
		w.line, w.open = append(w.line, '\n'), ""
	}
	w.write(w.line)
}

// end ends a line that is open, so that another one can begin. It reports whether
// there was one.
func (w *outputWriter) end() bool {
	if w.open == "" {
		return false
	}
	w.write([]byte("\n"))
	w.open = ""
	return true
}

// text writes a line without a name before it.
func (w *outputWriter) text(line []byte) {
	w.line = w.appendText(w.line[:0], trimEnd(line))
	w.write(append(w.line, '\n'))
}

// prefix is what stands before each line of a module's output.
func (w *outputWriter) prefix(module string) string {
	if w.raw {
		return ""
	}

	prefix, ok := w.prefixes[module]
	if !ok {
		prefix = Clean(module) + " | "
		if w.color {
			prefix = moduleColor(module) + Clean(module) + " |\x1b[0m "
		}

		w.prefixes[module] = prefix
	}
	return prefix
}

// appendText appends a line of output as the destination may have it.
func (w *outputWriter) appendText(dst, line []byte) []byte {
	if !w.safe {
		return append(dst, line...)
	}

	dst = safetext.Append(dst, line, w.color)
	if w.color && hasColor(line) {
		dst = append(dst, "\x1b[0m"...)
	}

	return dst
}

// moduleColor picks one of six colours by the module's name, the same in every
// run.
func moduleColor(module string) string {
	h := fnv.New32a()
	h.Write([]byte(module))
	return fmt.Sprintf("\x1b[%dm", 31+h.Sum32()%6)
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}
