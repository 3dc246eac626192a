package language

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Diagnostic is one mistake: its position, what is wrong, and how to correct
// it.
type Diagnostic struct {
	// File is the name of the source, or, for a value outside a source, its
	// origin ("-var").
	File string `json:"file"`
	// Line counts from 1; 0 means that there is no place in a text.
	Line int `json:"line,omitempty"`
	// Column and EndColumn count characters from 1; EndColumn is the first one
	// behind the mistake.
	Column    int `json:"column,omitempty"`
	EndColumn int `json:"endColumn,omitempty"`
	// Summary says what is wrong, Detail how to correct it.
	Summary string `json:"summary"`
	Detail  string `json:"detail,omitempty"`
	// SourceLine is the text of the line, shortened if it is very long;
	// SourceStart is how many characters were cut off at its front.
	SourceLine  string `json:"sourceLine,omitempty"`
	SourceStart int    `json:"sourceStart,omitempty"`
}

// Diagnostics are the mistakes of a source, sorted by position. nil means that
// there are none. Return a value of this type as an error only if it is not
// empty.
type Diagnostics []Diagnostic

// Error returns all of them as one text, as Write does without colour.
func (d Diagnostics) Error() string {
	var b strings.Builder
	d.Write(&b, false)
	return strings.TrimRight(b.String(), "\n")
}

// Write prints each mistake with its place, its source line and a caret
// underline. Colour means ANSI escapes. Control characters of the source are
// made visible, so that no source can steer a terminal. Errors of w are
// ignored.
func (d Diagnostics) Write(w io.Writer, color bool) {
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}

	var b strings.Builder
	for i := range d {
		x := &d[i]
		if i > 0 {
			b.WriteByte('\n')
		}

		if place := x.place(); place != "" {
			b.WriteString(paint("1", printable(place)+":") + " ")
		}

		b.WriteString(paint("1;31", printable(x.Summary)) + "\n")
		if x.Line > 0 {
			number := fmt.Sprintf("%4d | ", x.Line)
			pad, carets := x.underline()
			b.WriteString(paint("2", number) + printable(x.SourceLine) + "\n")
			b.WriteString(strings.Repeat(" ", len(number)-2) + paint("2", "| ") + pad + paint("1;31", carets) + "\n")
		}

		for _, line := range strings.Split(x.Detail, "\n") {
			if line != "" {
				b.WriteString("     = " + printable(line) + "\n")
			}
		}
	}

	io.WriteString(w, b.String())
}

// place returns "file:line:column", or the file alone.
func (d *Diagnostic) place() string {
	if d.Line == 0 {
		return d.File
	}
	return fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)
}

// underline returns the line below the source line: the space before the
// mistake (tabs kept, wide characters two columns) and the carets.
func (d *Diagnostic) underline() (pad, carets string) {
	var p strings.Builder
	column, n := d.SourceStart+1, 0
	for _, r := range d.SourceLine {
		switch {
		case column >= d.EndColumn:
		case column >= d.Column:
			n += width(r)
		case r == '\t':
			p.WriteByte('\t')
		default:
			p.WriteString(strings.Repeat(" ", width(r)))
		}
		column++
	}

	return p.String(), strings.Repeat("^", max(n, 1))
}

// width is about how many columns of a terminal a character needs.
func width(r rune) int {
	switch {
	case r == '\t':
		return 1
	case hidden(r):
		return utf8.RuneCountInString(printable(string(r)))
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && unicode.In(r, unicode.Hangul, unicode.Han, unicode.Hiragana, unicode.Katakana),
		r >= 0x1F300 && r <= 0x1FAFF, r >= 0xFF01 && r <= 0xFF60:
		return 2
	}
	return 1
}

// hidden reports characters that must not reach a terminal as they are.
func hidden(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || bidiControl(r) || r == utf8.RuneError)
}

// printable makes control characters visible.
func printable(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "<%U>", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// maxDiagnostics is the maximum number of reported mistakes. More do not help,
// and a hostile source could cause unbounded work.
const maxDiagnostics = 100

// report collects the mistakes of a source.
type report struct {
	src  *source
	list Diagnostics
	more int
	// broken is set if only a part of the source was parsed: what is missing
	// may be missing because of that, and is not reported.
	broken bool
	// words is how many words the source has; others is how many those have that
	// count with it.
	words, others int
	// syntaxLines are the lines with a syntax error.
	syntaxLines map[int]bool
}

// full reports whether further mistakes are only counted.
func (r *report) full() bool { return len(r.list) >= maxDiagnostics }

// add records a mistake at a range. Empty details are left out.
func (r *report) add(at hcl.Range, detail, format string, args ...any) {
	if r.full() {
		r.more++
		return
	}
	r.list = append(r.list, r.src.diagnostic(at, fmt.Sprintf(format, args...), detail))
}

// absent records a mistake that may only be the consequence of one that the
// parser found.
func (r *report) absent(at hcl.Range, detail, format string, args ...any) {
	if !r.broken {
		r.add(at, detail, format, args...)
	}
}

// addHCL records what the HCL library found; hint may add to a detail.
func (r *report) addHCL(diags hcl.Diagnostics, hint func(*hcl.Diagnostic) string) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}

		if r.full() {
			r.more++
			continue
		}

		var at hcl.Range
		if d.Subject != nil {
			at = *d.Subject
		}

		detail := d.Detail
		if _, text := d.Expression.(*hclsyntax.TemplateExpr); text && d.Summary == "Invalid operand" {
			detail += "\n" + joinHint
		}
		if hint != nil {
			if more := hint(d); more != "" {
				detail = strings.TrimSpace(detail + "\n" + more)
			}
		}

		r.list = append(r.list, r.src.diagnostic(at, lowerFirst(d.Summary), detail))
	}
}

// done returns the mistakes, sorted by file and position.
func (r *report) done() Diagnostics {
	slices.SortStableFunc(r.list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(r.src.order(a.File), r.src.order(b.File)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	list := slices.CompactFunc(r.list, func(a, b Diagnostic) bool { return a == b })
	if r.more > 0 {
		list = append(list, Diagnostic{File: r.src.name, Summary: fmt.Sprintf("and %d more mistakes", r.more)})
	}
	return list
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	// An abbreviation keeps its capitals.
	if next, _ := utf8.DecodeRuneInString(s[n:]); unicode.IsUpper(next) {
		return s
	}
	return string(unicode.ToLower(r)) + s[n:]
}

// positionText returns "file:line:column" of a range, for a second position in a message.
func (r *report) positionText(at hcl.Range) string {
	if r.full() {
		return "" // the message is not shown
	}
	line, column := r.src.position(at.Start.Byte)
	file, _ := r.src.at(at.Start.Byte)
	return fmt.Sprintf("%s:%d:%d", file.name, line, column)
}
