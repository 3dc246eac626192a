package recording

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// cell is one character of a screen with the codes of its style, such as "1;32".
type cell struct {
	r     rune
	style string
}

// screen is a terminal as far as the live display needs one: it prints, moves up, erases
// and colours. What scrolls out at the top is dropped.
type screen struct {
	columns, rows int
	lines         [][]cell
	row, column   int
	style         string
	// rest is the beginning of a sequence, or of a character, whose end has not come.
	rest string
}

func newScreen(columns, rows int) *screen {
	return &screen{columns: columns, rows: rows, lines: [][]cell{nil}}
}

var sequence = regexp.MustCompile(`^\x1b\[([?]?[0-9;]*)([A-Za-z])`)

// maxSequence is more than the longest sequence has.
const maxSequence = 32

// Write prints text.
func (s *screen) Write(b []byte) (int, error) {
	text := s.rest + string(b)
	s.rest = ""
	for text != "" {
		if text[0] == '\x1b' {
			m := sequence.FindStringSubmatch(text)
			if m == nil && len(text) < maxSequence {
				s.rest = text
				break
			}
			if m == nil {
				text = text[1:]
				continue
			}
			s.control(m[1], m[2])
			text = text[len(m[0]):]
			continue
		}
		if !utf8.FullRuneInString(text) {
			s.rest = text
			break
		}
		r, n := utf8.DecodeRuneInString(text)
		s.print(r)
		text = text[n:]
	}
	return len(b), nil
}

// control obeys a sequence; one that is not known changes nothing.
func (s *screen) control(parameters, command string) {
	n, _ := strconv.Atoi(parameters) // 0 if there is none
	switch command {
	case "m":
		s.style = parameters
		if parameters == "0" {
			s.style = ""
		}
	case "A":
		s.row = max(0, s.row-max(1, n))
	case "K":
		if line := s.lines[s.row]; s.column < len(line) {
			s.lines[s.row] = line[:s.column]
		}
	case "J":
		s.control("", "K")
		s.lines = s.lines[:s.row+1]
	}
}

// print puts a character where the cursor is.
func (s *screen) print(r rune) {
	switch r {
	case '\r':
		s.column = 0
		return
	case '\n':
		s.down()
		return
	}
	if r < ' ' {
		return
	}
	if s.column == s.columns {
		s.down()
		s.column = 0
	}
	line := s.lines[s.row]
	for len(line) <= s.column {
		line = append(line, cell{r: ' '})
	}
	line[s.column] = cell{r, s.style}
	s.lines[s.row] = line
	s.column++
}

// down moves to the next line, and scrolls at the bottom.
func (s *screen) down() {
	s.row++
	if s.row == len(s.lines) {
		s.lines = append(s.lines, nil)
	}
	if s.row == s.rows {
		s.lines = s.lines[1:]
		s.row--
	}
}

// copyLines gives the lines as they are now.
func (s *screen) copyLines() [][]cell {
	out := make([][]cell, len(s.lines))
	for i, line := range s.lines {
		out[i] = append([]cell(nil), line...)
	}
	return out
}

// text is what the screen shows, without styles.
func (s *screen) text() string {
	var b strings.Builder
	for _, line := range s.lines {
		for _, c := range line {
			b.WriteRune(c.r)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
