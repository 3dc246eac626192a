package api

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxLines is how many of the last lines may be asked for.
const maxLines = 1_000_000

// readPart reads which part of an output is asked for, and whether with times.
func readPart(q url.Values, now time.Time, in *wire.FollowRequest) error {
	lines, err := count(q, "lines", 0)
	if err != nil {
		return err
	}
	if q.Has("lines") && lines == 0 || lines > maxLines {
		return invalid("lines=%.40s: expected a number from 1 to %d", q.Get("lines"), maxLines)
	}
	in.Lines = int(lines)

	if text := q.Get("since"); q.Has("since") {
		if in.Since, err = wire.ParseSince(text, now); err != nil {
			return err
		}
	}

	in.Times, err = flag(q, "timestamps")
	return err
}

// checkPart checks the same in a request's body.
func checkPart(in *wire.FollowRequest) error {
	if in.Lines < 0 || in.Lines > maxLines {
		return invalid("lines: %d: expected a number from 1 to %d, or none", in.Lines, maxLines)
	}

	return nil
}

// errEnough ends a stream once everything that was asked for was seen.
var errEnough = errors.New("enough")

// moduleText answers with a part of one attempt's output as text, with times if
// they are asked for; attempt 0 is the newest.
func (h *logsHandler) moduleText(c *call, id pipeline.RunID, module string, q logQuery) error {
	r, info, err := h.logs.Log(c.r.Context(), id, module, q.attempt, 0)
	if err != nil {
		return err
	}
	_ = r.Close() // only its attempt is used

	in := q.part
	in.Modules = []string{module}
	if info.Attempt > 0 {
		in.Positions = map[string]wire.LogPosition{module: {Attempt: info.Attempt}}
	}

	header := c.w.Header()
	header.Set("Content-Type", mediaText)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set(wire.HeaderAttempt, strconv.Itoa(info.Attempt))
	header.Set(wire.HeaderFinal, strconv.FormatBool(info.Final))

	stamper, begun := stamper{times: in.Times}, false
	err = h.logs.Follow(c.r.Context(), id, in, func(e wire.LogEvent) error {
		switch {
		case e.Module != module:
			return nil
		case e.Attempt > info.Attempt:
			return errEnough
		}

		if b := stamper.text(e.Bytes(), e.Time); len(b) > 0 {
			begun = true
			if _, err := c.w.Write(b); err != nil {
				return err
			}
		}
		if e.End {
			return errEnough
		}
		return nil
	})

	if errors.Is(err, errEnough) {
		err = nil
	}
	if err != nil && begun {
		panic(http.ErrAbortHandler) // the caller must see that the answer is cut short
	}
	return err
}

// stamper puts the time before each line.
type stamper struct {
	times  bool
	inLine bool
}

func (w *stamper) text(b []byte, at time.Time) []byte {
	if !w.times {
		return b
	}
	var out []byte
	for line := range bytes.Lines(b) {
		if !w.inLine {
			out = at.UTC().AppendFormat(out, wire.LogTimeLayout)
			out = append(out, ' ')
		}
		out = append(out, line...)
		w.inLine = line[len(line)-1] != '\n'
	}
	return out
}
