package terminal

import (
	"strings"
	"unicode"

	"github.com/pipelined/pipelined/pipeline/safetext"
)

// OneLine gives a message as a single line without control characters and
// those that change the order of text: parts of it may come from elsewhere.
func OneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}

	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}

		if unicode.IsControl(r) || safetext.Reorders(r) {
			return -1
		}

		return r
	}, strings.Join(lines, "; "))
}
