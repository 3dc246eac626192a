package language

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// The limits of a source (reliability D3). HCL's parser and evaluator recurse
// on nesting, on runs of unary operators, on chains of operators, conditionals
// and indexes, and exhaust the stack, which nothing can recover from.
const (
	// MaxSourceBytes is the most a pipeline's source may have.
	MaxSourceBytes = 256 << 10
	maxDepth       = 64   // brackets, strings with templates in them, %{if}, %{for}
	maxUnary       = 16   // ! and - in a row
	maxChain       = 256  // operators, conditionals, dots and indexes in one expression
	maxChains      = 1024 // the same, summed over all enclosing expressions
	maxTokens      = 200_000
	maxNumber      = 100 // characters of a number
	maxExponent    = 400
	// maxMelding bounds the bytes that HCL copies while it joins the lines of
	// heredocs, which is quadratic in their number.
	maxMelding = 512 << 20
)

// bidiControl reports the characters that change the direction of text, with
// which a source can show something else than it says.
func bidiControl(r rune) bool {
	return r == 0x061C || r == 0x200E || r == 0x200F || (r >= 0x202A && r <= 0x202E) || (r >= 0x2066 && r <= 0x2069)
}

// Prescan checks the limits of a source before it is parsed: its size, its
// characters and its nesting. Its time and memory are linear in the size of any
// source. Parse calls it.
func Prescan(fileName string, src []byte) Diagnostics {
	if d := checkSize(fileName, src); d != nil {
		return d
	}
	r := &report{src: newSource(fileName, normalize(src))}
	r.prescan()
	return r.done()
}

// checkSize comes before anything that copies the text.
func checkSize(fileName string, src []byte) Diagnostics {
	if len(src) <= MaxSourceBytes {
		return nil
	}
	return Diagnostics{{File: fileName,
		Summary: fmt.Sprintf("source of %d KiB is larger than the limit of %d KiB", (len(src)+1023)>>10, MaxSourceBytes>>10),
		Detail:  "long scripts belong into files of the workspace, which a module can run"}}
}

// prescan records at most a few mistakes: after the first of a kind nothing
// that follows can be trusted.
func (r *report) prescan() {
	if !r.characters() {
		return
	}

	// A bomb shows in its beginning, and the tokens of a dense source take a
	// hundred times its bytes: so the beginning is looked at first.
	const first = 24 << 10
	text := r.src.text
	if len(text) > 2*first {
		head := text[:first]
		for len(head) > 0 && !utf8.Valid(head) {
			head = head[:len(head)-1]
		}
		if !r.nesting(head) {
			return
		}
	}

	r.nesting(text)
}

// characters refuses bytes that are no text or that mislead who reads it.
func (r *report) characters() bool {
	text := r.src.text
	at := func(i, n int) hcl.Range {
		return hcl.Range{Start: hcl.Pos{Byte: i}, End: hcl.Pos{Byte: i + n}}
	}

	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c == 0 {
				r.add(at(i, 1), "a pipeline is a text in UTF-8", "NUL byte in the source")
				return false
			}
			i++
			continue
		}

		c32, n := utf8.DecodeRune(text[i:])
		switch {
		case c32 == utf8.RuneError && n == 1:
			r.add(at(i, 1), "a pipeline is a text in UTF-8", "byte 0x%02x is not UTF-8", c)
			return false
		case bidiControl(c32):
			r.add(at(i, n), fmt.Sprintf(`it makes the text look other than it is; where a value needs it, write the escape "\u%04x"`, c32),
				"bidirectional control character %U", c32)
			return false
		}

		i += n
	}

	return true
}

// frame is one open bracket, string, heredoc or template sequence.
type frame struct {
	closer hclsyntax.TokenType
	at     hcl.Range
	// chain counts what makes the current expression of the frame recurse.
	chain int
	// control counts the open %{if} and %{for} of a template.
	control int
	// literal is how many consecutive bytes of text a template has.
	literal int
	// ignoresNewlines is set if a newline does not end an expression.
	ignoresNewlines bool
	// first is true until the first token inside was seen.
	first bool
}

// nesting is the walk over the tokens of a text.
type nesting struct {
	r       *report
	stack   []frame
	depth   int // open frames and controls
	chains  int // the sum of all frames' chains
	unary   int
	melding int
}

// nesting checks the limits over the tokens of a text, which is the source or
// its beginning, and reports whether they hold.
func (r *report) nesting(text []byte) bool {
	tokens, _ := hclsyntax.LexConfig(text, r.src.name, hcl.InitialPos)
	r.words = len(tokens)
	if left := maxTokens - r.others; len(tokens) > left {
		r.add(tokens[left].Range, "split the work into several pipelines", "more than %d words in the source", maxTokens)
		return false
	}
	n := &nesting{r: r, stack: []frame{{}}}
	for i := range tokens {
		if !n.token(&tokens[i]) {
			return false
		}
	}
	return true
}

func (n *nesting) top() *frame { return &n.stack[len(n.stack)-1] }

