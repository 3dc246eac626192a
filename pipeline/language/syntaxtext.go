package language

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// syntaxMistake is a syntax error of HCL's parser, with the source around it.
type syntaxMistake struct {
	src *source
	at  hcl.Range
	// begin is where what is wrong begins, such as a list without its end.
	begin hcl.Pos
	// word is what stands there, "" at the end of a line; before and after are the rest
	// of its line.
	word, before, after string
	// template is the ${…} or %{…} around it, if there is one.
	template *hcl.Range
}

// What HCL says of a block without its end, and of what is neither an attribute nor a
// block.
const (
	hclUnclosedBlock = "Unclosed configuration block"
	hclMisplaced     = "Argument or block definition required"
)

// syntaxTexts says in words of the language what HCL's parser found, by HCL's summary:
// what is wrong, and what to write.
var syntaxTexts = map[string]func(m *syntaxMistake) (summary, detail string){
	hclMisplaced:                                      misplaced,
	"Argument definition required":                    blockInOneLine,
	"Invalid single-argument block definition":        attributesInOneLine,
	"Missing newline after argument":                  behindValue,
	"Unexpected comma after argument":                 commaBehindValue,
	"Missing newline after block definition":          behindBlock,
	hclUnclosedBlock:                                  unclosedBlock,
	"Attribute redefined":                             secondAttribute,
	"Invalid block definition":                        blockHeader,
	"Invalid argument name":                           quotedName,
	"Invalid multi-line string":                       unclosedText,
	"Unterminated string literal":                     unclosedText,
	"Unterminated template string":                    unclosedLines,
	"Invalid string literal":                          templateInLabel,
	"Invalid character":                               strangeCharacter,
	"Unsupported operator":                            strangeOperator,
	"Invalid escape sequence":                         strangeEscape,
	"Missing item separator":                          inList,
	"Unterminated tuple constructor expression":       inList,
	"Missing attribute separator":                     inObject,
	"Missing attribute value":                         nameInObject,
	"Missing key/value separator":                     nameInObject,
	"Unterminated object constructor expression":      unclosedObject,
	"Missing argument separator":                      inCall,
	"Unterminated function call":                      inCall,
	"Missing closing parenthesis":                     inCall,
	"Unbalanced parentheses":                          unclosedParenthesis,
	"Invalid expression":                              noValue,
	"Missing expression":                              noValue,
	"Missing false expression in conditional":         halfCondition,
	"Invalid 'for' expression":                        halfFor,
	"Invalid attribute name":                          behindDot,
	"Unclosed template interpolation sequence":        unclosedTemplate,
	"Extra characters after interpolation expression": inTemplate,
	"Unexpected end of template":                      unclosedDirective,
	"Unexpected endif directive":                      strayDirective,
	"Unexpected endfor directive":                     strayDirective,
	"Unexpected else directive":                       strayDirective,
	"Invalid template control keyword":                strangeDirective,
}

// syntax gives the range and the texts of a syntax error. Those for which the language
// has no words keep HCL's.
func (r *report) syntax(d *hcl.Diagnostic, template *hcl.Range) (at hcl.Range, summary, detail string) {
	if template != nil && bytes.HasPrefix(r.src.text[template.Start.Byte:], []byte("${{")) {
		at = hcl.Range{Start: template.Start, End: hcl.Pos{Byte: template.Start.Byte + len("${{")}}
		return at, "${{ … }} is an expression of GitHub Actions", "write ${…}, such as ${var.NAME}, ${matrix.AXIS} or ${git.sha}"
	}
	say := syntaxTexts[d.Summary]
	if say == nil || d.Subject == nil {
		if d.Subject != nil {
			at = *d.Subject
		}
		detail = d.Detail
		if template != nil {
			detail = strings.TrimSpace(detail + "\n" + shellHint)
		}
		return at, lowerFirst(d.Summary), detail
	}

	m := &syntaxMistake{src: r.src, at: *d.Subject, begin: d.Subject.Start, template: template}
	if d.Context != nil {
		m.begin = d.Context.Start
	}
	line, _ := r.src.position(m.at.Start.Byte)
	whole, start := string(r.src.line(line)), m.at.Start.Byte-r.src.lines[line-1]
	m.before = whole[:min(start, len(whole))]
	m.word = whole[len(m.before):min(len(whole), max(start, start+m.at.End.Byte-m.at.Start.Byte))]
	m.after = whole[len(m.before)+len(m.word):]
	summary, detail = say(m)
	return m.at, summary, detail
}

