package terminal

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// style is how a piece of a row looks where colours are allowed.
type style int

const (
	plainStyle style = iota
	dimStyle
	boldStyle
	goodStyle
	badStyle
	oddStyle
	cachedStyle
	runningStyle
	commandStyle
)

// codes are the SGR parameters of styles.
var codes = [...]string{dimStyle: "2", boldStyle: "1", goodStyle: "32", badStyle: "31", oddStyle: "33", cachedStyle: "35", runningStyle: "94", commandStyle: "36"}

// span is a piece of a row. Its text is clean.
type span struct {
	text  string
	style style
}

// row is a line for a person, whose width is known before it is coloured.
type row []span

// add appends a piece.
func (r row) add(s style, text string) row {
	if text == "" {
		return r
	}
	return append(r, span{text, s})
}

// pad appends spaces up to a column; at least one if the row is beyond it.
func (r row) pad(column int) row {
	return r.add(plainStyle, strings.Repeat(" ", max(column-r.width(), 1)))
}

func (r row) width() int {
	n := 0
	for _, s := range r {
		n += displaywidth.String(s.text)
	}
	return n
}

// cut gives what fits into a number of columns.
func (r row) cut(columns int) row {
	for i, s := range r {
		if n := displaywidth.String(s.text); n > columns {
			return append(r[:i:i], span{cutText(s.text, columns), s.style})
		} else {
			columns -= n
		}
	}
	return r
}

// render gives the text, without spaces at the end.
func (r row) render(color bool) string {
	var b strings.Builder
	for i, s := range r {
		text := s.text
		if i == len(r)-1 {
			text = strings.TrimRight(text, " ")
		}
		if color && s.style != plainStyle && text != "" {
			text = "\x1b[" + codes[s.style] + "m" + text + "\x1b[0m"
		}
		b.WriteString(text)
	}
	return b.String()
}

// cutText cuts text to a number of columns. A character that would reach beyond them
// is left out whole.
func cutText(s string, columns int) string {
	return displaywidth.TruncateString(s, columns, "")
}
