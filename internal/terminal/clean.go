package terminal

import (
	"bytes"
	"strings"

	"github.com/pipelined/pipelined/pipeline/safetext"
)

// hasColor reports whether a line that went to a terminal may have left a
// colour set.
func hasColor(line []byte) bool { return bytes.IndexByte(line, 0x1b) >= 0 }

// Clean gives text that came from elsewhere without anything that steers a
// terminal or breaks a line.
func Clean(s string) string { return safetext.Clean(s) }

// Flat is Clean for a row or a cell: without tabs, whose width depends on where they stand, and
// without spaces at its ends.
func Flat(s string) string { return strings.TrimSpace(strings.ReplaceAll(Clean(s), "\t", " ")) }
