package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Logs is what the API needs of a node to read the output of modules. Its
// calls need the replicated state; the bytes come from whichever node has them.
type Logs interface {
	// Follow sends the logs of a run. It returns after the RunEnd event, when send
	// fails, or when ctx ends. send is called from one goroutine at a time.
	Follow(ctx context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error
	// Log opens the output of one attempt (0: the newest) at an offset. It reads
	// what is there at the time of the call and does not wait for more.
	Log(ctx context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, LogInfo, error)
	// LineEnds gives how many lines end in each pipeline.LogChunk of an output but the
	// last; nil if that is not known without reading it.
	LineEnds(ctx context.Context, id pipeline.RunID, module string, attempt int) ([]int64, error)
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

type logsHandler struct {
	logs Logs
	// keepAlive is the time between comments on a silent stream.
	keepAlive time.Duration
	indexes   *lineIndexes
}

// logParameters are those of the two calls for the output of one module.
var logParameters = []string{"module", "attempt", "offset", "tail", "follow", "lines", "since", "timestamps",
	"line", "count", "search", "case", "regexp", "from", "limit", "meta"}

// routes are the calls for the output of modules.
func (h *logsHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/runs/{id}/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of all modules, as events",
			Query:   []string{"follow", "module", "lines", "since", "timestamps"}, Produces: mediaEvents,
			serve: h.followAll},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of all modules from given positions, as events",
			Body:    OptionalBody, MaxBody: maxPositions, Request: doc[wire.FollowRequest](), Produces: mediaEvents,
			serve: h.followFrom},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/modules/{module}/logs", Role: RoleRead, Where: OnState,
			Long:     true,
			Summary:  "the output of one attempt, or with follow that of the module as events",
			Query:    logParameters,
			Produces: mediaText, serve: h.module},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/modules/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of a module that the query names",
			Query:   logParameters, Produces: mediaText, serve: h.module},
	}
}

// followAll streams the output of all modules, or of those that are named,
// from the beginning.
func (h *logsHandler) followAll(c *call) error {
	q := c.r.URL.Query()
	in := wire.FollowRequest{Modules: q["module"]}
	var err error
	if in.Follow, err = flag(q, "follow"); err != nil {
		return err
	}
	if err := readPart(q, time.Now(), &in); err != nil {
		return err
	}

	return h.follow(c, c.run, in)
}

// followFrom is followAll with positions, up to which the caller has the output.
func (h *logsHandler) followFrom(c *call) error {
	in := wire.FollowRequest{Follow: true}
	if len(c.body) > 0 {
		var err error
		if in, err = document[wire.FollowRequest](c); err != nil {
			return err
		}
	}
	if err := checkPart(&in); err != nil {
		return err
	}

	return h.follow(c, c.run, in)
}

// logQuery is what the query of a module's log says.
type logQuery struct {
	attempt        int
	offset, tail   int64
	limit          int64 // of bytes; 0 is none
	hasTail        bool
	hasOffset      bool
	follow, ranged bool
	part           wire.FollowRequest
	lines          lineQuery
}

func readLogQuery(r *http.Request) (l logQuery, err error) {
	q := r.URL.Query()
	attempt, err := count(q, "attempt", 0)
	if err != nil {
		return l, err
	}
	if attempt > 1<<30 {
		return l, invalid("attempt=%d: expected the number of an attempt", attempt)
	}
	offset, err := count(q, "offset", 0)
	if err != nil {
		return l, err
	}
	tail, err := count(q, "tail", 0)
	if err != nil {
		return l, err
	}
	limit, err := count(q, "limit", 0)
	if err != nil {
		return l, err
	}
	if q.Has("limit") && limit == 0 {
		return l, invalid("limit=0: expected a number of bytes from 1")
	}
	if l.follow, err = flag(q, "follow"); err != nil {
		return l, err
	}

	l.limit = int64(limit)
	l.attempt, l.offset, l.tail = int(attempt), int64(offset), int64(min(tail, 1<<62))
	l.hasOffset, l.hasTail, l.ranged = q.Has("offset"), q.Has("tail"), r.Header.Get("Range") != ""
	if l.lines, err = readLineQuery(q); err != nil {
		return l, err
	}
	return l, readPart(q, time.Now(), &l.part)
}

