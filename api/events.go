package api

import (
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// EventQuery selects events.
type EventQuery struct {
	// Since is the index after which they happened; with Newest the newest Limit events
	// are asked for instead.
	Since  uint64
	Newest bool
	// Limit is how many are asked for, from 1. The events of one index come together.
	Limit int
	// Wait is how long to wait for one.
	Wait time.Duration
	// Run, Node and Types select; "" and none take all. An event is of a node that it
	// names, also as the leader before.
	Run   pipeline.RunID
	Node  string
	Types []string
}

// Selects reports whether an event is asked for.
func (q *EventQuery) Selects(e *pipeline.Event) bool {
	return (q.Run == "" || e.Run == q.Run) && (q.Node == "" || e.Node == q.Node || e.Previous == q.Node) && (len(q.Types) == 0 || slices.ContainsFunc(q.Types, e.Type.Kind().Matches))
}

// maxEventWait bounds the wait for an event.
const maxEventWait = time.Minute

// events answers with events, after a wait if there are none.
func (h *streamHandler) events(c *call) error {
	q := c.r.URL.Query()
	in := EventQuery{Newest: !q.Has("since"), Node: q.Get("node"), Types: q["type"]}
	var err error
	if in.Since, err = count(q, "since", 0); err != nil {
		return err
	}
	if in.Limit, err = listLimit(q, 100, maxList); err != nil {
		return err
	}
	if text := q.Get("wait"); text != "" {
		// A bare number is of seconds.
		if in.Wait, err = time.ParseDuration(text); err != nil {
			in.Wait, err = time.ParseDuration(text + "s")
		}
		if err != nil || in.Wait < 0 {
			return invalid("wait=%.40s: expected a duration such as 30s", text)
		}
		in.Wait = min(in.Wait, maxEventWait)
	}
	for _, t := range in.Types {
		if !slices.ContainsFunc(pipeline.EventKinds, func(k pipeline.EventKind) bool { return k.Matches(t) }) {
			return invalid("type=%.80s: expected a type of events such as run.finished, or its first part such as run", t)
		}
	}
	if run := q.Get("run"); run != "" {
		if in.Run, err = findRun(c.r.Context(), h.runs, run, false); err != nil {
			return err
		}
	}

	out, err := h.feeds.Events(c.r.Context(), in)
	return c.reply(out, err)
}