// token processes the next token and reports whether the limits still hold.
func (n *nesting) token(t *hclsyntax.Token) bool {
	switch t.Type {
	case hclsyntax.TokenNewline, hclsyntax.TokenComment:
		// A comment to the end of the line contains the newline.
		if !n.top().ignoresNewlines && (t.Type == hclsyntax.TokenNewline || bytes.HasSuffix(t.Bytes, []byte("\n"))) {
			n.endExpression()
		}
		return true
	}

	n.inside(t)
	if t.Type != hclsyntax.TokenBang && t.Type != hclsyntax.TokenMinus {
		n.unary = 0
	}

	ok := true
	switch t.Type {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
		hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		ok = n.open(t)
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
		hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
		n.close(t.Type)
	case hclsyntax.TokenComma:
		n.endExpression()
	case hclsyntax.TokenBang, hclsyntax.TokenMinus:
		if n.unary++; n.unary > maxUnary {
			n.r.add(t.Range, "one is enough", "more than %d unary operators in a row", maxUnary)
			return false
		}
		ok = n.chain(t)
	case hclsyntax.TokenQuestion, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
		hclsyntax.TokenDot, hclsyntax.TokenDoubleColon:
		ok = n.chain(t)
	case hclsyntax.TokenStringLit, hclsyntax.TokenQuotedLit, hclsyntax.TokenQuotedNewline:
		ok = n.text(t)
	case hclsyntax.TokenNumberLit:
		ok = n.number(t)
	}

	return ok
}

// inside looks at the first token of a frame: `{for` and `[for` decide what a
// newline means, `%{if` opens what `%{endif` closes.
func (n *nesting) inside(t *hclsyntax.Token) {
	f := n.top()
	if !f.first {
		return
	}

	f.first = false
	if t.Type != hclsyntax.TokenIdent {
		return
	}

	word := string(t.Bytes)
	if f.closer == hclsyntax.TokenCBrace && word == "for" {
		f.ignoresNewlines = true
	}

	if f.closer != hclsyntax.TokenTemplateSeqEnd || f.control == 0 || len(n.stack) < 2 {
		return
	}

	parent := &n.stack[len(n.stack)-2]
	switch word {
	case "if", "for":
		parent.control++
		n.depth++
	case "endif", "endfor":
		if parent.control > 0 {
			parent.control--
			n.depth--
		}
	}
}

func (n *nesting) open(t *hclsyntax.Token) bool {
	f := frame{at: t.Range, first: true, ignoresNewlines: true}
	switch t.Type {
	case hclsyntax.TokenOBrace:
		f.closer, f.ignoresNewlines = hclsyntax.TokenCBrace, false
	case hclsyntax.TokenOBrack:
		f.closer = hclsyntax.TokenCBrack
		if !n.chain(t) { // it may be an index
			return false
		}
	case hclsyntax.TokenOParen:
		f.closer = hclsyntax.TokenCParen
	case hclsyntax.TokenOQuote:
		f.closer = hclsyntax.TokenCQuote
	case hclsyntax.TokenOHeredoc:
		f.closer = hclsyntax.TokenCHeredoc
	case hclsyntax.TokenTemplateControl:
		f.closer = hclsyntax.TokenTemplateSeqEnd
		f.control = 1 // marks %{ against ${; the frame itself holds no template
		n.top().literal = 0
	default:
		f.closer = hclsyntax.TokenTemplateSeqEnd
		n.top().literal = 0
	}

	n.stack = append(n.stack, f)
	n.depth++

	if n.depth > maxDepth {
		n.r.add(t.Range, "give parts of it a name in locals", "nested more than %d deep", maxDepth)
		return false
	}

	return true
}

// close ends the innermost frame if it is of that kind. One that does not match
// leaves the depth as it is: it is then an error to the parser too, and
// counting too much is the safe side.
func (n *nesting) close(t hclsyntax.TokenType) {
	f := n.top()
	if len(n.stack) == 1 || f.closer != t {
		return
	}
	n.chains -= f.chain
	n.depth--
	if t != hclsyntax.TokenTemplateSeqEnd {
		n.depth -= f.control
	}
	n.stack = n.stack[:len(n.stack)-1]
}

// endExpression forgets the chain of the current frame.
func (n *nesting) endExpression() {
	f := n.top()
	n.chains -= f.chain
	f.chain = 0
	n.unary = 0
}

func (n *nesting) chain(t *hclsyntax.Token) bool {
	f := n.top()
	f.chain++
	n.chains++
	if f.chain > maxChain || n.chains > maxChains {
		n.r.add(t.Range, "give parts of it a name in locals", "expression of more than %d operators, conditions, dots and indexes", maxChain)
		return false
	}
	return true
}

func (n *nesting) text(t *hclsyntax.Token) bool {
	f := n.top()
	f.literal += len(t.Bytes)
	n.melding += f.literal
	if n.melding > maxMelding {
		n.r.add(t.Range, "put the script into a file of the workspace, and run that", "text of too many lines")
		return false
	}
	return true
}

// number refuses the ones whose decimal digits would fill the memory.
func (n *nesting) number(t *hclsyntax.Token) bool {
	if !smallNumber(t.Bytes) {
		n.r.add(t.Range, fmt.Sprintf("a number has at most %d characters and an exponent of at most %d", maxNumber, maxExponent), "number out of range")
		return false
	}
	return true
}

// smallNumber reports whether a number in decimal notation is within limits.
func smallNumber(text []byte) bool {
	exponent := 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		for _, c := range text[i+1:] {
			if c >= '0' && c <= '9' && exponent <= maxExponent {
				exponent = exponent*10 + int(c-'0')
			}
		}
	}
	return len(text) <= maxNumber && exponent <= maxExponent
}