const (
	noClosingQuote = "text without its closing quote"

	linesHint  = "lines of text begin with <<-SH, where the line ends, and end with SH alone on a line"
	valueHint  = `a value is a text in double quotes, a number, true, false, a list […], an object {…}, or a name such as var.NAME`
	itemHint   = `write NAME = VALUE, or a block NAME { … }`
	objectHint = `write { NAME = value, … }`
	joinHint   = `texts are joined in one: "${a}${b}"`
	multiHint  = "write each attribute and block on a line of its own: { ends the first line of the block, and } stands alone on its last"
)

var (
	wordPattern   = regexp.MustCompile(`^[\pL_][\pL\pN_-]*`)
	headerPattern = regexp.MustCompile(`^\s*([\pL_][\pL\pN_-]*)\s*=\s*(.*?)\s*$`)
	markerPattern = regexp.MustCompile(`^<<-?([\pL_][\pL\pN_-]*)`)
)

// next is what follows the word on its line, without space.
func (m *syntaxMistake) next() string { return strings.TrimSpace(m.after) }

// show is the word for a message.
func (m *syntaxMistake) show() string {
	if m.word == "" {
		return "end of the line"
	}
	return quote(m.word)
}

// opensAttribute reports whether NAME = stands at the word.
func (m *syntaxMistake) opensAttribute() bool {
	next := m.next()
	return wordPattern.MatchString(m.word) && strings.HasPrefix(next, "=") && !strings.HasPrefix(next, "==")
}

func misplaced(m *syntaxMistake) (string, string) {
	line := strings.TrimSpace(m.before + m.word + m.after)
	for _, marker := range []string{"<<<<<<<", "=======", ">>>>>>>"} {
		if strings.HasPrefix(line, marker) {
			return "conflict marker of version control", "decide which lines stay, and delete the lines with <<<<<<<, ======= and >>>>>>>"
		}
	}

	if r, n := utf8.DecodeRuneInString(m.after); n > 1 && unicode.IsSpace(r) {
		return invisible(r)
	}
	switch next := m.next(); {
	case m.word == "}":
		return "} without a {", "remove it, or one of those above"
	case m.word == "{":
		return "{ without the name of a block", "write the name in front of it, on the same line"
	case m.word == "-" && strings.HasPrefix(next, "-"):
		return `unexpected "--"`, "a comment begins with # or //"
	case m.word == "-" || m.word == "*":
		return fmt.Sprintf("unexpected %s", m.show()), "a list is written NAME = [ … ], blocks one below the other"
	case !wordPattern.MatchString(m.word):
		return fmt.Sprintf("unexpected %s", m.show()), itemHint
	case strings.HasPrefix(next, "'"):
		return "single quotes", `names and texts stand in double quotes: "…"`
	case strings.HasPrefix(next, "("):
		return fmt.Sprintf("%s with a parenthesis", m.word), fmt.Sprintf(`write %s "NAME" { … } for a block, %[1]s = VALUE for an attribute`, m.word)
	case strings.HasPrefix(next, "."):
		attribute := wordPattern.FindString(next[1:])
		return fmt.Sprintf("dot in the name %s%s", m.word, "."+attribute), fmt.Sprintf("an attribute of a block stands inside it: %s { %s = … }", m.word, attribute)
	case strings.HasPrefix(next, ":"):
		return fmt.Sprintf(`":" behind %s`, m.word), m.assignment(next[1:])
	case next == "" || next == "}":
		return fmt.Sprintf("%s without a value", m.word), fmt.Sprintf("write %s = VALUE, or %[1]s { … } for a block", m.word)
	default:
		return fmt.Sprintf("%s without =", m.word), m.assignment(strings.TrimLeft(next, "="))
	}
}

// assignment is how the value behind the word is written.
func (m *syntaxMistake) assignment(value string) string {
	if value = strings.TrimSpace(value); value == "" || len(value) > 60 {
		value = "VALUE"
	} else if !isExpression(value) && !strings.ContainsAny(value, "\"'[{(") {
		value = `"` + value + `"` // a text as in YAML
	}
	return fmt.Sprintf("write %s = %s", m.word, value)
}

// isExpression reports whether a text may be a value as it is: true, 5, var.NAME.
func isExpression(text string) bool {
	expr, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if t, ok := expr.(*hclsyntax.ScopeTraversalExpr); ok {
		return slices.Contains(rootNames, t.Traversal.RootName())
	}
	return !diags.HasErrors()
}

func blockInOneLine(m *syntaxMistake) (string, string) {
	return fmt.Sprintf("block %s inside a block on one line", wordPattern.FindString(m.word)), multiHint
}

func attributesInOneLine(m *syntaxMistake) (string, string) {
	if m.word == "" {
		return "block that begins with an attribute on its first line", multiHint
	}
	return "more than one attribute in a block on one line", multiHint
}

