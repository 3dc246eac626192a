package runlog

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// firstAttempt is the number of the attempt with which a follower begins.
func firstAttempt(in *wire.FollowRequest, rec *pipeline.ModuleRecord) int {
	last := max(1, len(rec.Attempts))
	if in.Lines > 0 {
		return last
	}
	if in.Since.IsZero() {
		return 1
	}

	for i := range rec.Attempts {
		if a := &rec.Attempts[i]; !a.State.Final() || !a.FinishedAt.Before(in.Since) {
			return i + 1
		}
	}
	return last
}

// sinceOffset is the first byte of an attempt's output that is recent enough;
// size if none is.
func sinceOffset(since time.Time, a *pipeline.Attempt, record []byte, size int64) int64 {
	if since.IsZero() || a.Worker.External() && len(record) == 0 {
		return 0 // external workers do not report times
	}

	if at := pipeline.ReadLogTimes(record, a.StartedAt).Since(since); at >= 0 {
		return min(at, size)
	}
	return size
}

// finalPosition answers about the log of a finished attempt what its worker
// would answer while it runs: all times, and the offset of the last lines.
func (l *Logs) finalPosition(ctx context.Context, a *pipeline.Attempt, lines int) (out peer.LogPosition, err error) {
	out.Size = a.LogSize
	if a.Log == "" || a.LogSize == 0 {
		return out, nil
	}

	text, err := l.openLog(ctx, a)
	if err != nil {
		return out, err
	}
	defer text.Close()

	if _, err := text.Seek(a.LogSize+pipeline.LogCountsSize(a.LogSize), io.SeekStart); err != nil {
		return out, err
	}
	if out.Times, err = io.ReadAll(io.LimitReader(text, maxLogTimes)); err != nil {
		return out, err
	}

	if lines > 0 {
		out.Tail, err = lastLines(text, a.LogSize, lines)
	}
	return out, err
}

// lastLines finds the offset of the last so many lines of a text. A line break
// at the very end ends a line and starts none.
func lastLines(r io.ReaderAt, size int64, lines int) (int64, error) {
	end := size
	buf := make([]byte, pieceSize)

	for first := true; end > 0; first = false {
		from := max(0, end-int64(len(buf)))
		part := buf[:end-from]
		if _, err := r.ReadAt(part, from); err != nil && err != io.EOF {
			return 0, fmt.Errorf("read output: %w", err)
		}

		i := len(part) - 1
		if first && part[i] == '\n' {
			i--
		}
		for ; i >= 0; i-- {
			if part[i] != '\n' {
				continue
			}
			if lines--; lines == 0 {
				return from + int64(i) + 1, nil
			}
		}
		end = from
	}

	return 0, nil
}
