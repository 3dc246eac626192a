package api

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// occurrence looks for a text in another one, from one position after another.
type occurrence struct {
	in, what []byte
	// at is the first one that is known of; before the position that is asked for if it
	// has to be looked for.
	at int
}

// from gives the first occurrence at a position or behind it; the end if there is none.
func (o *occurrence) from(at int) int {
	if o.at < at {
		o.at = len(o.in)
		if i := bytes.Index(o.in[at:], o.what); i >= 0 {
			o.at = at + i
		}
	}
	return o.at
}

// pattern finds a regular expression. Only lines with one of the texts are looked at, if
// there are any: to look at each line takes ten times as long.
type pattern struct {
	re    *regexp.Regexp
	texts []string
}

func (p pattern) find(line []byte) int {
	if at := p.re.FindIndex(line); at != nil {
		return at[0]
	}
	return -1
}

func (p pattern) scan(text []byte) func(int) int {
	var list []*occurrence
	for _, what := range p.texts {
		list = append(list, &occurrence{in: text, what: []byte(what), at: -1})
	}
	return func(from int) int {
		if len(list) == 0 {
			return from
		}
		first := len(text)
		for _, o := range list {
			first = min(first, o.from(from))
		}
		return first
	}
}

// required gives texts of which each match of a regular expression has at least one; none
// if there are no such texts.
func required(expression string) []string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil
	}
	return requiredIn(re)
}

func requiredIn(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		text := string(re.Rune)
		if re.Flags&syntax.FoldCase != 0 || strings.ContainsRune(text, utf8.RuneError) { // that matches bytes which are no character
			return nil
		}
		return []string{text}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredIn(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredIn(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if texts := requiredIn(sub); shortest(texts) > shortest(best) {
				best = texts
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			texts := requiredIn(sub)
			if texts == nil {
				return nil
			}
			all = append(all, texts...)
		}
		return all
	}
	return nil
}

// shortest is the length of the shortest text; 0 if there is none.
func shortest(texts []string) int {
	n := 0
	for i, text := range texts {
		if i == 0 || len(text) < n {
			n = len(text)
		}
	}
	return n
}

// literal finds a text as it is.
type literal string

func (l literal) find(line []byte) int { return bytes.Index(line, []byte(l)) }

func (l literal) scan(text []byte) func(int) int {
	o := &occurrence{in: text, what: []byte(l), at: -1}
	return o.from
}

// folded finds a text in any case of its ASCII letters. It looks for one byte of the
// text, the rarest, in both cases: a regular expression takes a hundred times as long.
type folded struct {
	text []byte // in lower case
	// rare is the position of the byte that is looked for, lower and upper its cases.
	rare         int
	lower, upper []byte
}

// frequent are letters and signs of outputs, the most frequent first.
const frequent = " etaionsrlhdcu.mpf0g1-:/_y2bw=3vk"

func newFolded(text string) *folded {
	f := &folded{text: lowerASCII([]byte(text))}
	best := -1
	for i, b := range f.text {
		rank := strings.IndexByte(frequent, b)
		if rank < 0 {
			rank = len(frequent)
		}
		if rank > best {
			best, f.rare = rank, i
		}
	}
	b := f.text[f.rare]
	f.lower, f.upper = []byte{b}, []byte{b}
	if b >= 'a' && b <= 'z' {
		f.upper[0] -= 'a' - 'A'
	}
	return f
}

func lowerASCII(b []byte) []byte {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return b
}

func (f *folded) find(line []byte) int {
	if at := f.scan(line)(0); at < len(line) {
		return at
	}
	return -1
}

func (f *folded) scan(text []byte) func(int) int {
	lower, upper := occurrence{text, f.lower, -1}, occurrence{text, f.upper, -1}
	return func(from int) int {
		for at := from + f.rare; at < len(text); {
			hit := min(lower.from(at), upper.from(at))
			if hit >= len(text) {
				break
			}
			if start := hit - f.rare; f.matches(text[start:]) {
				return start
			}
			at = hit + 1
		}
		return len(text)
	}
}

// matches reports whether a text begins with the one that is looked for.
func (f *folded) matches(text []byte) bool {
	if len(text) < len(f.text) {
		return false
	}
	for i, want := range f.text {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want {
			return false
		}
	}
	return true
}
