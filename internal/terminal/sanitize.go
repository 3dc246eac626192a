package terminal

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// appendSafe appends a line of a module's output to dst as it may go to a
// terminal: colours (SGR sequences) stay where color is set, and everything
// else that steers a terminal is left out: cursor movement, titles, the
// clipboard (OSC 52), links (OSC 8), C1 controls, bare control characters, characters that change the
// order of text. Tabs stay. Of text that a carriage return would overwrite the last version stays.
func appendSafe(dst, line []byte, color bool) []byte {
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
			case reorders(r):
			default:
				dst = append(dst, line[:n]...)
			}

			line = line[n:]
		}
	}

	return dst
}

// reorders reports the characters that make text look as if it were in another
// order: embeddings, overrides and isolates of the bidirectional algorithm.
func reorders(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

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

// hasColor reports whether a line that went to a terminal may have left a
// colour set.
func hasColor(line []byte) bool { return bytes.IndexByte(line, 0x1b) >= 0 }

// Clean gives text that came from elsewhere without anything that steers a
// terminal or breaks a line.
func Clean(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			s = string(appendSafe(nil, []byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(s)), false))
			break
		}
	}
	return s
}

// Flat is Clean for a row or a cell: without tabs, whose width depends on where they stand, and
// without spaces at its ends.
func Flat(s string) string { return strings.TrimSpace(strings.ReplaceAll(Clean(s), "\t", " ")) }
