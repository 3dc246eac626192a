package runlog

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// progress is how far one module's output was sent.
type progress struct {
	// busy is set while a sender works on the module, guarded by follower.mu. The
	// other fields belong to the sender meanwhile.
	busy bool

	wire.LogPosition
	// begun is set once the offset in the first attempt is decided.
	begun bool
	times times
}

// times is what is known of the times of one attempt's output.
type times struct {
	// attempt is the attempt's number.
	attempt int
	// record is what pipeline.LogMarks made, whole is set if it will not grow.
	record []byte
	whole  bool
	// dates is the record, decoded.
	dates pipeline.LogTimes
}

// sender sends the output of one attempt from its module's progress on. One
// goroutine uses it.
type sender struct {
	follower *follower
	module   string
	progress *progress
	attempt  pipeline.Attempt

	cut cutter
	// err is the error of the caller's send function, which ends the follower.
	err error
}

// run sends what there is of the attempt's output. An error ends the follower; a
// worker or blob that cannot be read does not.
func (s *sender) run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil && !s.attempt.State.Final() {
		// The worker has not started it yet, or died: the next round asks again.
		s.progress.Ended = !s.follower.in.Follow
		s.breathe(ctx)
		return nil
	}
	s.progress.begun = true

	if s.attempt.State.Final() {
		return s.sendFinal(ctx)
	}
	return s.sendLive(ctx)
}

// breathe waits before the next round of a follower, so that a worker is not
// asked in a tight loop.
func (s *sender) breathe(ctx context.Context) {
	if s.follower.in.Follow {
		pause(ctx, pollEvery)
	}
}

// sendLive sends the output of an attempt that runs, as its worker has it.
func (s *sender) sendLive(ctx context.Context) error {
	in := &s.follower.in
	id := pipeline.AttemptID{Run: s.follower.id, Module: s.module, Attempt: s.attempt.Number}

	// An error means that the worker forgot the attempt or died. The state will say
	// what became of it, and the next round reads on from the same byte.
	_ = s.follower.logs.source.tail(ctx, s.attempt.Worker, id, tailOptions{offset: s.progress.Offset, follow: in.Follow},
		func(b []byte) error {
			if in.Times {
				_ = s.begin(ctx) // if it fails the last known time counts
			}
			return s.send(s.cut.add(b))
		})
	if s.err == nil {
		_ = s.send(s.cut.rest()) // sets s.err
	}

	if !in.Follow {
		s.progress.Ended = true
	} else if s.err == nil {
		s.breathe(ctx)
	}
	return s.err
}

// sendFinal sends the rest of a finished attempt's log, then its End. If the log
// cannot be read a line says so in its place: the follower continues.
func (s *sender) sendFinal(ctx context.Context) error {
	if err := s.sendLog(ctx); err != nil {
		if s.err != nil || ctx.Err() != nil {
			return err
		}

		note := fmt.Sprintf("[the rest of this output cannot be read: %v]\n", err)
		if err := s.follower.emit(s.event(wire.LogEvent{Text: note})); err != nil {
			return err
		}
	}

	s.progress.Ended = true
	return s.follower.emit(s.event(wire.LogEvent{End: true, State: s.attempt.State}))
}

// sendLog sends the rest of the log of a finished attempt.
func (s *sender) sendLog(ctx context.Context) error {
	a := &s.attempt
	if a.Log == "" || a.LogSize <= s.progress.Offset {
		return nil
	}

	text, err := s.follower.logs.openLog(ctx, a)
	if err != nil {
		return err
	}
	defer text.Close()
	if _, err := text.Seek(s.progress.Offset, io.SeekStart); err != nil {
		return err
	}

	in := io.LimitReader(text, a.LogSize-s.progress.Offset) // counts and times are behind it
	buf := make([]byte, pieceSize)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if err := s.send(s.cut.add(buf[:n])); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return s.send(s.cut.rest())
		case err != nil:
			return err
		}
	}
}

