// Package safetext makes text that came from elsewhere, such as the output of a module,
// fit for a terminal, a list or a message. Its functions are pure.
package safetext

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Append appends a line of a module's output to dst as it may go to a
// terminal: colours (SGR sequences) stay where color is set, and everything
// else that steers a terminal is left out: cursor movement, titles, the
// clipboard (OSC 52), links (OSC 8), C1 controls, bare control characters, characters that change the
// order of text. Tabs stay. Of text that a carriage return would overwrite the last version stays.
func Append(dst, line []byte, color bool) []byte {
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}

	for len(line) > 0 {
		// The common case: a stretch of plain text.
		n := 0
		for n < len(line) && (line[n] >= 0x20 && line[n] < 0x7f || line[n] == '\t') {
			n++
		}

		dst, line = append(dst, line[:n]...), line[n:]
		if len(line) == 0 {
			break
		}

		switch c := line[0]; {
		case c == 0x1b:
			n, colour := escapeLength(line)
			if colour && color {
				dst = append(dst, line[:n]...)
			}

			line = line[n:]
		case c < 0x20 || c == 0x7f:
			line = line[1:]
		default:
			r, n := utf8.DecodeRune(line)
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, "\uFFFD"...)
			case r >= 0x80 && r < 0xa0: // C1: the 8-bit forms of ESC sequences
			case Reorders(r):
			default:
				dst = append(dst, line[:n]...)
			}

			line = line[n:]
		}
	}

	return dst
}

// Reorders reports the characters that make text look as if it were in another
// order: embeddings, overrides and isolates of the bidirectional algorithm.
func Reorders(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// escapeLength measures the escape sequence at the beginning of b and reports
// whether it is an SGR sequence, which only changes how text looks.
func escapeLength(b []byte) (n int, sgr bool) {
	if len(b) < 2 {
		return len(b), false
	}

	switch b[1] {
	case '[': // CSI: parameters 0x30-0x3f, intermediates 0x20-0x2f, a final byte
		plain := true
		for i := 2; i < len(b); i++ {
			switch c := b[i]; {
			case c >= 0x30 && c <= 0x3f:
				plain = plain && (c >= '0' && c <= '9' || c == ';' || c == ':')
			case c >= 0x20 && c <= 0x2f:
				plain = false
			case c >= 0x40 && c <= 0x7e:
				return i + 1, plain && c == 'm'
			default:
				return i, false
			}
		}

		return len(b), false
	case ']', 'P', 'X', '^', '_': // OSC, DCS, SOS, PM, APC: up to BEL or ST
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1, false
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2, false
			}
		}
		return len(b), false
	}

	// ESC, intermediates, one final byte.
	i := 1
	for i < len(b) && b[i] >= 0x20 && b[i] <= 0x2f {
		i++
	}

	return min(i+1, len(b)), false
}

// Clean gives text that came from elsewhere without anything that steers a
// terminal or breaks a line.
func Clean(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			s = string(Append(nil, []byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(s)), false))
			break
		}
	}
	return s
}

// tailBytes is how much of the end of an output is read for its last lines.
const tailBytes = 16 << 10

// LastLines reads the last lines of an output of size bytes, at most n of max bytes
// each, as Append makes them. Of an output with very long lines there may be fewer.
func LastLines(r io.ReaderAt, size int64, n, max int) ([]string, error) {
	tail := make([]byte, min(size, tailBytes))
	if got, err := r.ReadAt(tail, size-int64(len(tail))); got < len(tail) {
		return nil, fmt.Errorf("read output: %w", err)
	}
	cut := size > int64(len(tail))
	if tail = bytes.TrimRight(tail, "\r\n\t "); len(tail) == 0 {
		return nil, nil
	}

	parts := bytes.Split(tail, []byte("\n"))
	if cut && len(parts) > 1 {
		parts = parts[1:] // begins within a line
	}
	if len(parts) > n {
		parts = parts[len(parts)-n:]
	}
	lines := make([]string, len(parts))
	for i, part := range parts {
		lines[i] = shortened(string(Append(nil, part, false)), max)
	}
	return lines, nil
}

// shortened cuts a line to n bytes, or a few less, and marks that it did.
func shortened(line string, n int) string {
	if len(line) <= n {
		return line
	}
	for n > 0 && !utf8.RuneStart(line[n]) {
		n--
	}
	return line[:n] + "…"
}