// asText reports whether a part of the output by lines or time is asked for.
func (l *logQuery) asText() bool { return l.part.Lines > 0 || !l.part.Since.IsZero() || l.part.Times }

// module answers with the bytes of one attempt's output, or follows the module.
func (h *logsHandler) module(c *call) error {
	id := c.run
	module, err := c.module()
	if err != nil {
		return err
	}
	q, err := readLogQuery(c.r)
	if err != nil {
		return err
	}

	switch {
	case q.lines.byLine() && (q.follow || q.asText() && !q.lines.times || q.part.Lines > 0 || !q.part.Since.IsZero() || q.hasTail || q.hasOffset || q.ranged):
		return invalid("line, search and meta exclude follow, lines, since, offset, tail and the header Range, search and meta also timestamps")
	case q.lines.byLine():
		return h.lines(c, module, q.attempt, q.lines)
	case q.limit > 0 && (q.follow || q.asText() || q.ranged):
		return invalid("limit excludes follow, lines, since, timestamps and the header Range")
	case q.follow:
		return h.followModule(c, id, module, q)
	case q.asText() && (q.hasTail || q.hasOffset || q.ranged):
		return invalid("lines, since and timestamps exclude offset, tail and the header Range")
	case q.asText():
		return h.moduleText(c, id, module, q)
	case q.hasTail && q.hasOffset, q.ranged && (q.hasTail || q.hasOffset):
		return invalid("offset, tail and the header Range exclude one another")
	}
	return h.moduleBytes(c, id, module, q)
}

// moduleBytes answers with the output of one attempt from an offset, or with
// its last bytes, up to a limit.
func (h *logsHandler) moduleBytes(c *call, id pipeline.RunID, module string, q logQuery) error {
	l := &logReader{ctx: c.r.Context(), logs: h.logs, id: id, module: module, attempt: q.attempt}
	defer l.Close()
	if err := l.open(q.offset); err != nil {
		return err
	}

	base := q.offset
	if q.hasTail {
		base = max(0, l.info.Size-q.tail)
	}
	if base > l.info.Size {
		return withStatus(http.StatusRequestedRangeNotSatisfiable, pipeline.Invalid,
			"offset=%d: attempt %d has %d bytes", base, l.info.Attempt, l.info.Size)
	}

	header := c.w.Header()
	header.Set("Content-Type", mediaText)
	header.Set(wire.HeaderAttempt, strconv.Itoa(l.info.Attempt))
	header.Set(wire.HeaderSize, strconv.FormatInt(l.info.Size, 10))
	header.Set(wire.HeaderFinal, strconv.FormatBool(l.info.Final))
	header.Set(wire.HeaderOffset, strconv.FormatInt(base, 10))

	size := l.info.Size - base
	if q.limit > 0 {
		size = min(size, q.limit)
	}
	etag := pipeline.Digest("")
	if size == l.info.Size && l.info.Final {
		etag = l.info.Digest
	}
	return c.serveContent(&section{r: l, base: base, size: size}, size, etag)
}

func (h *logsHandler) followModule(c *call, id pipeline.RunID, module string, q logQuery) error {
	from := wire.LogPosition{Attempt: q.attempt, Offset: q.offset}

	// A browser's EventSource sends it by itself when it reconnects.
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

	in := q.part
	in.Modules, in.Follow = []string{module}, true
	switch {
	case from.Attempt > 0:
		in.Positions = map[string]wire.LogPosition{module: from}
	case from.Offset > 0:
		return invalid("offset=%d: with follow it requires an attempt", from.Offset)
	}
	return h.follow(c, id, in)
}