// send sends bytes at the progress, as events of at most pieceSize, and advances
// it.
func (s *sender) send(b []byte) error {
	for len(b) > 0 {
		e, part := s.date(s.event(wire.LogEvent{}), b[:min(len(b), pieceSize)])
		b = b[len(part):]
		e.Text, e.Raw = textOf(part)

		if s.err = s.follower.emit(e); s.err != nil {
			return s.err
		}
		s.progress.Offset += int64(len(part))
	}

	return nil
}

// event completes an event with its place.
func (s *sender) event(e wire.LogEvent) wire.LogEvent {
	e.Module, e.Attempt, e.Offset = s.module, s.attempt.Number, s.progress.Offset
	return e
}

// date gives an event its time, and cuts the output to the part of that time.
func (s *sender) date(e wire.LogEvent, part []byte) (wire.LogEvent, []byte) {
	if !s.follower.in.Times {
		return e, part
	}

	at, end := s.progress.times.dates.At(s.progress.Offset)
	if end >= 0 && int64(len(part)) > end-s.progress.Offset {
		part = part[:end-s.progress.Offset]
	}
	e.Time = at.Truncate(time.Millisecond)
	return e, part
}

// begin decides at which offset of the first attempt to begin, and reads the
// times that are known. If nothing is left to find out it does nothing.
func (s *sender) begin(ctx context.Context) error {
	in, p := &s.follower.in, s.progress
	if p.times.attempt != s.attempt.Number {
		p.times = times{attempt: s.attempt.Number}
	}

	decide := !p.begun && (in.Lines > 0 || !in.Since.IsZero())
	if !decide && (!in.Times || p.times.whole) {
		p.begun = true
		return nil
	}

	lines := 0
	if decide {
		lines = in.Lines
	}
	at, err := s.lookUp(ctx, lines)
	p.times.dates = pipeline.ReadLogTimes(p.times.record, s.attempt.StartedAt)
	if err != nil {
		return err
	}

	if decide {
		p.Offset = max(p.Offset, at.Tail, sinceOffset(in.Since, &s.attempt, p.times.record, at.Size))
	}
	p.begun = true
	return nil
}

// lookUp asks for the size of the output and the offset of its last lines (0:
// not asked for), and completes the record of times.
func (s *sender) lookUp(ctx context.Context, lines int) (at peer.LogPosition, err error) {
	a, t := &s.attempt, &s.progress.times
	if t.whole = a.State.Final(); t.whole {
		at, err = s.follower.logs.finalPosition(ctx, a, lines)
		if len(at.Times) > 0 { // else what the worker reported stays
			t.record = at.Times
		}
		return at, err
	}

	id := pipeline.AttemptID{Run: s.follower.id, Module: s.module, Attempt: a.Number}
	at, err = s.follower.logs.source.position(ctx, a.Worker, peer.LogQuery{ID: id, Lines: lines, TimesFrom: int64(len(t.record))})
	if err == nil {
		t.record = append(t.record, at.Times...)
	}
	return at, err
}

// cutter keeps the first bytes of a character back until the others arrive, so
// that pieces are whole UTF-8 if the output is.
type cutter struct{ kept []byte }

func (c *cutter) add(b []byte) []byte {
	b = append(c.kept, b...)
	c.kept = nil

	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		tail := b[len(b)-i:]
		if !utf8.RuneStart(tail[0]) {
			continue
		}
		if !utf8.FullRune(tail) {
			c.kept = append([]byte(nil), tail...)
			return b[:len(b)-i]
		}
		break
	}
	return b
}

// rest is what was kept back.
func (c *cutter) rest() []byte {
	b := c.kept
	c.kept = nil
	return b
}

// textOf gives output as text, and raw if it is not UTF-8.
func textOf(b []byte) (text string, raw []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}

	return strings.ToValidUTF8(string(b), "\uFFFD"), append([]byte(nil), b...)
}
