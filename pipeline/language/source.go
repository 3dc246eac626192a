package language

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/pipelined/pipelined/pipeline"
)

// source is a text with its name and the offsets of its lines, for places.
type source struct {
	name  string
	text  []byte
	lines []int
	// runes has the number of characters before each block of the text, so that
	// a place in a very long line costs no more than another.
	runes []int
	// line1 and column1 are the position of the text in its file, if it is only
	// a part of it; 0 is the beginning.
	line1, column1 int
	// base is the offset of the text in the ranges of what was parsed of it: the
	// texts of imports follow each other behind that of the pipeline, so that an
	// offset names a file. imports has them in that order.
	base    int
	imports []*source
}

// add places the text of an import behind all others.
func (s *source) add(text *source) {
	last := s
	if n := len(s.imports); n > 0 {
		last = s.imports[n-1]
	}
	text.base = last.base + len(last.text) + 1
	s.imports = append(s.imports, text)
}

// at returns the file that an offset lies in, and the offset in its text.
func (s *source) at(offset int) (*source, int) {
	file := s
	for _, text := range s.imports {
		if text.base > offset {
			break
		}
		file = text
	}
	return file, min(max(offset-file.base, 0), len(file.text))
}

// order is where a file of this name stands among the others: 0 is the pipeline's.
func (s *source) order(name string) int {
	return 1 + slices.IndexFunc(s.imports, func(text *source) bool { return text.name == name })
}

// before returns the text of a file up to an offset.
func (s *source) before(offset int) []byte {
	file, offset := s.at(offset)
	return file.text[:offset]
}

// newSource expects text that normalize returned.
func newSource(name string, text []byte) *source {
	s := &source{name: name, text: text, lines: []int{0}}
	for at, n := 0, 0; at <= len(text); at += runeBlock {
		s.runes = append(s.runes, n)
		n += utf8.RuneCount(text[at:min(at+runeBlock, len(text))])
	}

	for i := 0; ; {
		n := bytes.IndexByte(text[i:], '\n')
		if n < 0 {
			return s
		}
		i += n + 1
		s.lines = append(s.lines, i)
	}
}

const runeBlock = 4 << 10

// runesBefore counts the characters before an offset. One that a block's end
// cuts counts as more than one, which moves a column in a very long line.
func (s *source) runesBefore(offset int) int {
	block := offset / runeBlock
	return s.runes[block] + utf8.RuneCount(s.text[block*runeBlock:offset])
}

// deferredSource is the text of a deferred expression at its place in the file.
func deferredSource(file string, deferred pipeline.DeferredExpr) *source {
	s := newSource(cmp.Or(deferred.File, file), []byte(deferred.Source))
	s.line1, s.column1 = deferred.Line, deferred.Column
	return s
}

var byteOrderMark = []byte{0xEF, 0xBB, 0xBF}

// normalize drops a leading byte order mark and makes line ends those of Unix,
// so that a script written on Windows runs. Lines and columns stay as they are.
func normalize(text []byte) []byte {
	text = bytes.TrimPrefix(text, byteOrderMark)
	if bytes.Contains(text, []byte("\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	}
	return text
}

// position returns the line and the column, both from 1 and the column in
// characters, of a byte offset in the file that it lies in.
func (s *source) position(offset int) (line, column int) {
	s, offset = s.at(offset)
	line = sort.SearchInts(s.lines, offset+1)
	start := s.lines[line-1]
	if offset-start < runeBlock {
		return line, utf8.RuneCount(s.text[start:offset]) + 1
	}
	return line, s.runesBefore(offset) - s.runesBefore(start) + 1
}

// line returns the text of a line without its end.
func (s *source) line(n int) []byte {
	if n < 1 || n > len(s.lines) {
		return nil
	}
	text := s.text[s.lines[n-1]:]
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		text = text[:end]
	}
	return text
}

// slice returns the text of a range.
func (s *source) slice(r hcl.Range) []byte {
	file, start := s.at(r.Start.Byte)
	end := r.End.Byte - file.base
	if r.Start.Byte < 0 || end > len(file.text) || start > end {
		return nil
	}
	return file.text[start:end]
}

// deferred is the text of a range with its place.
func (s *source) deferred(r hcl.Range) pipeline.DeferredExpr {
	line, column := s.position(r.Start.Byte)
	out := pipeline.DeferredExpr{Source: string(s.slice(r)), Line: line, Column: column}
	if file, _ := s.at(r.Start.Byte); file != s {
		out.File = file.name
	}
	return out
}

// diagnostic describes a mistake at a range of the source.
func (s *source) diagnostic(r hcl.Range, summary, detail string) Diagnostic {
	line, column := s.position(r.Start.Byte)
	endLine, endColumn := s.position(r.End.Byte)
	s, _ = s.at(r.Start.Byte)
	text := s.line(line)
	if endLine != line {
		endLine, endColumn = line, utf8.RuneCount(text)+1
	}

	if s.line1 > 0 {
		// Only a part of the line is known, so it is not shown.
		text = nil
		if line == 1 {
			column += s.column1 - 1
		}
		if endLine == 1 {
			endColumn += s.column1 - 1
		}
		line += s.line1 - 1
	}

	d := Diagnostic{File: s.name, Line: line, Column: column,
		EndColumn: max(endColumn, column+1), Summary: summary, Detail: detail}
	d.SourceLine, d.SourceStart = excerpt(text, column)

	return d
}

// excerpt cuts a very long line to a window around a column; the second result
// is how many characters it left out at the front.
func excerpt(line []byte, column int) (string, int) {
	const window = 200
	if len(line) <= window {
		return string(line), 0
	}
	runes := []rune(string(line))
	start := max(0, min(column-1-window/4, len(runes)-window))
	return string(runes[start:min(len(runes), start+window)]), start
}
