package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// story is what the modules of a run wrote: by module, one output an attempt.
type story map[string][][]byte

func newStory(rnd *rand.Rand) story {
	s := story{}
	for m := range 1 + rnd.IntN(4) {
		name := fmt.Sprintf("m%d", m)
		if m%2 == 1 {
			name = fmt.Sprintf("m[%d,x]", m)
		}
		for range 1 + rnd.IntN(3) {
			out := make([]byte, rnd.IntN(400))
			for i := range out {
				out[i] = "ab\né\xff\x00\r:"[rnd.IntN(9)] // with parts of characters
			}
			s[name] = append(s[name], out)
		}
	}
	return s
}

// follow tells the story from given positions on, in pieces of random sizes
// and with the modules mixed. overlap makes it tell some bytes again.
func (s story) follow(rnd *rand.Rand, overlap bool) func(context.Context, pipeline.RunID, wire.FollowRequest, func(wire.LogEvent) error) error {
	return func(_ context.Context, _ pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
		at := map[string]wire.LogPosition{}
		live := slices.Sorted(maps.Keys(s))
		for _, m := range live {
			p := in.Positions[m]
			if p.Attempt == 0 {
				p.Attempt = 1
			}
			if overlap && p.Offset > 0 {
				p.Offset -= rnd.Int64N(p.Offset + 1)
				p.Ended = false
			}
			at[m] = p
		}
		for len(live) > 0 {
			i := rnd.IntN(len(live))
			m := live[i]
			p := at[m]
			outs := s[m]
			if p.Ended {
				if p.Attempt == len(outs) {
					live = slices.Delete(live, i, i+1)
					continue
				}
				p = wire.LogPosition{Attempt: p.Attempt + 1}
			}
			rest := outs[p.Attempt-1][p.Offset:]
			piece := rest[:min(len(rest), 1+rnd.IntN(60))]
			e := wire.LogEvent{Module: m, Attempt: p.Attempt, Offset: p.Offset, Text: string(piece)}
			if !utf8.Valid(piece) {
				e.Text, e.Raw = strings.ToValidUTF8(string(piece), "\uFFFD"), piece
			}
			if len(piece) == len(rest) {
				e.End, e.State = true, pipeline.AttemptFailed
				if p.Attempt == len(outs) {
					e.State = pipeline.AttemptSucceeded
				}
			}
			if err := send(e); err != nil {
				return err
			}
			at[m] = e.Next()
		}
		return send(wire.LogEvent{RunEnd: true, Run: pipeline.RunSucceeded})
	}
}

// However the connections break, the follower gets every byte of every attempt
// once, in order, and each end once.
func TestFollowRun_byteExact(t *testing.T) {
	cuts := 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		want := newStory(rnd)
		var urls []string
		var cutters []*cutter
		for i := range 3 {
			cut := newCutter(seed*10+uint64(i), 6, 3000)
			cutters = append(cutters, cut)
			b := &apitest.Backend{Name: fmt.Sprintf("n%d", i),
				Logs:    apitest.Logs{FollowFunc: want.follow(rand.New(rand.NewPCG(seed, uint64(i))), seed%2 == 0)},
				Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
			}
			urls = append(urls, serve(t, b, cut.wrap).URL)
		}
		c := newClient(t, client.Config{Addresses: urls})
		got, ends := map[string][][]byte{}, map[string]int{}
		runEnds := 0
		err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{}, func(e wire.LogEvent) error {
			if e.RunEnd {
				runEnds++
				return nil
			}
			for len(got[e.Module]) < e.Attempt {
				got[e.Module] = append(got[e.Module], []byte{})
			}
			if len(got[e.Module]) != e.Attempt {
				t.Errorf("seed %d: %s/%d came after a later attempt", seed, e.Module, e.Attempt)
			}
			have := &got[e.Module][e.Attempt-1]
			if e.Offset != int64(len(*have)) {
				t.Errorf("seed %d: %s/%d goes on at %d after %d bytes", seed, e.Module, e.Attempt, e.Offset, len(*have))
			}
			*have = append(*have, e.Bytes()...)
			if e.End {
				ends[fmt.Sprint(e.Module, e.Attempt)]++
			}
			return nil
		})
		if err != nil || runEnds != 1 {
			t.Fatalf("seed %d: %v, %d ends", seed, err, runEnds)
		}
		if diff := cmp.Diff(map[string][][]byte(want), got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		for m, outs := range want {
			for i := range outs {
				if n := ends[fmt.Sprint(m, i+1)]; n != 1 {
					t.Errorf("seed %d: %s/%d ended %d times", seed, m, i+1, n)
				}
			}
		}
		c.CloseIdle()
		for _, cut := range cutters {
			cut.mu.Lock()
			cuts += cut.cuts
			cut.mu.Unlock()
		}
	}
	if cuts < 60 {
		t.Errorf("only %d connections were cut", cuts)
	}
}

