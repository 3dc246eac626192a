package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// defaultCount and maxCount are how many lines one answer has.
	defaultCount = 500
	maxCount     = 5000
	// maxLineBytes bounds an answer of lines, in bytes.
	maxLineBytes = 8 << 20
	// readSize is how much of an output is read at once.
	readSize = 64 << 10
)

// lineQuery asks for a part of an output by lines.
type lineQuery struct {
	meta      bool
	hasLine   bool
	line      int64
	count     int64
	times     bool
	hasSearch bool
	searching searching
}

// byLine reports whether it asks for anything.
func (l *lineQuery) byLine() bool { return l.meta || l.hasLine || l.hasSearch }

func readLineQuery(q url.Values) (l lineQuery, err error) {
	if l.meta, err = flag(q, "meta"); err != nil {
		return l, err
	}
	if l.hasLine = q.Has("line"); l.hasLine {
		if l.line, err = strconv.ParseInt(q.Get("line"), 10, 63); err != nil || l.line == 0 {
			return l, invalid("line=%.40s: expected the number of a line from 1, or a negative one that counts from the end", q.Get("line"))
		}
	}
	n, err := count(q, "count", defaultCount)
	if err != nil {
		return l, err
	}
	if n < 1 || n > maxCount {
		return l, invalid("count=%d: expected 1 to %d", n, maxCount)
	}
	l.count = int64(n)
	if l.hasLine {
		if l.times, err = flag(q, "timestamps"); err != nil {
			return l, err
		}
	}

	if l.hasSearch = q.Has("search"); l.hasSearch {
		l.searching, err = readSearching(q)
	}
	return l, err
}

// lines answers with lines of one attempt's output, where they are, or how many.
func (h *logsHandler) lines(c *call, module string, attempt int, q lineQuery) error {
	ctx := c.r.Context()
	var final bool
	if attempt == 0 { // the newest
		r, info, err := h.logs.Log(ctx, c.run, module, 0, 0)
		if err != nil {
			return err
		}
		_ = r.Close() // only its attempt is used, and whether it is to come
		attempt, final = info.Attempt, info.Final
	}
	key := logKey{run: c.run, module: module, attempt: attempt}
	if attempt == 0 { // there is none yet
		switch {
		case q.meta:
			return c.ok(wire.LogMeta{})
		case q.hasSearch:
			return c.ok(wire.LogMatches{Matches: []wire.LogMatch{}, Complete: true})
		}
		return h.sendLines(c, key, place{line: max(1, q.line), final: final}, &q)
	}
	if q.hasSearch {
		return h.search(c, key, &q)
	}

	at, err := h.indexes.get(key).locate(ctx, h.logs, key, q.line)
	if err != nil {
		return err
	}
	if q.meta {
		return c.ok(wire.LogMeta{Attempt: attempt, Size: at.size, Lines: at.lines, Ended: at.final})
	}
	return h.sendLines(c, key, at, &q)
}

// sendLines answers with lines from a place on.
func (h *logsHandler) sendLines(c *call, key logKey, at place, q *lineQuery) error {
	if at.line > at.lines+1 {
		return withStatus(http.StatusRequestedRangeNotSatisfiable, pipeline.Invalid, "line=%d: attempt %d has %d lines", at.line, key.attempt, at.lines)
	}

	body, offset, err := readLines(c.r.Context(), h.logs, key, at, q.count)
	if err == nil && q.times && len(body) > 0 {
		body, err = stampLines(c.r.Context(), h.logs, key, offset, int64(len(body)))
	}
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Type", mediaText)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set(wire.HeaderAttempt, strconv.Itoa(key.attempt))
	header.Set(wire.HeaderFinal, strconv.FormatBool(at.final))
	header.Set(wire.HeaderSize, strconv.FormatInt(at.size, 10))
	header.Set(wire.HeaderOffset, strconv.FormatInt(offset, 10))
	header.Set(wire.HeaderLine, strconv.FormatInt(at.line, 10))
	header.Set(wire.HeaderLines, strconv.FormatInt(at.lines, 10))
	_, err = c.w.Write(body)
	return err
}

// readLines reads lines from one on, and gives the offset at which it begins. What is
// beyond maxLineBytes is left out: the offset and the length say where to read on.
func readLines(ctx context.Context, logs Logs, key logKey, at place, count int64) (body []byte, offset int64, err error) {
	offset, ends := at.chunk, at.ends
	if offset >= at.size {
		return nil, at.size, nil
	}
	r, _, err := logs.Log(ctx, key.run, key.module, key.attempt, offset)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()

	in := bufio.NewReaderSize(io.LimitReader(r, at.size-offset), readSize)
	for ends < at.line-1 { // lines of the chunk before the first one
		part, err := in.ReadSlice('\n')
		offset += int64(len(part))
		switch {
		case err == nil:
			ends++
		case errors.Is(err, io.EOF):
			return nil, offset, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, 0, err
		}
	}
	for count > 0 && len(body) < maxLineBytes {
		part, err := in.ReadSlice('\n')
		body = append(body, part...)
		switch {
		case err == nil:
			count--
		case errors.Is(err, io.EOF):
			return body, offset, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, 0, err
		}
	}
	return body, offset, nil
}

// stampLines reads size bytes of an output from the beginning of a line on, and puts the
// time before each line.
func stampLines(ctx context.Context, logs Logs, key logKey, offset, size int64) ([]byte, error) {
	in := wire.FollowRequest{Modules: []string{key.module}, Times: true,
		Positions: map[string]wire.LogPosition{key.module: {Attempt: key.attempt, Offset: offset}}}
	stamper := stamper{times: true}
	var body []byte
	err := logs.Follow(ctx, key.run, in, func(e wire.LogEvent) error {
		if e.Module != key.module {
			return nil
		}
		if e.Attempt > key.attempt {
			return errEnough
		}
		piece := e.Bytes()
		piece = piece[:min(int64(len(piece)), size)]
		size -= int64(len(piece))
		body = append(body, stamper.text(piece, e.Time)...)
		if size == 0 || e.End {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return body, err
}
