package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Feeds is what the API needs of a node to report to viewers what changes. It needs the
// replicated state, and reads that of this node.
type Feeds interface {
	// Feed sends what has changed after an index, and then each change, at most a few
	// times a second. It returns when send fails or ctx ends. The index that send gets
	// is the one from which another node continues; the document may be a SharedDoc. send
	// is called from one goroutine.
	Feed(ctx context.Context, in FeedRequest, send func(index uint64, kind string, doc any) error) error
	// Events lists events, oldest first. If there are none it waits for one.
	Events(ctx context.Context, q EventQuery) (wire.EventList, error)
}

// FeedRequest says what a viewer looks at. Since is the index up to which it knows the
// state; 0 is none.
type FeedRequest struct {
	Runs, Cluster, Events bool
	Run                   []pipeline.RunID
	Since                 uint64
}

// maxTopics is how many topics a stream has at most.
const maxTopics = 16

// streamSilence is the time between comments on a stream at most: a viewer takes a
// longer silence for the end of its node.
const streamSilence = time.Second

type streamHandler struct {
	feeds     Feeds
	runs      Runs
	keepAlive time.Duration
}

// routes are the calls that report what changes and what happened.
func (h *streamHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/stream", Role: RoleRead, Where: OnState, Long: true,
			Summary: "what changes of runs and nodes, and what happened, as events",
			Query:   []string{"topic", "since"}, Produces: mediaEvents, serve: h.stream},
		{Method: "GET", Pattern: "/api/v1/events", Role: RoleRead, Where: OnState, Long: true,
			Summary: "what happened, oldest first; with wait, what happens next",
			Query:   []string{"since", "limit", "wait", "run", "type"}, Response: doc[wire.EventList](), serve: h.events},
	}
}

// stream sends what changes of the topics that the query names.
func (h *streamHandler) stream(c *call) error {
	in, err := h.read(c)
	if err != nil {
		return err
	}

	return c.events(min(h.keepAlive, streamSilence), func(ctx context.Context, e *eventStream) error {
		return h.feeds.Feed(ctx, in, func(index uint64, kind string, doc any) error {
			return e.send(strconv.FormatUint(index, 10), kind, doc)
		})
	})
}

func (h *streamHandler) read(c *call) (in FeedRequest, err error) {
	q := c.r.URL.Query()
	if in.Since, err = count(q, "since", 0); err != nil {
		return in, err
	}
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		if in.Since, err = strconv.ParseUint(last, 10, 63); err != nil {
			return in, invalid("Last-Event-ID %.40q: expected the id of an event", last)
		}
	}

	topics := q["topic"]
	if len(topics) == 0 || len(topics) > maxTopics {
		return in, invalid("topic: expected 1 to %d of runs, cluster, events and run:RUN", maxTopics)
	}
	for _, topic := range topics {
		name, run, _ := strings.Cut(topic, ":")
		switch {
		case topic == wire.EventRuns:
			in.Runs = true
		case topic == wire.EventCluster:
			in.Cluster = true
		case topic == wire.EventEvents:
			in.Events = true
		case name == wire.EventRun:
			id, err := findRun(c.r.Context(), h.runs, run, false)
			if err != nil {
				return in, err
			}
			in.Run = append(in.Run, id)
		default:
			return in, invalid("topic=%.80s: expected runs, cluster, events or run:RUN", topic)
		}
	}
	return in, nil
}