func behindValue(m *syntaxMistake) (string, string) {
	words := strings.Fields(m.before)
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	switch {
	case m.word == "{":
		if h := headerPattern.FindStringSubmatch(m.before); h != nil {
			return "= in front of a block", fmt.Sprintf("write %s %s { … }", h[1], h[2])
		}
	case m.word == "and" || m.word == "or":
		return fmt.Sprintf("unexpected %s", m.show()), "write && for and, || for or"
	case last == "not":
		return `unexpected "not"`, "write ! for not, as in !var.NAME"
	case m.opensAttribute():
		return "two attributes on one line", "write each on a line of its own"
	case strings.HasPrefix(m.word, `"`) && wordPattern.MatchString(last):
		return fmt.Sprintf("unexpected text behind %s", last), "a function takes its arguments in parentheses: NAME(VALUE)"
	case m.word == "}":
		return "} on the line of an attribute", "write } on a line of its own"
	}
	return fmt.Sprintf("unexpected %s behind a value", m.show()), "an attribute ends with its line"
}

func commaBehindValue(*syntaxMistake) (string, string) {
	return "comma behind an attribute", "leave it out: each attribute stands on a line of its own"
}

func behindBlock(m *syntaxMistake) (string, string) {
	if m.word == "}" {
		return "} behind the end of a block", "write it on a line of its own"
	}
	return fmt.Sprintf("unexpected %s behind the end of a block", m.show()), "a block ends with its line: write what follows on the next one"
}

// unclosedBlock shows the block that is likely the one, by what stands further left.
func unclosedBlock(m *syntaxMistake) (string, string) {
	detail := "write } at its end"
	if open, closed := m.src.slantedBlock(); closed > 0 && open.Start.Byte >= m.at.Start.Byte {
		m.at = open
		detail += fmt.Sprintf(": the } in line %d stands further left and closes what is around it", closed)
	}
	return "{ without its }", detail
}

// slantedBlock finds the first { that is closed by a } further left than its line: the }
// of one inside it is likely missing. It gives the line of the } too, 0 for none.
func (s *source) slantedBlock() (open hcl.Range, closed int) {
	tokens, _ := hclsyntax.LexConfig(s.text, s.name, hcl.InitialPos)
	indent := func(line int) int {
		text := string(s.line(line))
		return len(text) - len(strings.TrimLeft(text, " \t"))
	}
	var stack []hcl.Range
	for i := range tokens {
		line := tokens[i].Range.Start.Line
		switch tokens[i].Type {
		case hclsyntax.TokenOBrace:
			stack = append(stack, tokens[i].Range)
		case hclsyntax.TokenCBrace:
			if len(stack) == 0 {
				return hcl.Range{}, 0
			}
			from := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if strings.HasPrefix(strings.TrimSpace(string(s.line(line))), "}") && indent(line) < indent(from.Start.Line) {
				return from, line
			}
		}
	}
	return hcl.Range{}, 0
}

// secondAttribute names the first one, if it is found in the same column above.
func secondAttribute(m *syntaxMistake) (string, string) {
	detail := "keep one of them"
	line, _ := m.src.position(m.at.Start.Byte)
	for n := line - 1; n > 0; n-- {
		if rest, ok := strings.CutPrefix(string(m.src.line(n)), m.before+m.word); ok && strings.HasPrefix(strings.TrimSpace(rest), "=") {
			detail = fmt.Sprintf("the first is at %s:%d; keep one of them", m.src.name, n)
			break
		}
	}
	return fmt.Sprintf("second attribute %q", m.word), detail
}

func blockHeader(m *syntaxMistake) (string, string) {
	header := strings.TrimSpace(m.before)
	name := wordPattern.FindString(header)
	switch {
	case blockTexts[name] == "" && name != hookBlock && m.word != "=":
		return fmt.Sprintf("%s is neither a block nor an attribute", quote(name)), itemHint
	case m.word == "":
		return "block without {", fmt.Sprintf("write { on the same line: %.80s {", header)
	case m.word == "=":
		return "= in front of a block", fmt.Sprintf("write %.80s { … }", header)
	case strings.HasPrefix(m.word, "'"):
		return "single quotes", `names and texts stand in double quotes: "…"`
	}
	return fmt.Sprintf("unexpected %s in front of a block", m.show()), fmt.Sprintf(`write %s "NAME" { … } for a block, %[1]s = VALUE for an attribute`, name)
}

func quotedName(m *syntaxMistake) (string, string) {
	name, _, _ := strings.Cut(m.after, `"`)
	return "name of an attribute in quotes", fmt.Sprintf("write %.80s = VALUE", name)
}
