package language

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxParses bounds how often a source with syntax errors is parsed again, and
// maxParsedBytes how much text that may be in all.
const (
	maxParses      = 20
	maxParsedBytes = 384 << 10
)

// Syntax parses a text in HCL that is no pipeline, such as a file of settings. It returns
// what could be parsed also if there are mistakes, but nil if that is nothing.
func Syntax(fileName string, src []byte) (*hclsyntax.Body, Diagnostics) {
	if d := checkSize(fileName, src); d != nil {
		return nil, d
	}
	r := &report{src: newSource(fileName, normalize(src))}
	if r.prescan(); len(r.list) > 0 {
		return nil, r.done()
	}
	return parseBody(r), r.done()
}

// parseBody runs HCL's parser over a source that passed the prescan. It returns
// what could be parsed even if there are mistakes.
//
// After a syntax error HCL's parser often parses nothing of what follows. So
// the definition that holds the first error is blanked out and the rest is
// parsed again: this finds the next mistakes, and omits those that only follow
// from the first.
func parseBody(r *report) *hclsyntax.Body {
	text, parsed := r.src.text, 0
	for i := 1; ; i++ {
		body, diags := parseConfig(r.src.name, text, hcl.InitialPos)
		if !diags.HasErrors() {
			return body
		}

		r.broken = true
		parsed += len(text)
		at := firstError(diags)
		// What is not closed is blanked out from its beginning.
		first, last := definition(text, begins(diags, at))
		next := blank(text, first, last)
		if i == maxParses || parsed > maxParsedBytes || next == nil || !nests(r.src.name, next) {
			r.addSyntax(diags)
			return body
		}

		// Others in it are most often a consequence.
		i := slices.IndexFunc(diags, func(d *hcl.Diagnostic) bool { return offsetOf(d) == at })
		r.addSyntax(diags[i : i+1])
		text = next
	}
}

// begins returns the offset at which what is wrong at an offset begins.
func begins(diags hcl.Diagnostics, at int) int {
	for _, d := range diags {
		if offsetOf(d) == at && d.Context != nil {
			return d.Context.Start.Byte
		}
	}
	return at
}

// offsetOf returns where a mistake is; -1 if that is not known.
func offsetOf(d *hcl.Diagnostic) int {
	if d.Subject == nil {
		return -1
	}
	return d.Subject.Start.Byte
}

// addSyntax records syntax errors. Most often a second one on a line is a consequence of
// the first, as are those behind a text without its end, and a } too many.
func (r *report) addSyntax(diags hcl.Diagnostics) {
	inside := interpolations(r.src)
	diags = slices.Clone(diags)
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int { return offsetOf(a) - offsetOf(b) })
	quoted := false
	for _, d := range diags {
		line, _ := r.src.position(offsetOf(d))
		stray := d.Summary == hclMisplaced && string(r.src.slice(*d.Subject)) == "}" && len(r.syntaxLines) > 0
		if d.Severity != hcl.DiagError || r.syntaxLines[line] || stray {
			continue
		}
		var template *hcl.Range
		if i := slices.IndexFunc(inside, func(in hcl.Range) bool { return in.Start.Byte <= offsetOf(d) && offsetOf(d) <= in.End.Byte }); i >= 0 {
			template = &inside[i]
		}
		at, summary, detail := r.syntax(d, template)
		if summary == noClosingQuote && quoted {
			continue
		}
		quoted = quoted || summary == noClosingQuote
		r.add(at, detail, "%s", summary)
		if r.syntaxLines == nil {
			r.syntaxLines = map[int]bool{}
		}
		r.syntaxLines[line] = true
	}
}

// parseConfig is HCL's parser without panics.
func parseConfig(name string, text []byte, start hcl.Pos) (body *hclsyntax.Body, diags hcl.Diagnostics) {
	defer func() {
		if recover() != nil {
			body, diags = nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "The HCL parser gave up"}}
		}
	}()
	f, diags := hclsyntax.ParseConfig(text, name, start)
	if f == nil {
		return nil, diags
	}
	body, _ = f.Body.(*hclsyntax.Body)
	return body, diags
}

// nests reports whether a text holds the limits of the prescan.
func nests(name string, text []byte) bool {
	r := &report{src: newSource(name, text)}
	return r.nesting(text)
}

// firstError returns the offset of the first error, or -1. A block without its end counts
// only if there is no other: most often it is a consequence.
func firstError(diags hcl.Diagnostics) int {
	first, open := -1, -1
	for _, d := range diags {
		switch at := offsetOf(d); {
		case at < 0:
		case d.Summary == hclUnclosedBlock:
			open = at
		case first < 0 || at < first:
			first = at
		}
	}
	if first < 0 {
		return open
	}
	return first
}

var (
	definitionStart = regexp.MustCompile(`^[ \t]*[\pL_][\pL\pN_-]*[ \t]*=([^=>]|$)`)
	definitionEnd   = regexp.MustCompile(`^[ \t]*(}|[\pL_][\pL\pN_-]*([ \t]+("[^"]*"|[\pL_][\pL\pN_-]*))*[ \t]*\{|[\pL_][\pL\pN_-]*[ \t]*=([^=>]|$))`)
)

// definition returns the lines, by offsets, of the NAME = … around an offset,
// judged by lines alone; none if there is no such definition.
func definition(text []byte, at int) (first, last int) {
	if at < 0 || at > len(text) {
		return 0, 0
	}

	start := lineStart(text, at)
	for !definitionStart.Match(lineAt(text, start)) {
		if start == 0 {
			return 0, 0
		}
		start = lineStart(text, start-1)
	}

	end := start + len(lineAt(text, start)) + 1
	for end < len(text) && !definitionEnd.Match(lineAt(text, end)) {
		end += len(lineAt(text, end)) + 1
	}

	return start, min(end, len(text))
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

func lineAt(text []byte, start int) []byte {
	line := text[start:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	return line
}

// blank returns the text with a part of it replaced by spaces, lines and
// offsets kept; nil if there is nothing to blank.
func blank(text []byte, first, last int) []byte {
	if len(bytes.TrimSpace(text[first:last])) == 0 {
		return nil
	}
	out := bytes.Clone(text)
	for i := first; i < last; i++ {
		if out[i] != '\n' {
			out[i] = ' '
		}
	}
	return out
}

// interpolations returns the ranges of ${…} and %{…} in the texts of a source.
func interpolations(src *source) []hcl.Range {
	tokens, _ := hclsyntax.LexConfig(src.text, src.name, hcl.InitialPos)
	var open, out []hcl.Range
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			open = append(open, t.Range)
		case hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenEOF:
			if n := len(open); n > 0 {
				out = append(out, hcl.RangeBetween(open[n-1], t.Range))
				open = open[:n-1]
			}
		}
	}

	return out
}
