package tree

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// appendTree appends the JSON of a tree: the very bytes of encoding/json, which
// takes six times as long for it.
func appendTree(out []byte, t Tree) ([]byte, error) {
	var err error
	out = append(out, '[')
	for i := range t {
		e := &t[i]
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"path":`...)
		if out, err = appendText(out, e.Path); err != nil {
			return nil, err
		}
		out = strconv.AppendUint(append(out, `,"mode":`...), uint64(e.Mode), 10)
		if e.Size != 0 {
			out = strconv.AppendInt(append(out, `,"size":`...), e.Size, 10)
		}
		if e.Digest != "" { // hexadecimal digits, which check has seen
			out = append(append(append(out, `,"digest":"`...), e.Digest...), '"')
		}
		if e.Link != "" {
			if out, err = appendText(append(out, `,"link":`...), e.Link); err != nil {
				return nil, err
			}
		}
		if e.Dir {
			out = append(out, `,"dir":true`...)
		}
		out = append(out, '}')
	}
	return append(out, ']'), nil
}

// appendText appends a string; one that is not plain is left to encoding/json.
func appendText(out []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			var buf bytes.Buffer
			enc := json.NewEncoder(&buf)
			enc.SetEscapeHTML(false)
			err := enc.Encode(s)
			return append(out, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), err
		}
	}
	return append(append(append(out, '"'), s...), '"'), nil
}

// parseTree reads a tree that is written as appendTree writes plain ones. ok is
// false for every other, which may be right all the same: encoding/json tells.
// The entries' texts are parts of one string.
func parseTree(blob []byte) (t Tree, ok bool) {
	p := treeParser{string(blob)}
	if !p.skip("[") {
		return nil, false
	}
	t = make(Tree, 0, min(strings.Count(p.rest, `{"path":`), MaxEntries))
	if p.skip("]") {
		return t, p.rest == ""
	}
	for {
		if len(t) == MaxEntries {
			return nil, false
		}
		e, ok := p.entry()
		if !ok {
			return nil, false
		}
		t = append(t, e)
		if p.skip("]") {
			return t, p.rest == ""
		}
		if !p.skip(",") {
			return nil, false
		}
	}
}

// treeParser takes what it expects from the front of rest.
type treeParser struct{ rest string }

func (p *treeParser) skip(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	p.rest = rest
	return ok
}

func (p *treeParser) entry() (e pipeline.TreeEntry, ok bool) {
	if !p.skip(`{"path":`) || !p.text(&e.Path) || !p.skip(`,"mode":`) {
		return e, false
	}
	mode, ok := p.number()
	if !ok || mode > 0o7777 {
		return e, false
	}
	e.Mode = uint32(mode)
	if p.skip(`,"size":`) {
		if e.Size, ok = p.number(); !ok || e.Size == 0 {
			return e, false
		}
	}
	if p.skip(`,"digest":`) && !p.text((*string)(&e.Digest)) || p.skip(`,"link":`) && !p.text(&e.Link) {
		return e, false
	}
	e.Dir = p.skip(`,"dir":true`)
	return e, p.skip("}")
}

// text takes a string in which nothing is escaped.
func (p *treeParser) text(to *string) bool {
	if !p.skip(`"`) {
		return false
	}
	for i := range len(p.rest) {
		switch c := p.rest[i]; {
		case c == '"':
			*to, p.rest = p.rest[:i], p.rest[i+1:]
			return true
		case c < ' ' || c > '~' || c == '\\':
			return false
		}
	}
	return false
}

// number takes digits.
func (p *treeParser) number() (int64, bool) {
	i := 0
	for i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9' {
		i++
	}
	if i == 0 || i > 1 && p.rest[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(p.rest[:i], 10, 64)
	p.rest = p.rest[i:]
	return n, err == nil
}
