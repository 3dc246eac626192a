package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// The media types of answers that are not JSON.
const (
	mediaEvents = "text/event-stream"
	mediaText   = "text/plain; charset=utf-8"
	mediaBytes  = "application/octet-stream"
)

// firstBeat is how long a stream's header is held back at most. Until it is sent
// a failure can still be answered with its status.
const firstBeat = 200 * time.Millisecond

// eventStream writes server-sent events. Events and keep-alive comments come
// from different goroutines; each is written and flushed whole.
type eventStream struct {
	c  *call
	mu sync.Mutex // guards following, and c.w while the stream is under way
	// opened is set once the header was sent; last is the time of the last write,
	// err the first failure.
	opened bool
	last   time.Time
	err    error
	buf    bytes.Buffer
}

func (e *eventStream) openLocked() {
	if e.opened {
		return
	}
	e.opened = true

	h := e.c.w.Header()
	h.Set("Content-Type", mediaEvents)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	e.c.w.WriteHeader(http.StatusOK)
}

// SharedDoc is a document that is sent on several streams, and encoded once.
type SharedDoc struct {
	Doc any

	encode func() ([]byte, error) // what it gives must not be changed
}

// Shared makes a SharedDoc of a document, which must not change any more.
func Shared(doc any) *SharedDoc {
	return &SharedDoc{Doc: doc, encode: sync.OnceValues(func() ([]byte, error) { return json.Marshal(doc) })}
}

// encoded gives the JSON of a document, in one line: it has no raw newlines.
func encoded(v any) ([]byte, error) {
	if shared, ok := v.(*SharedDoc); ok {
		return shared.encode()
	}
	return json.Marshal(v)
}

// send writes one event; id may be empty. After a failed write all others fail.
func (e *eventStream) send(id, kind string, v any) error {
	data, err := encoded(v)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}

	e.mu.Lock()
	defer e.mu.Unlock()

	e.buf.Reset()
	if id != "" {
		e.buf.WriteString("id: ")
		e.buf.WriteString(id)
		e.buf.WriteByte('\n')
	}
	e.buf.WriteString("event: ")
	e.buf.WriteString(kind)
	e.buf.WriteString("\ndata: ")
	e.buf.Write(data)
	e.buf.WriteString("\n\n")
	return e.flushLocked()
}

func (e *eventStream) flushLocked() error {
	if e.err != nil {
		return e.err
	}

	e.openLocked()
	e.last = time.Now()
	if _, err := e.c.w.Write(e.buf.Bytes()); err != nil {
		e.err = pipeline.Errorf(pipeline.Canceled, "write an event: %w", err)
	} else if err := e.c.w.FlushError(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		e.err = pipeline.Errorf(pipeline.Canceled, "write an event: %w", err)
	}
	return e.err
}

// beat writes a comment if the stream was silent for that long.
func (e *eventStream) beat(silent time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && time.Since(e.last) >= silent {
		e.buf.Reset()
		e.buf.WriteString(": keep-alive\n\n")
		return e.flushLocked()
	}
	return e.err
}

// beatEvery beats until stop, which waits for its end. If the caller turns out
// to be gone it ends the stream's context.
func (e *eventStream) beatEvery(every time.Duration, gone context.CancelCauseFunc) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(min(firstBeat, every))
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case <-timer.C:
			}
			if err := e.beat(every / 2); err != nil {
				gone(err)
				return
			}
			timer.Reset(every)
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
	})
}

// follow streams the logs of a run until it has ended, the caller is gone, or
// this node stops.
func (h *logsHandler) follow(c *call, id pipeline.RunID, in wire.FollowRequest) error {
	for _, m := range in.Modules {
		if !wire.ValidModule(m) {
			return badModule(m)
		}
	}
	for m, p := range in.Positions {
		if !wire.ValidModule(m) || !p.Valid() {
			return invalid("positions: %.80q: expected a module's name, with an attempt and an offset from 0", m)
		}
	}

	return c.events(h.keepAlive, func(ctx context.Context, stream *eventStream) error {
		return h.logs.Follow(ctx, id, in, func(e wire.LogEvent) error {
			return stream.send(eventOf(e))
		})
	})
}

// events answers with what send sends, until it returns, the caller is gone, or this
// node stops. The stream is not silent for longer than keepAlive.
func (c *call) events(keepAlive time.Duration, send func(context.Context, *eventStream) error) error {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	stream := &eventStream{c: c}
	stop := stream.beatEvery(keepAlive, cancel)
	defer stop() // after a panic below the writer is gone, and nothing may use it
	err := send(ctx, stream)
	stop()

	stopping := errors.Is(context.Cause(ctx), errStopping)
	switch {
	case err == nil, stream.err != nil:
		return stream.err
	case stopping && stream.opened:
		return stream.send("", wire.EventBye, struct{}{})
	case stopping:
		return errStopping
	case stream.opened && ctx.Err() == nil:
		return stream.send("", wire.EventError, problemOf(err, c.id, c.node))
	}
	return err
}

// eventOf gives an event's id (the position of the next one), its type and data.
func eventOf(e wire.LogEvent) (id, kind string, data any) {
	if e.RunEnd {
		return "", wire.EventRunEnd, e
	}

	id, kind = wire.FormatPosition(e.Module, e.Next()), wire.EventLog
	if e.End {
		kind = wire.EventEnd
	}
	return id, kind, e
}
