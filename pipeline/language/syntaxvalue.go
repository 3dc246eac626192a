package language

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// Syntax errors in values: texts, lists, objects, expressions.

func unclosedText(*syntaxMistake) (string, string) {
	return noClosingQuote, `write " at its end, on the same line; ` + linesHint
}

// unclosedLines shows the beginning of the text instead of the end of the file.
func unclosedLines(m *syntaxMistake) (string, string) {
	marker := ""
	if i := bytes.LastIndex(m.src.text[:m.begin.Byte], []byte("<<")); i >= 0 {
		if found := markerPattern.FindSubmatch(m.src.text[i:]); found != nil {
			marker = string(found[1])
			m.at = hcl.Range{Start: hcl.Pos{Byte: i}, End: hcl.Pos{Byte: i + len(found[0])}}
		}
	}
	if marker == "" {
		return "text without its end", linesHint
	}
	line, _ := m.src.position(m.at.Start.Byte)
	detail := fmt.Sprintf("write %s alone on a line below it", marker)
	for n := line + 1; n <= len(m.src.lines); n++ {
		rest, ok := strings.CutPrefix(strings.TrimSpace(string(m.src.line(n))), marker)
		if r, _ := utf8.DecodeRuneInString(rest); ok && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' {
			detail = fmt.Sprintf("%s stands alone on its line: write %q of line %d on the next one", marker, strings.TrimSpace(rest), n)
			break
		}
	}
	return fmt.Sprintf("text <<%s without its end", marker), detail
}

func templateInLabel(m *syntaxMistake) (string, string) {
	if strings.HasPrefix(m.word, "$") || strings.HasPrefix(m.word, "%") {
		return "expression in the name of a block", "names are known before anything has a value: write the name itself"
	}
	return unclosedText(m)
}

func strangeCharacter(m *syntaxMistake) (string, string) {
	r, _ := utf8.DecodeRuneInString(m.word)
	switch {
	case r == '\'':
		return "single quotes", `texts stand in double quotes: "…"`
	case r == '`':
		return "backticks", `texts stand in double quotes: "…"; ` + linesHint
	case strings.ContainsRune("“”„‘’‚«»", r):
		return "typographic quotes", `texts stand in straight double quotes: "…"`
	case r == ';':
		return `unexpected ";"`, "attributes are separated by lines, elements of a list by commas; a comment begins with # or //"
	case r == '$':
		return "$ outside of a text", "names of expressions have no $, as in var.NAME; a script reads the variables of its environment as $NAME"
	case unicode.IsSpace(r), !unicode.IsPrint(r):
		return invisible(r)
	}
	return fmt.Sprintf("unexpected %s", m.show()), `texts stand in double quotes: "…"`
}

func invisible(r rune) (string, string) {
	return fmt.Sprintf("invisible character %U", r), "replace it by a space"
}

func strangeOperator(m *syntaxMistake) (string, string) {
	detail := "the operators are + - * / % && || ! == != < <= > >= and CONDITION ? VALUE : VALUE"
	switch m.word {
	case "&":
		detail = "write && for and"
	case "|":
		detail = "write || for or"
	}
	return fmt.Sprintf("there is no operator %s", m.show()), detail
}

func strangeEscape(m *syntaxMistake) (string, string) {
	if strings.HasPrefix(m.word, `\u`) || strings.HasPrefix(m.word, `\U`) {
		return fmt.Sprintf("incomplete %s in a text", m.word), `write \u and four hexadecimal digits, or \U and eight`
	}
	return fmt.Sprintf("unknown %s in a text", m.word),
		fmt.Sprintf(`write \%s for a backslash; in lines of text, <<-SH to SH, a backslash stands for itself`, m.word)
}

func inList(m *syntaxMistake) (string, string) {
	if m.word == "}" || m.word == "[" && m.at.Start == m.begin || m.opensAttribute() {
		return m.unclosed("list", "]")
	}
	return "missing comma in a list", `write a comma between the elements: ["a", "b"]`
}

// unclosed is the mistake of a list and the like without its end. It shows its beginning.
func (m *syntaxMistake) unclosed(what, end string) (string, string) {
	m.at = hcl.Range{Start: m.begin, End: hcl.Pos{Byte: m.begin.Byte + 1}}
	return fmt.Sprintf("%s without its %s", what, end), fmt.Sprintf("write %s at its end", end)
}

