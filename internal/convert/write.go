package convert

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/pipeline/language"
)

// body collects the lines of a block. The caller of Convert formats them.
type body struct {
	lines []string
	set   map[string]bool // attributes
}

func (b *body) line(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

// attr sets an attribute to an expression of the language. "" sets nothing, and neither
// does a second value: a file may say the same in two ways.
func (b *body) attr(name, expr string) {
	if expr == "" || b.set[name] {
		return
	}
	if b.set == nil {
		b.set = map[string]bool{}
	}
	b.set[name] = true
	b.line("%s = %s", name, expr)
}

// block adds a block, if it has lines.
func (b *body) block(head string, inner *body) {
	if len(inner.lines) == 0 {
		return
	}
	b.gap()
	b.line("%s {", head)
	b.lines = append(b.lines, inner.lines...)
	b.line("}")
}

// gap adds an empty line, but for the first of a block and after another one.
func (b *body) gap() {
	if n := len(b.lines); n > 0 && b.lines[n-1] != "" {
		b.lines = append(b.lines, "")
	}
}

// comment adds a text as comments.
func (b *body) comment(text string) {
	for line := range strings.Lines(text) {
		b.lines = append(b.lines, strings.TrimRight("# "+oneLine(line), " "))
	}
}

// oneLine makes a text that cannot leave its line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.TrimSpace(text))
}

// marks writes notes as comments.
func (b *body) marks(notes []Note) {
	for _, n := range notes {
		b.comment(fmt.Sprintf("not converted (line %d): %s: %s", n.Line, n.What, n.Why))
	}
}

// String is the text of the block's content.
func (b *body) String() string { return strings.Join(b.lines, "\n") }

// templated escapes a text for the inside of a template.
var templated = strings.NewReplacer("${", "$${", "%{", "%%{")

// quote writes a text as a literal of the language.
func quote(text string) string { return language.Literal(text) }

// quoted is the inside of a literal.
func quoted(text string) string {
	text = language.Literal(text)
	return text[1 : len(text)-1]
}

// numeral is what the language takes as a number.
var numeral = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// list writes expressions as a list; "" if there are none.
func list(exprs []string) string {
	if len(exprs) == 0 {
		return ""
	}
	return "[" + strings.Join(exprs, ", ") + "]"
}

// quoteAll writes texts as literals.
func quoteAll(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = quote(t)
	}
	return out
}

// pair is an attribute of an object.
type pair struct{ name, expr string }

// object writes an object, each attribute on a line of its own if there are several; ""
// if there are none.
func object(pairs []pair) string {
	if len(pairs) == 0 {
		return ""
	}
	texts := make([]string, len(pairs))
	for i, p := range pairs {
		name := p.name
		if !identifier(name) {
			name = quote(name)
		}
		texts[i] = name + " = " + p.expr
	}
	if len(texts) == 1 {
		return "{ " + texts[0] + " }"
	}
	return "{\n" + strings.Join(texts, "\n") + "\n}"
}

// identifier reports whether a text can be the name of an attribute.
func identifier(text string) bool {
	for i, r := range text {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return text != "" && !slices.Contains([]string{"for", "if", "null", "true", "false"}, text)
}

// heredoc writes a script, whose texts are already parts of a template, as text of
// several lines, for an attribute that has depth blocks around it.
func heredoc(script string, depth int) string {
	end := "SH"
	for slices.Contains(strings.Fields(script), end) {
		end += "_"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<<-%s\n", end)
	for line := range strings.Lines(strings.TrimRight(script, "\n") + "\n") {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			b.WriteString(strings.Repeat("  ", depth+1) + line)
		}
		b.WriteByte('\n')
	}
	return b.String() + strings.Repeat("  ", depth) + end
}

// minutes writes a duration.
func minutes(n float64) string {
	if n >= 60 && math.Mod(n, 60) == 0 {
		return quote(strconv.FormatFloat(n/60, 'f', -1, 64) + "h")
	}
	return quote(strconv.FormatFloat(n, 'f', -1, 64) + "m")
}

// shellWord quotes a text for a shell.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:=@%+-,", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
