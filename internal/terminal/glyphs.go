package terminal

import (
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// glyphs are the marks of states. Each state has its own shape, since colours are not
// seen by every reader.
type glyphs struct {
	good, bad, cached, running, waiting, warning, again, skipped, approval string
	bar, rule, more                                                        string
}

var (
	unicodeGlyphs = glyphs{good: "✓", bad: "✗", cached: "⚡", running: "●", waiting: "○", warning: "▲", again: "↻", skipped: "⊖", approval: "◇",
		bar: "■", rule: "─", more: "…"}
	asciiGlyphs = glyphs{good: "+", bad: "x", cached: "=", running: "*", waiting: ".", warning: "!", again: "~", skipped: "-", approval: "?",
		bar: "#", rule: "-", more: "..."}
)

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

// of gives the mark of a state and how it looks.
func (g *glyphs) of(s pipeline.ModuleState) (string, style) {
	switch s {
	case pipeline.ModuleSucceeded:
		return g.good, goodStyle
	case pipeline.ModuleCached:
		return g.cached, cachedStyle
	case pipeline.ModuleFailed:
		return g.bad, badStyle
	case pipeline.ModuleRunning:
		return g.running, runningStyle
	case pipeline.ModuleSkipped, pipeline.ModuleCancelled:
		return g.skipped, dimStyle
	}
	return g.waiting, dimStyle
}