func inObject(m *syntaxMistake) (string, string) {
	if m.word == "]" || m.word == ")" {
		return m.unclosed("object", "}")
	}
	return "missing comma in an object", "write a comma between the attributes: { A = 1, B = 2 }"
}

func nameInObject(m *syntaxMistake) (string, string) {
	switch {
	case m.word == "=>":
		return `unexpected "=>" in an object`, objectHint
	case m.word == "}" || m.word == "" || m.word == ",":
		return "name without a value in an object", objectHint
	}
	return fmt.Sprintf("unexpected %s in an object", m.show()), objectHint + "; a name with other characters than letters, digits, _ and - stands in quotes"
}

func unclosedObject(m *syntaxMistake) (string, string) { return m.unclosed("object", "}") }

func inCall(m *syntaxMistake) (string, string) {
	switch {
	case m.word == "...":
		return "unexpected ... in the call of a function", "it stands behind the last argument: NAME(LIST...)"
	case slices.Contains([]string{"]", "}", ""}, m.word) || m.at.Start == m.begin || m.opensAttribute():
		return m.unclosed("call of a function", ")")
	}
	return "missing comma in the call of a function", "write a comma between the arguments: NAME(a, b)"
}

func unclosedParenthesis(m *syntaxMistake) (string, string) { return m.unclosed("parenthesis", ")") }

func noValue(m *syntaxMistake) (string, string) {
	before := strings.TrimSpace(m.before)
	switch {
	case m.template != nil:
		return inTemplate(m)
	case strings.HasPrefix(m.word+m.after, "<<"):
		return "incomplete beginning of lines of text", linesHint
	case m.word == "=" && strings.HasSuffix(before, "="):
		return "there is no operator ===", "write == to compare"
	case m.word == ">" && strings.HasSuffix(before, "<"):
		return "there is no operator <>", "write != for not equal"
	case m.word == "?":
		return "there is no operator ??", "write coalesce(a, b) for the first that is not null, try(a, b) for the first without an error"
	case m.word == "...":
		return "unexpected ...", "concat(a, b) joins lists, merge(a, b) objects"
	case slices.Contains([]string{"", "}", "]", ")", ","}, m.word):
		return "missing value", valueHint
	}
	return fmt.Sprintf("unexpected %s", m.show()), valueHint
}

func halfCondition(*syntaxMistake) (string, string) {
	return "condition without its second value", "write CONDITION ? VALUE : OTHER"
}

func halfFor(*syntaxMistake) (string, string) {
	return `incomplete "for"`, "write [for x in LIST : VALUE], or {for k, v in MAP : KEY => VALUE}"
}

func behindDot(m *syntaxMistake) (string, string) {
	if strings.HasPrefix(m.word, `"`) {
		return "text behind a dot", joinHint
	}
	return "no name behind the dot", `write the name of what is wanted, as in var.NAME; ["…"] takes a key that is no name`
}

func unclosedTemplate(*syntaxMistake) (string, string) {
	return "${ without its }", "write } behind the expression\n" + shellHint
}

func inTemplate(m *syntaxMistake) (string, string) {
	if m.template != nil && bytes.IndexByte(m.src.text[m.template.Start.Byte:m.at.Start.Byte], '\n') >= 0 {
		m.at = hcl.Range{Start: m.template.Start, End: hcl.Pos{Byte: m.template.Start.Byte + 2}}
		return "${ without its }", shellHint
	}
	return fmt.Sprintf("unexpected %s in ${…}", m.show()), shellHint
}

func strangeDirective(m *syntaxMistake) (string, string) {
	return fmt.Sprintf("there is no %%{%s}", m.word), "write %%{ for the characters %{"
}

func unclosedDirective(*syntaxMistake) (string, string) {
	return "%{if} or %{for} without its end", "write %{endif} or %{endfor} at its end\n" + shellHint
}

func strayDirective(m *syntaxMistake) (string, string) {
	return m.word + " without its beginning", "write %{if CONDITION} or %{for x in LIST} in front of it\n" + shellHint
}
