package service

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Events lists events. If there are none it waits for one.
func (f *Feeds) Events(ctx context.Context, q api.EventQuery) (wire.EventList, error) {
	switch {
	case q.Since > 0: // the caller may come from a node that was ahead
		wait, cancel := context.WithTimeout(ctx, feedCatchUp)
		err := f.cfg.State.WaitIndex(wait, q.Since)
		cancel()
		if err != nil {
			return wire.EventList{}, err
		}
	case q.Wait == 0:
		f.cfg.State.Fresh(ctx) // what was acknowledged before the call, if a leader answers
	}

	over := time.NewTimer(q.Wait)
	defer over.Stop()
	for {
		advanced := f.cfg.State.Advanced() // before the read, so that no event is missed
		out, err := f.events(&q)
		if err != nil || len(out.Events) > 0 || q.Wait == 0 {
			return out, err
		}
		q.Since, q.Newest = out.Index, false // what was looked at is not looked at again

		select {
		case <-over.C:
			return out, nil
		case <-ctx.Done():
			return out, context.Cause(ctx)
		case <-advanced:
		}
		select { // many entries come together
		case <-over.C:
			return out, nil
		case <-ctx.Done():
			return out, context.Cause(ctx)
		case <-time.After(eventPause):
		}
	}
}

// eventPause is the time for which events are collected before who waits for them gets
// them.
const eventPause = 50 * time.Millisecond

// events reads the events that a query selects.
func (f *Feeds) events(q *api.EventQuery) (out wire.EventList, err error) {
	err = f.cfg.State.View(func(v *fsm.View) error {
		out.Events, out.Index, out.DeletedThrough = eventsIn(v, f.cfg.Cluster.ID(), q)
		return nil
	})
	return out, err
}

// eventsIn gives the events that a query selects, oldest first, and the index up to
// which it looked. The events of an entry stay together.
func eventsIn(v *fsm.View, cluster string, q *api.EventQuery) (out []wire.Event, index, deleted uint64) {
	out = []wire.Event{}
	index = v.Index()
	if q.Newest {
		var entries [][]wire.Event
		n := 0
		v.NewestEvents(func(list []pipeline.Event) bool {
			some := selected(cluster, q, list)
			entries = append(entries, some)
			n += len(some)
			return n < q.Limit
		})
		for _, some := range slices.Backward(entries) {
			out = append(out, some...)
		}
		return out, index, v.EventsDeleted()
	}

	v.Events(q.Since, func(list []pipeline.Event) bool {
		out = append(out, selected(cluster, q, list)...)
		if len(out) >= q.Limit {
			index = list[0].Index // more may follow
			return false
		}
		return true
	})
	return out, index, v.EventsDeleted()
}

// selected gives those of an entry's events that a query selects.
func selected(cluster string, q *api.EventQuery, list []pipeline.Event) (out []wire.Event) {
	for i := range list {
		if q.Selects(&list[i]) {
			out = append(out, wire.EventOf(cluster, &list[i]))
		}
	}
	return out
}

// happened gives the events after an index and up to another one; nil if there are none.
func (f *Feeds) happened(view *fsm.View, since, to uint64) *wire.StreamHappened {
	q := api.EventQuery{Since: since, Limit: feedRuns}
	out := &wire.StreamHappened{Index: to}
	out.Reset = since == 0 || view.EventsDeleted() > since
	if q.Newest = out.Reset; !q.Newest {
		q.Limit = 1 << 30 // all: none may be missed
	}
	out.Events, _, _ = eventsIn(view, f.cfg.Cluster.ID(), &q)
	out.Events = slices.DeleteFunc(out.Events, func(e wire.Event) bool { return e.Index > to }) // the next look has them
	if len(out.Events) == 0 && !out.Reset {
		return nil
	}
	return out
}
