package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// happened gives the events of a cluster from an index on, in pieces, as a node does.
func happened(rnd *rand.Rand, last uint64) func(context.Context, api.FeedRequest, func(uint64, string, any) error) error {
	return func(ctx context.Context, in api.FeedRequest, send func(uint64, string, any) error) error {
		if err := send(in.Since, wire.EventNode, wire.StreamNode{Node: "n1"}); err != nil {
			return err
		}
		for from := in.Since; from < last; {
			news := &wire.StreamHappened{Index: min(last, from+1+rnd.Uint64N(5))}
			for i := from + 1; i <= news.Index; i++ {
				news.Events = append(news.Events, wire.Event{Index: i}, wire.Event{Index: i, N: 1})
			}
			if err := send(news.Index, wire.EventEvents, news); err != nil {
				return err
			}
			from = news.Index
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
}

// However the connections break, each event comes once and in order.
func TestEvents_Follow(t *testing.T) {
	const last, first = 60, 3
	errEnough := errors.New("enough")
	cuts := 0
	for seed := range uint64(20) {
		var urls []string
		var cutters []*cutter
		for i := range 3 {
			cut := newCutter(seed*10+uint64(i), 4, 4000)
			cutters = append(cutters, cut)
			b := &apitest.Backend{Name: fmt.Sprintf("n%d", i),
				Feeds:   apitest.Feeds{FeedFunc: happened(rand.New(rand.NewPCG(seed, uint64(i))), last)},
				Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
			}
			urls = append(urls, serve(t, b, cut.wrap).URL)
		}
		c := newClient(t, client.Config{Addresses: urls})
		var got, want []string
		for i := first + 1; i <= last; i++ {
			want = append(want, fmt.Sprintf("%d.0", i), fmt.Sprintf("%d.1", i))
		}
		err := c.Events().Follow(t.Context(), first, func(news wire.StreamHappened) error {
			for _, e := range news.Events {
				got = append(got, fmt.Sprintf("%d.%d", e.Index, e.N))
			}
			if news.Index == last {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) || !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v, got %v", seed, err, got)
		}
		for _, cut := range cutters {
			cut.mu.Lock() // a handler may still be at it
			cuts += cut.cuts
			cut.mu.Unlock()
		}
	}
	if cuts < 20 {
		t.Errorf("only %d connections were cut", cuts)
	}
}

// A node that had nothing to report for long is no node that is away: the stream
// continues at another one.
func TestEvents_Follow_quiet(t *testing.T) {
	const followFor = 50 * time.Millisecond
	connections := 0
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Feeds: apitest.Feeds{FeedFunc: func(ctx context.Context, in api.FeedRequest, send func(uint64, string, any) error) error {
			if connections++; connections > 1 {
				return send(4, wire.EventEvents, &wire.StreamHappened{Index: 4, Events: []wire.Event{{Index: 4}}})
			}
			tick := time.NewTicker(followFor / 10)
			defer tick.Stop()
			for begun := time.Now(); time.Since(begun) < 3*followFor; <-tick.C {
				if err := send(in.Since, wire.EventNode, wire.StreamNode{Node: "n1"}); err != nil {
					return err
				}
			}
			return pipeline.Errorf(pipeline.Unavailable, "the node stops")
		}}}
	c := newClient(t, client.Config{FollowFor: followFor}, serve(t, b, nil))
	errEnough := errors.New("enough")
	err := c.Events().Follow(t.Context(), 3, func(wire.StreamHappened) error { return errEnough })
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v", err)
	}
}

func TestEvents_List(t *testing.T) {
	var got api.EventQuery
	b := &apitest.Backend{Feeds: apitest.Feeds{EventsFunc: func(_ context.Context, q api.EventQuery) (wire.EventList, error) {
		got = q
		return wire.EventList{Index: 5, Events: []wire.Event{{Index: 5}}}, nil
	}}}
	c := newClient(t, client.Config{}, serve(t, b, nil))
	since := uint64(0)
	run := pipeline.RunID("0123456789abcdef0123456789abcdef")
	for _, tc := range []struct {
		in   client.EventOptions
		want string
	}{
		{client.EventOptions{}, "{0 true 100 0s   []}"},
		{client.EventOptions{Since: &since, Limit: 3, Wait: time.Second, Run: string(run), Node: "n1", Types: []string{"run", "leader"}}, "{0 false 3 1s " + string(run) + " n1 [run leader]}"},
	} {
		list, err := c.Events().List(t.Context(), tc.in)
		if err != nil || list.Index != 5 || len(list.Events) != 1 || fmt.Sprint(got) != tc.want {
			t.Errorf("%+v: %v %+v, asked %v, want %s", tc.in, err, list, got, tc.want)
		}
	}
}
