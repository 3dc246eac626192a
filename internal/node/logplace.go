package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// maxLogTimes bounds what is read of the times of one output, in bytes: a day
// of steady output needs less than a twentieth.
const maxLogTimes = 4 << 20

// logPlaceHere answers for an attempt of this node.
func (n *Node) logPlaceHere(_ context.Context, in peer.LogQuery) (out peer.LogPlace, err error) {
	path, times, _, ok := n.worker.LogFile(in.ID)
	if !ok {
		return out, pipeline.Errorf(pipeline.NotFound, "attempt %s is not here", in.ID)
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out, nil // nothing yet
	case err != nil:
		return out, fmt.Errorf("open output: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return out, fmt.Errorf("look at output: %w", err)
	}
	out.Size = st.Size()
	if in.Lines > 0 {
		if out.Tail, err = lastLines(f, out.Size, in.Lines); err != nil {
			return out, err
		}
	}
	if in.TimesFrom >= 0 {
		if t, err := os.Open(times); err == nil { // it is not there where all came at once
			defer t.Close()
			out.Times, err = io.ReadAll(io.NewSectionReader(t, in.TimesFrom, maxLogTimes))
			if err != nil {
				return out, fmt.Errorf("read the times of output: %w", err)
			}
		}
	}
	return out, nil
}

// logPlace asks whichever node runs an attempt.
func (n *Node) logPlace(ctx context.Context, worker pipeline.NodeID, in peer.LogQuery) (out peer.LogPlace, err error) {
	switch {
	case worker == n.id:
		return n.logPlaceHere(ctx, in)
	case worker.External():
		return out, pipeline.Errorf(pipeline.NotFound, "the output of an outside worker comes when the module has ended")
	}
	return out, n.peers.Call(ctx, worker, "/peer/log/place", in, &out)
}

// lastLines finds where the last so many lines of a text begin. A line break
// at the very end ends a line and begins none.
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
			if part[i] == '\n' {
				if lines--; lines == 0 {
					return from + int64(i) + 1, nil
				}
			}
		}
		end = from
	}
	return 0, nil
}

// keptTimes reads the times that stand behind the output of an attempt that is
// over.
func keptTimes(text io.ReadSeeker, a *pipeline.Attempt) ([]byte, error) {
	if _, err := text.Seek(a.LogSize, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(text, maxLogTimes))
}

// firstAttempt is the attempt with which to begin.
func (f *follower) firstAttempt(rec *pipeline.ModuleRecord) int {
	last := max(1, len(rec.Attempts))
	if f.in.Lines > 0 {
		return last
	}
	if since := f.in.Since; !since.IsZero() {
		for i := range rec.Attempts {
			if a := &rec.Attempts[i]; !a.State.Final() || !a.FinishedAt.Before(since) {
				return i + 1
			}
		}
		return last
	}
	return 1
}

// begin finds where in the first attempt to begin, and its times.
func (f *follower) begin(ctx context.Context, name string, p *place, a *pipeline.Attempt) error {
	if p.timed != a.Number {
		p.timed, p.times, p.whole = a.Number, nil, false
	}
	wanted := !p.begun && (f.in.Lines > 0 || !f.in.Since.IsZero())
	if !wanted && (!f.in.Times || p.whole) {
		p.begun = true
		return nil
	}
	from := int64(0)
	defer func() { p.dates = pipeline.ReadLogTimes(p.times, a.StartedAt) }()
	if p.whole = a.State.Final(); p.whole {
		if a.Log != "" && a.LogSize > 0 {
			blob, err := f.n.fabric.down.Open(ctx, a.Holders, a.Log)
			if err != nil {
				return err
			}
			defer blob.Close()
			text, err := storage.OpenLog(blob, a.LogSize)
			if err != nil {
				return err
			}
			if p.times, err = keptTimes(text, a); err != nil {
				return err
			}
			if f.in.Lines > 0 && wanted {
				if from, err = lastLines(text, a.LogSize, f.in.Lines); err != nil {
					return err
				}
			}
		}
		if wanted {
			p.Offset = max(p.Offset, from, f.sinceOf(p, a, a.LogSize))
		}
	} else {
		q := peer.LogQuery{ID: pipeline.AttemptID{Run: f.id, Module: name, Attempt: a.Number}, TimesFrom: int64(len(p.times))}
		if wanted {
			q.Lines = f.in.Lines
		}
		at, err := f.n.logPlace(ctx, a.Worker, q)
		if err != nil {
			return err
		}
		p.times = append(p.times, at.Times...)
		if wanted {
			p.Offset = max(p.Offset, at.Tail, f.sinceOf(p, a, at.Size))
		}
	}
	p.begun = true
	return nil
}

// sinceOf is the first byte of an attempt that is recent enough; size where
// none is.
func (f *follower) sinceOf(p *place, a *pipeline.Attempt, size int64) int64 {
	if f.in.Since.IsZero() || a.Worker.External() && len(p.times) == 0 {
		return 0 // an outside worker does not tell the times
	}
	if at := pipeline.ReadLogTimes(p.times, a.StartedAt).Since(f.in.Since); at >= 0 {
		return min(at, size)
	}
	return size
}

// dated cuts a piece of output into parts of the same time and gives each its
// time.
func (f *follower) dated(e wire.LogEvent, p *place, part []byte) (wire.LogEvent, []byte) {
	if f.in.Times {
		at, end := p.dates.At(p.Offset)
		if end >= 0 && int64(len(part)) > end-p.Offset {
			part = part[:end-p.Offset]
		}
		e.Time = at.Truncate(time.Millisecond)
	}
	return e, part
}