// One address is enough: the client learns the others before that node dies.
func TestFollowRun_survivesItsNode(t *testing.T) {
	text := strings.Repeat("0123456789", 10)
	half := make(chan struct{})
	second := serve(t, &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(_ context.Context, _ pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
		from := in.Positions["m"].Offset
		if err := send(wire.LogEvent{Module: "m", Attempt: 1, Offset: from, Text: text[from:], End: true}); err != nil {
			return err
		}
		return send(wire.LogEvent{RunEnd: true})
	}}}, nil)
	first := serve(t, &apitest.Backend{
		Logs: apitest.Logs{FollowFunc: func(ctx context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
			if err := send(wire.LogEvent{Module: "m", Attempt: 1, Text: text[:50]}); err != nil {
				return err
			}
			close(half)
			<-ctx.Done()
			return ctx.Err()
		}},
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) {
			return wire.MemberList{Members: []wire.Member{
				{Name: "n2", HTTP: strings.TrimPrefix(second.URL, "http://"), Status: "alive"},
				{Name: "n3", HTTP: "192.0.2.1:8080", Status: "alive"}, // plain, beyond loopback: no token goes there
				{Name: "n4", HTTP: "127.0.0.1:1", Status: "left"},
			}}, nil
		}},
	}, nil)
	c := newClient(t, client.Config{FollowFor: 10 * time.Second, RetryFor: 5 * time.Second}, first)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-half
		first.Listener.Close()
		first.CloseClientConnections()
	}()
	var got strings.Builder
	err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{}, func(e wire.LogEvent) error {
		got.WriteString(e.Text)
		return nil
	})
	if err != nil || got.String() != text {
		t.Errorf("got %q, %v", got.String(), err)
	}
	if diff := cmp.Diff([]string{second.URL, first.URL}, c.Addresses()); diff != "" {
		t.Error(diff)
	}
	<-killed
}

