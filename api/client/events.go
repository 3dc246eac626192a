package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// EventOptions select events. Without Since the newest ones are meant.
type EventOptions struct {
	Since *uint64
	// Limit is how many are wanted; 0 leaves it to the node.
	Limit int
	// Wait is how long the node waits for one.
	Wait time.Duration
	// Run, in any form, and Types select; "" and none take all.
	Run   string
	Types []string
}

// List lists events, oldest first.
func (events Events) List(ctx context.Context, o EventOptions) (wire.EventList, error) {
	q := url.Values{}
	if o.Since != nil {
		q.Set("since", strconv.FormatUint(*o.Since, 10))
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Wait > 0 {
		q.Set("wait", o.Wait.String())
	}
	if o.Run != "" {
		q.Set("run", o.Run)
	}
	if len(o.Types) > 0 {
		q["type"] = o.Types
	}
	return do[wire.EventList](ctx, events.calls, &request{method: http.MethodGet, path: "/api/v1/events", query: q, safe: true,
		timeout: o.Wait + events.calls.cfg.CallTimeout}, nil)
}

// Follow gives what happens after an index to fn, in order, until fn fails or ctx ends.
// When a node goes away it continues at another one at the same index: no event is given
// twice or left out. Reset says that events after the index were no longer kept. fn is
// called from this goroutine; its error is returned as it is.
func (events Events) Follow(ctx context.Context, since uint64, fn func(wire.StreamHappened) error) error {
	c := events.calls
	if err := c.meet(ctx); err != nil {
		return err
	}

	last, waits := time.Now(), newBackoff(2*time.Second)
	idle := 0
	for {
		before := since
		err := events.stream(ctx, &since, fn)
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return contextError(ctx)
		case !passing(err):
			return err
		}

		if since > before {
			last, idle = time.Now(), 0
			waits.Reset()
		} else if time.Since(last) > c.cfg.FollowFor {
			return err
		}
		if idle++; idle <= c.nodes.len() {
			continue // every node is tried once without a pause
		}
		if !sleep(ctx, waits.NextBackOff()) {
			return contextError(ctx)
		}
	}
}

// streamSilence is how long a stream of events may be silent before its node counts as
// gone: nodes beat each second.
const streamSilence = 3500 * time.Millisecond

// stream follows at one node until the stream breaks.
func (events Events) stream(ctx context.Context, since *uint64, fn func(wire.StreamHappened) error) error {
	c := events.calls
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := url.Values{"topic": {wire.EventEvents}, "since": {strconv.FormatUint(*since, 10)}}
	resp, node, err := c.send(ctx, &request{method: http.MethodGet, path: "/api/v1/stream", query: q, safe: true,
		header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	c.learnSoon(ctx)

	silent := time.AfterFunc(streamSilence, func() { cancel(errSlow) })
	defer silent.Stop()
	in := newEvents(resp.Body, func() { silent.Reset(streamSilence) })
	for {
		ev, err := in.next()
		if err != nil {
			c.nodes.failed(node)
			return pipeline.Errorf(pipeline.Unavailable, "follow events at %s: %w", node.Host, err)
		}
		silent.Stop() // fn may take its time
		err = takeEvents(ev, since, fn)
		silent.Reset(streamSilence)
		if err != nil {
			c.nodes.failed(node)
			return err
		}
	}
}

// takeEvents handles one message of the stream.
func takeEvents(ev event, since *uint64, fn func(wire.StreamHappened) error) error {
	switch ev.kind {
	case wire.EventBye:
		return errBye
	case wire.EventError:
		var p wire.Problem
		if json.Unmarshal(ev.data, &p) != nil {
			return pipeline.Errorf(pipeline.Unavailable, "read an event: %w", io.ErrUnexpectedEOF)
		}
		return &pipeline.Error{Kind: pipeline.ParseKind(p.Kind), Message: p.Detail}
	case wire.EventEvents:
	default:
		return nil
	}

	var e wire.StreamHappened
	if err := json.Unmarshal(ev.data, &e); err != nil {
		return pipeline.Errorf(pipeline.Unavailable, "read an event: %w", err)
	}
	if e.Index <= *since {
		return nil // given before
	}
	if err := fn(e); err != nil {
		return &stopError{err}
	}
	*since = e.Index
	return nil
}
