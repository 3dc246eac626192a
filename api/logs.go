package api

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Logs is what the API needs of a node to read the output of modules. Both
// calls need the replicated state; the bytes come from whichever node has them.
type Logs interface {
	// Follow sends the logs of a run. It returns after the RunEnd event, when send
	// fails, or when ctx ends. send is called from one goroutine at a time.
	Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error
	// Log opens the output of one attempt (0: the newest) at an offset. It reads
	// what is there at the time of the call and does not wait for more.
	Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, LogInfo, error)
}

// LogInfo describes what Logs.Log opened.
type LogInfo struct {
	// Attempt is the attempt that was opened, from 1.
	Attempt int
	// Size is the length of the whole output at the time of the call, in bytes.
	Size int64
	// Final is set if the output will not grow.
	Final bool
	// Digest of the whole output if it is final and known; "" otherwise.
	Digest pipeline.Digest
}

// followAll streams the output of all modules, or of those that are named,
// from the beginning.
func (s *Server) followAll(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	in := wire.FollowRequest{Modules: q["module"]}
	if in.Follow, err = flag(q, "follow"); err != nil {
		return err
	}
	if err := part(q, time.Now(), &in); err != nil {
		return err
	}
	return s.follow(c, id, in)
}

// followFrom is followAll with positions: what the caller has already.
func (s *Server) followFrom(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	in := wire.FollowRequest{Follow: true}
	if len(c.body) > 0 {
		if in, err = document[wire.FollowRequest](c); err != nil {
			return err
		}
	}
	if err := checkPart(&in); err != nil {
		return err
	}
	return s.follow(c, id, in)
}

// moduleLog answers with the bytes of one attempt's output, or follows the
// module.
func (s *Server) moduleLog(c *call) error {
	id, err := c.runID()
	if err != nil {
		return err
	}
	module := c.r.PathValue("module")
	if !wire.ValidModule(module) {
		return badModule(module)
	}
	q := c.r.URL.Query()
	attempt, err := count(q, "attempt", 0)
	if err != nil {
		return err
	}
	offset, err := count(q, "offset", 0)
	if err != nil {
		return err
	}
	if attempt > 1<<30 {
		return invalid("attempt=%d: want the number of an attempt", attempt)
	}
	following, err := flag(q, "follow")
	if err != nil {
		return err
	}
	var in wire.FollowRequest
	if err := part(q, time.Now(), &in); err != nil {
		return err
	}
	if following {
		return s.followModule(c, id, module, wire.LogPosition{Attempt: int(attempt), Offset: int64(offset)}, in)
	}
	if in.Lines > 0 || !in.Since.IsZero() || in.Times {
		if q.Has("tail") || q.Has("offset") || c.r.Header.Get("Range") != "" {
			return invalid("lines, since and timestamps exclude offset, tail and the header Range")
		}
		return s.moduleText(c, id, module, int(attempt), in)
	}
	if q.Has("tail") && q.Has("offset") || c.r.Header.Get("Range") != "" && (q.Has("tail") || q.Has("offset")) {
		return invalid("offset, tail and the header Range exclude one another")
	}
	tail, err := count(q, "tail", 0)
	if err != nil {
		return err
	}
	l := &logReader{ctx: c.r.Context(), logs: s.cfg.Logs, id: id, module: module, attempt: int(attempt)}
	defer l.Close()
	if err := l.open(int64(offset)); err != nil {
		return err
	}
	base := int64(offset)
	if q.Has("tail") {
		base = max(0, l.info.Size-int64(min(tail, 1<<62)))
	}
	if base > l.info.Size {
		return withStatus(416, pipeline.Invalid, "offset=%d: attempt %d has %d bytes", base, l.info.Attempt, l.info.Size)
	}
	h := c.w.Header()
	h.Set("Content-Type", mediaText)
	h.Set(wire.HeaderAttempt, strconv.Itoa(l.info.Attempt))
	h.Set(wire.HeaderSize, strconv.FormatInt(l.info.Size, 10))
	h.Set(wire.HeaderFinal, strconv.FormatBool(l.info.Final))
	h.Set(wire.HeaderOffset, strconv.FormatInt(base, 10))
	etag := pipeline.Digest("")
	if base == 0 && l.info.Final {
		etag = l.info.Digest
	}
	return s.serveContent(c, &section{r: l, base: base, size: l.info.Size - base}, l.info.Size-base, etag)
}

func (s *Server) followModule(c *call, id pipeline.RunID, module string, from wire.LogPosition, in wire.FollowRequest) error {
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		m, p, err := wire.ParsePosition(last)
		if err != nil {
			return err
		}
		if m != module {
			return invalid("Last-Event-ID %.80q: it belongs to module %s", last, m)
		}
		from = p
	}
	in.Modules, in.Follow = []string{module}, true
	if from.Attempt > 0 {
		in.Positions = map[string]wire.LogPosition{module: from}
	} else if from.Offset > 0 {
		return invalid("offset=%d: with follow it needs an attempt too", from.Offset)
	}
	return s.follow(c, id, in)
}

// logReader makes what Backend.Log gives seekable, by opening it again. The
// attempt is settled by the first opening, so that a body has bytes of one
// attempt only.
type logReader struct {
	ctx     context.Context // of the request that the reader lives in
	logs    Logs
	id      pipeline.RunID
	module  string
	attempt int
	info    LogInfo
	r       io.ReadCloser
	// at is where r stands, pos where the next Read should.
	at, pos int64
}

func (l *logReader) open(offset int64) error {
	r, info, err := l.logs.Log(l.ctx, l.id, l.module, l.attempt, offset)
	if err != nil {
		return err
	}
	if l.attempt = info.Attempt; l.info.Attempt == 0 {
		l.info = info
	}
	l.r, l.at, l.pos = r, offset, offset
	return nil
}

// Read reads at pos, up to the size that was found first.
func (l *logReader) Read(p []byte) (int, error) {
	if l.pos >= l.info.Size {
		return 0, io.EOF
	}
	if l.r == nil || l.at != l.pos {
		l.Close()
		if err := l.open(l.pos); err != nil {
			return 0, err
		}
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.info.Size-l.pos)])
	l.at += int64(n)
	l.pos += int64(n)
	if errors.Is(err, io.EOF) && l.pos < l.info.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close closes what is open.
func (l *logReader) Close() {
	if l.r != nil {
		_ = l.r.Close() // it was only read
		l.r = nil
	}
}

func (l *logReader) seek(pos int64) { l.pos = pos }

// section is the part of a log from base on.
type section struct {
	r          *logReader
	base, size int64
	pos        int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.pos >= s.size {
		return 0, io.EOF
	}
	s.r.seek(s.base + s.pos)
	n, err := s.r.Read(p)
	s.pos += int64(n)
	return n, err
}

// Seek moves within the section.
func (s *section) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek in a log: before its beginning")
	}
	s.pos = offset
	return offset, nil
}