func TestFollowRun_errors(t *testing.T) {
	var calls atomic.Int32
	mode := "none"
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Logs: apitest.Logs{FollowFunc: func(_ context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
			calls.Add(1)
			switch mode {
			case "gap":
				return send(wire.LogEvent{Module: "m", Attempt: 1, Offset: 10, Text: "x"})
			case "none":
				return pipeline.Errorf(pipeline.NotFound, "run r1: there is none")
			}
			return send(wire.LogEvent{Module: "m", Attempt: 1, Text: "x"})
		}}}
	srv := serve(t, b, nil)
	c := newClient(t, client.Config{FollowFor: 200 * time.Millisecond}, srv)
	follow := func(fn func(wire.LogEvent) error) error {
		return c.Runs().Follow(t.Context(), "r1", client.FollowOptions{}, fn)
	}
	if err := follow(nil); pipeline.KindOf(err) != pipeline.NotFound || calls.Load() != 1 {
		t.Errorf("no such run: %v after %d calls", err, calls.Load())
	}
	mode = "gap"
	if err := follow(func(wire.LogEvent) error { t.Error("bytes were given after a gap"); return nil }); err == nil {
		t.Error("a gap went unnoticed")
	}
	mode = "text"
	stop := errors.New("enough")
	if err := follow(func(wire.LogEvent) error { return stop }); err != stop {
		t.Errorf("got %v, want the callback's own error", err)
	}
	if err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{Once: true}, func(wire.LogEvent) error { return nil }); err != nil {
		t.Errorf("once: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Runs().Follow(ctx, "r1", client.FollowOptions{}, func(wire.LogEvent) error { cancel(); return nil }); pipeline.KindOf(err) != pipeline.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// A stream that says nothing, not even that it lives, is given up.
func TestFollowRun_silentNode(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	dead := serve(t, &apitest.Backend{}, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	})
	alive := serve(t, &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(_ context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
		return send(wire.LogEvent{RunEnd: true})
	}}}, nil)
	c := newClient(t, client.Config{StreamIdle: 100 * time.Millisecond, CallTimeout: 300 * time.Millisecond}, dead, alive)
	if err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{}, func(wire.LogEvent) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestWatchRun(t *testing.T) {
	module := func(name string, s pipeline.ModuleState) wire.Module { return wire.Module{Name: name, State: s} }
	answers := []wire.Run{
		{RunSummary: wire.RunSummary{State: pipeline.RunRunning}, Index: 5, Modules: []wire.Module{module("a", "running"), module("b", "waiting")}},
		{RunSummary: wire.RunSummary{State: pipeline.RunRunning}, Index: 5}, // nothing new
		{RunSummary: wire.RunSummary{State: pipeline.RunRunning}, Index: 7, Modules: []wire.Module{module("b", "running"), module("c", "waiting")}},
		{RunSummary: wire.RunSummary{State: pipeline.RunFailed}, Index: 9, Modules: []wire.Module{module("a", "failed")}},
	}
	var calls atomic.Int32
	var asked []string
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Runs: apitest.Runs{RunFunc: func(_ context.Context, _ pipeline.RunID, index uint64, wait time.Duration, since uint64) (wire.Run, error) {
			asked = append(asked, fmt.Sprint(index, wait, since))
			return answers[calls.Add(1)-1], nil
		}}}
	var got []string
	err := newClient(t, client.Config{}, serve(t, b, nil)).Runs().Watch(t.Context(), "r1", func(r wire.Run) error {
		s := string(r.State)
		for _, m := range r.Modules {
			s += " " + m.Name + "=" + string(m.State)
		}
		got = append(got, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"running a=running b=waiting", "running a=running b=running c=waiting", "failed a=failed b=running c=waiting"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0 0s 0", "5 30s 5", "5 30s 5", "7 30s 7"}, asked); diff != "" {
		t.Error(diff)
	}
}

// Where only the last lines are wanted, what comes first may begin anywhere, and
// nothing after it.
func TestFollowRun_lines(t *testing.T) {
	second := int64(3)
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Logs: apitest.Logs{FollowFunc: func(_ context.Context, _ pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
			if in.Lines != 2 || !in.Times {
				t.Errorf("asked for %+v", in)
			}
			for _, e := range []wire.LogEvent{{Module: "m", Attempt: 2, Offset: 10, Text: "x"}, {Module: "m", Attempt: 2, Offset: 11, End: true},
				{Module: "m", Attempt: 3, Offset: second, Text: "y"}, {RunEnd: true}} {
				if err := send(e); err != nil {
					return err
				}
			}
			return nil
		}}}
	c := newClient(t, client.Config{FollowFor: 100 * time.Millisecond}, serve(t, b, nil))
	var got strings.Builder
	take := func(e wire.LogEvent) error { got.WriteString(e.Text); return nil }
	if err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{Lines: 2, Times: true}, take); err == nil || got.String() != "x" {
		t.Errorf("a gap in a later attempt: %q, %v", got.String(), err)
	}
	second = 0
	got.Reset()
	if err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{Lines: 2, Times: true}, take); err != nil || got.String() != "xy" {
		t.Errorf("got %q, %v", got.String(), err)
	}
}
