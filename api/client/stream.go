package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// stream is a stream of events that continues at another node when one goes away.
type stream struct {
	calls *caller
	// request asks for what was not given yet.
	request func() (*request, error)
	// silence is how long a node may send nothing before it counts as gone.
	silence time.Duration
	// ends is set if a node ends the stream by closing the connection.
	ends bool
	// take handles an event, and counts in given what it gave to its caller. A *stopError
	// is one of the caller.
	take  func(event) (done bool, err error)
	given int

	// connected is set once any connection was opened; open is how long all were, up to
	// the last line that came.
	connected bool
	open      time.Duration
}

// follow takes events until take is done or fails, or ctx ends, or for FollowFor no node
// continued.
func (s *stream) follow(ctx context.Context) error {
	c := s.calls
	last, waits, idle := time.Now(), newBackoff(2*time.Second), 0
	for {
		given, open := s.given, s.open
		err := s.connect(ctx)
		var stop *stopError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return contextError(ctx)
		case !s.connected || !passing(err):
			return err
		}

		last = last.Add(s.open - open) // a node was there, with nothing to give perhaps
		if s.given > given {
			// It went well until it broke.
			last, idle = time.Now(), 0
			waits.Reset()
		} else if time.Since(last) > c.cfg.FollowFor {
			return err
		}
		if idle++; idle <= c.nodes.len() {
			continue // every node is tried once without a pause
		}

		wait := waits.NextBackOff()
		if c.cfg.OnRetry != nil {
			c.cfg.OnRetry(err, wait)
		}
		if !sleep(ctx, wait) {
			return contextError(ctx)
		}
	}
}

// connect takes events from one node until the end (nil) or until the stream breaks.
func (s *stream) connect(ctx context.Context) error {
	c := s.calls
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rq, err := s.request()
	if err != nil {
		return err
	}
	rq.safe, rq.header = true, http.Header{"Accept": {"text/event-stream"}}
	resp, node, err := c.send(ctx, rq)
	if err != nil {
		return err
	}

	defer resp.Body.Close()
	s.connected = true
	begun := time.Now()
	alive := begun
	defer func() { s.open += alive.Sub(begun) }()
	c.learnSoon(ctx)
	silent := time.AfterFunc(s.silence, func() { cancel(errSlow) })
	defer silent.Stop()
	in := newEvents(resp.Body, func() {
		alive = time.Now()
		silent.Reset(s.silence)
	})
	for {
		ev, err := in.next()
		if err != nil {
			c.nodes.failed(node)
			if s.ends && errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return pipeline.Errorf(pipeline.Unavailable, "follow at %s: %w", node.Host, err)
		}

		silent.Stop() // the caller may take its time
		done, err := s.event(ev)
		silent.Reset(s.silence)
		if err != nil {
			c.nodes.failed(node)
		}
		if err != nil || done {
			return err
		}
	}
}

// event takes an event, or gives the error that a node sent.
func (s *stream) event(ev event) (done bool, err error) {
	switch ev.kind {
	case wire.EventBye:
		return false, errBye
	case wire.EventError:
		var p wire.Problem
		if json.Unmarshal(ev.data, &p) != nil {
			return false, pipeline.Errorf(pipeline.Unavailable, "read an event: %w", io.ErrUnexpectedEOF)
		}
		return false, &pipeline.Error{Kind: pipeline.ParseKind(p.Kind), Message: p.Detail}
	}
	return s.take(ev)
}

// passing reports whether going on elsewhere may help a stream that was under
// way. A run that was there may be news to a node that is behind.
func passing(err error) bool {
	switch pipeline.KindOf(err) {
	case pipeline.Unavailable, pipeline.Unknown, pipeline.NotFound, pipeline.Timeout, pipeline.Internal:
		return true
	}
	return false
}

// stopError is an error of the caller's function.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// errBye is a node that sends its followers elsewhere.
var errBye = &pipeline.Error{Kind: pipeline.Unavailable, Message: "the node stops"}
