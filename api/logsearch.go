package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

const (
	// maxSearch bounds what is searched for, in bytes.
	maxSearch = 256
	// defaultMatches and maxMatches are how many matches one answer has.
	defaultMatches = 200
	maxMatches     = 2000
	// searchBlock is how much of an output is searched at once; a longer line is
	// searched in pieces.
	searchBlock = 1 << 20
	// searchTime bounds a search. What comes after it is not in the answer, which says
	// so.
	searchTime = 5 * time.Second
)

// searching says how to search and what to answer.
type searching struct {
	from  int64
	limit int
	find  finder
}

// finder gives the position of the first match in one line; -1 if there is none. scan
// gives a function of a position in a text: no line matches between it and the result.
// That is called with positions in their order.
type finder interface {
	find(line []byte) int
	scan(text []byte) func(from int) int
}

func readSearching(q url.Values) (s searching, err error) {
	text := q.Get("search")
	if text == "" || len(text) > maxSearch || strings.ContainsAny(text, "\n\x00") {
		return s, invalid("search: expected 1 to %d bytes of one line", maxSearch)
	}
	exact, err := flag(q, "case")
	if err != nil {
		return s, err
	}
	isRegexp, err := flag(q, "regexp")
	if err != nil {
		return s, err
	}
	from, err := count(q, "from", 1)
	if err != nil {
		return s, err
	}
	limit, err := listLimit(q, defaultMatches, maxMatches)
	if err != nil {
		return s, err
	}

	s = searching{from: int64(max(from, 1)), limit: limit}
	switch {
	case isRegexp:
		if !exact {
			text = "(?i)" + text
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return s, invalid("search: %w", err)
		}
		s.find = pattern{re, required(text)}
	case exact:
		s.find = literal(text)
	default:
		s.find = newFolded(text)
	}
	return s, nil
}

// search answers with the lines that match.
func (h *logsHandler) search(c *call, key logKey, q *lineQuery) error {
	r, info, err := h.logs.Log(c.r.Context(), key.run, key.module, key.attempt, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(c.r.Context(), searchTime)
	defer cancel()
	out, err := searchLines(ctx, io.LimitReader(r, info.Size), &q.searching)
	if err != nil {
		return err
	}
	if c.r.Context().Err() != nil {
		return context.Cause(c.r.Context())
	}
	return c.ok(out)
}

// searchLines reads all of an output and collects the lines that match.
func searchLines(ctx context.Context, r io.Reader, s *searching) (wire.LogMatches, error) {
	m := matcher{searching: s, line: 1, out: wire.LogMatches{Matches: []wire.LogMatch{}, Complete: true}}
	buf := make([]byte, 0, searchBlock)
	for {
		n, err := io.ReadFull(r, buf[len(buf):searchBlock])
		buf = buf[:len(buf)+n]
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return m.out, err
		}

		whole := len(buf)
		if last := bytes.LastIndexByte(buf, '\n'); last >= 0 && !ended {
			whole = last + 1
		}
		if m.out.Complete = m.block(ctx, buf[:whole]); ended || !m.out.Complete {
			return m.out, nil
		}
		buf = append(buf[:0], buf[whole:]...)
	}
}

// matcher collects matches, block by block.
type matcher struct {
	*searching
	// line is the number of the line at the next block's beginning, offset its place.
	line, offset int64
	out          wire.LogMatches
}

// block searches whole lines, all of them unless ctx ends first.
func (m *matcher) block(ctx context.Context, text []byte) (complete bool) {
	next := m.find.scan(text)
	for at, n := 0, 0; at < len(text); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return false
		}
		// From the beginning of the line in which something may be.
		start := next(at)
		if start < len(text) {
			start = at + bytes.LastIndexByte(text[at:start], '\n') + 1
		}
		m.line += int64(bytes.Count(text[at:start], []byte{'\n'}))
		if start >= len(text) {
			break
		}

		end := len(text)
		if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
			end = start + i
		}
		if column := m.find.find(text[start:end]); column >= 0 {
			m.add(column, m.offset+int64(start))
		}
		if end < len(text) {
			m.line++
		}
		at = end + 1
	}
	m.offset += int64(len(text))
	return true
}

func (m *matcher) add(column int, offset int64) {
	m.out.Total++
	switch {
	case m.line < m.from:
	case len(m.out.Matches) < m.limit:
		m.out.Matches = append(m.out.Matches, wire.LogMatch{Line: m.line, Offset: offset, Column: column + 1})
	case m.out.Next == 0:
		m.out.Next = m.line
	}
}
