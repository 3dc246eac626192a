package terminal

import (
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Marks are the shapes of states. Each state has its own, since colours are not seen by
// every reader.
type Marks struct {
	Good, Bad, Cached, Running, Waiting, Warning, Again, Skipped, Approval string
	// cell and free are the parts of a bar, and rule of a line across.
	cell, free, rule string
}

var (
	unicodeMarks = Marks{Good: "✓", Bad: "✗", Cached: "⚡", Running: "●", Waiting: "○", Warning: "▲", Again: "↻", Skipped: "⊖", Approval: "◇",
		cell: "■", free: "□", rule: "─"}
	asciiMarks = Marks{Good: "+", Bad: "x", Cached: "=", Running: "*", Waiting: ".", Warning: "!", Again: "~", Skipped: "-", Approval: "?",
		cell: "#", free: ".", rule: "-"}
)

// MarksOf gives the marks of a terminal that shows Unicode, or ASCII alone.
func MarksOf(unicode bool) *Marks {
	if unicode {
		return &unicodeMarks
	}
	return &asciiMarks
}

// SpeaksUnicode reports whether the locale of an environment writes UTF-8: only then
// marks beyond ASCII are used.
func SpeaksUnicode(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// Of gives the mark of a module's state.
func (g *Marks) Of(s pipeline.ModuleState) string {
	mark, _ := g.of(s)
	return mark
}

// of gives the mark of a state and how it looks.
func (g *Marks) of(s pipeline.ModuleState) (string, style) {
	switch s {
	case pipeline.ModuleSucceeded:
		return g.Good, goodStyle
	case pipeline.ModuleCached:
		return g.Cached, cachedStyle
	case pipeline.ModuleFailed:
		return g.Bad, badStyle
	case pipeline.ModuleRunning:
		return g.Running, runningStyle
	case pipeline.ModuleSkipped, pipeline.ModuleCancelled:
		return g.Skipped, dimStyle
	}
	return g.Waiting, dimStyle
}
