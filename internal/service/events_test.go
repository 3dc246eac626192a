package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func eventTexts(list []wire.Event) []string {
	out := []string{}
	for i := range list {
		out = append(out, list[i].Text)
	}
	return out
}

func TestFeeds_Events(t *testing.T) {
	r := newRig(t)
	r.cluster.raft.ClusterID = "c1"
	one, two := r.submit(two), r.submit(two)
	a := r.assign(one.ID, "a", "n1", nil)
	r.finish(a, pipeline.Outcome{State: pipeline.AttemptLost, Reason: "worker n1 was lost"}, pipeline.ModuleWaiting)
	index := r.store.Index()
	feeds := r.feeds()

	ask := func(what string, q api.EventQuery, want string) wire.EventList {
		t.Helper()
		got, err := feeds.Events(t.Context(), q)
		if text := strings.Join(eventTexts(got.Events), "; "); err != nil || text != want {
			t.Errorf("%s: %v\n got %s\nwant %s", what, err, text, want)
		}
		return got
	}
	lostText := "p 1: a was lost on n1, attempt 1: worker n1 was lost; it runs again"
	all := "p 1 was submitted by sam; p 2 was submitted by sam; p 1 started; " + lostText
	got := ask("from the beginning", api.EventQuery{Limit: 100}, all)
	if got.Index != index {
		t.Errorf("index %d, the state has %d", got.Index, index)
	}
	first := got.Events[0]
	want := wire.Event{ID: fmt.Sprintf("c1-%d-0", first.Index), Index: first.Index, Type: "dev.cdevents.pipelinerun.queued.0.3.0", Name: "run.queued",
		Time: first.Time, Text: "p 1 was submitted by sam", Run: one.ID, Number: 1, Pipeline: "p", Actor: "sam"}
	if first != want || first.Time.IsZero() {
		t.Errorf("got %+v\nwant %+v", first, want)
	}

	got = ask("a page", api.EventQuery{Limit: 2}, "p 1 was submitted by sam; p 2 was submitted by sam")
	ask("the next page", api.EventQuery{Since: got.Index, Limit: 2}, "p 1 started; "+lostText)
	ask("the newest", api.EventQuery{Newest: true, Limit: 2}, "p 1 started; "+lostText)
	ask("of a run", api.EventQuery{Limit: 100, Run: two.ID}, "p 2 was submitted by sam")
	ask("of a node", api.EventQuery{Limit: 100, Node: "n1"}, lostText)
	ask("of another node", api.EventQuery{Limit: 100, Node: "n"}, "")
	for _, name := range []string{"attempt.finished", "attempt", "dev.cdevents.taskrun.finished", "dev.cdevents.taskrun.finished.0.3.0"} {
		ask("of type "+name, api.EventQuery{Newest: true, Limit: 100, Types: []string{"leader", name}}, lostText)
	}
	ask("none", api.EventQuery{Since: index, Limit: 100}, "")
}

func TestFeeds_Events_wait(t *testing.T) {
	outsideBubble(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		one := r.submit(two)
		index := r.store.Index()
		feeds := r.feeds()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		type answer struct {
			list wire.EventList
			err  error
		}
		got := make(chan answer, 1)
		ask := func(q api.EventQuery) {
			go func() { // ends with ctx
				list, err := feeds.Events(ctx, q)
				got <- answer{list, err}
			}()
			elapse(time.Second)
		}
		want := func(what, text string) {
			t.Helper()
			elapse(time.Second)
			select {
			case a := <-got:
				if s := strings.Join(eventTexts(a.list.Events), "; "); a.err != nil || s != text || a.list.Index != r.store.Index() {
					t.Errorf("%s: %q at %d, %v; the state is at %d", what, s, a.list.Index, a.err, r.store.Index())
				}
			default:
				t.Errorf("%s: no answer", what)
			}
		}

		ask(api.EventQuery{Since: index, Limit: 10, Wait: time.Minute, Types: []string{"run.started"}})
		r.submit(two) // not what is waited for
		elapse(time.Second)
		if len(got) > 0 {
			t.Error("answered before there was an event")
		}
		r.assign(one.ID, "a", "n1", nil)
		want("an event", "p 1 started")

		ask(api.EventQuery{Since: r.store.Index(), Limit: 10, Wait: 5 * time.Second})
		elapse(4 * time.Second)
		want("nothing in time", "")

		// A node that is behind waits until it has the index.
		ask(api.EventQuery{Since: r.store.Index() + 1, Limit: 10, Wait: time.Minute})
		r.submit(two)
		r.submit(two)
		want("a node that was behind", "p 4 was submitted by sam")

		ask(api.EventQuery{Since: r.store.Index(), Limit: 10, Wait: time.Minute})
		cancel()
		if a := <-got; !errors.Is(a.err, context.Canceled) {
			t.Errorf("after the caller is gone: %v", a.err)
		}
		_, err := feeds.Events(t.Context(), api.EventQuery{Since: r.store.Index() + 5, Limit: 10})
		wantKind(t, err, pipeline.Unavailable, "behind")
	})
}

func TestFeeds_Feed_events(t *testing.T) {
	outsideBubble(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made := r.submit(two)
		v := r.watch(t.Context(), api.FeedRequest{Events: true})
		expect := func(what, want string) {
			t.Helper()
			elapse(time.Second)
			if got := v.take(); got != want {
				t.Errorf("%s:\n got %s\nwant %s", what, got, want)
			}
		}
		expect("the newest", "node one led by one; events reset=true [p 1 was submitted by sam]")
		r.start(r.assign(made.ID, "a", "n1", nil))
		r.submit(two)
		expect("what follows", "events reset=false [p 1 started p 2 was submitted by sam]")
		v.end(t)

		// Another viewer continues there, and misses nothing.
		r.submit(two)
		v = r.watch(t.Context(), api.FeedRequest{Events: true, Since: v.index})
		expect("continued", "node one led by one; events reset=false [p 3 was submitted by sam]")
		v.end(t)
	})
}
