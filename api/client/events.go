package client

import (
	"context"
	"encoding/json"
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
	// Run, in any form, Node and Types select; "" and none take all.
	Run   string
	Node  string
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
	if o.Node != "" {
		q.Set("node", o.Node)
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
	if err := events.calls.meet(ctx); err != nil {
		return err
	}

	s := &stream{calls: events.calls, silence: streamSilence}
	s.request = func() (*request, error) {
		q := url.Values{"topic": {wire.EventEvents}, "since": {strconv.FormatUint(since, 10)}}
		return &request{method: http.MethodGet, path: "/api/v1/stream", query: q}, nil
	}
	s.take = func(ev event) (bool, error) {
		index, err := takeEvents(ev, since, fn)
		if index > since {
			since = index
			s.given++
		}
		return false, err
	}
	return s.follow(ctx)
}

// streamSilence is how long a stream of events may be silent before its node counts as
// gone: nodes beat each second.
const streamSilence = 3500 * time.Millisecond

// takeEvents gives the events of one message to fn that happened after the index since,
// and the index after them.
func takeEvents(ev event, since uint64, fn func(wire.StreamHappened) error) (uint64, error) {
	if ev.kind != wire.EventEvents {
		return since, nil
	}

	var e wire.StreamHappened
	if err := json.Unmarshal(ev.data, &e); err != nil {
		return since, pipeline.Errorf(pipeline.Unavailable, "read an event: %w", err)
	}
	if e.Index <= since {
		return since, nil // given before
	}
	if err := fn(e); err != nil {
		return since, &stopError{err}
	}
	return e.Index, nil
}
