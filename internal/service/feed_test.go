package service_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// viewer collects what a feed sends.
type viewer struct {
	mu     sync.Mutex // guards events and index
	events []string
	index  uint64
	stop   context.CancelFunc
	ended  chan error
}

// watch follows a feed until the test ends it.
func (r *rig) watch(ctx context.Context, in api.FeedRequest) *viewer {
	feeds := r.feeds()
	ctx, stop := context.WithCancel(ctx)
	v := &viewer{stop: stop, ended: make(chan error, 1)}
	go func() { // ends with ctx
		v.ended <- feeds.Feed(ctx, in, func(index uint64, kind string, doc any) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.index = index
			v.events = append(v.events, describe(kind, doc))
			return nil
		})
	}()
	return v
}

// feeds makes what serves viewers.
func (r *rig) feeds() *service.Feeds {
	cfg := service.ClusterConfig{Self: "n1", Name: "one", State: r.state, Members: r.cluster, Keys: r.keys, Load: func() int { return 0 },
		BlobUse: func() *wire.BlobUse { return nil }, Leaving: func() (bool, string) { return false, "" }, Troubles: func() []string { return nil }}
	return service.NewFeeds(service.FeedsConfig{State: r.state, Runs: r.runs, Cluster: service.NewCluster(cfg), Peers: r.peers})
}

// take gives what came since the last call.
func (v *viewer) take() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := strings.Join(v.events, "; ")
	v.events = nil
	return out
}

func describe(kind string, doc any) string {
	if shared, ok := doc.(*api.SharedDoc); ok {
		doc = shared.Doc
	}
	switch d := doc.(type) {
	case wire.StreamNode:
		return fmt.Sprint(kind, " ", d.Node, " led by ", d.Leader)
	case *wire.StreamRuns:
		var list []string
		for _, r := range d.Runs {
			list = append(list, fmt.Sprint(r.Number, " ", r.State))
		}
		return fmt.Sprintf("%s reset=%t %v removed=%d", kind, d.Reset, list, len(d.Removed))
	case wire.StreamRun:
		var list []string
		for _, m := range d.Modules {
			list = append(list, fmt.Sprint(m.Name, " ", m.State))
			if m.DependsOn != nil {
				list = append(list, "with dependencies")
			}
		}
		return fmt.Sprintf("%s reset=%t gone=%t %s %v %v", kind, d.Reset, d.Gone, d.Run.State, list, d.Waiting)
	case *wire.StreamHappened:
		return fmt.Sprintf("%s reset=%t %v", kind, d.Reset, eventTexts(d.Events))
	case wire.StreamCluster:
		return fmt.Sprint(kind, " of ", len(d.Members.Members))
	}
	return fmt.Sprintf("%s %T", kind, doc)
}

// end ends a feed and waits for it.
func (v *viewer) end(t *testing.T) {
	v.stop()
	if err := <-v.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the feed ended with %v", err)
	}
}

// The encoder of definitions lives longer than a test, so it must not be made in the
// bubble of one.
func outsideBubble(t *testing.T) { newRig(t).submit(two) }

func TestFeeds_Feed(t *testing.T) {
	outsideBubble(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.planner.wait(map[string]string{"a": "no worker"})
		made := r.submit(two)
		attempt := r.assign(made.ID, "a", "n1", nil)
		r.start(attempt)
		v := r.watch(t.Context(), api.FeedRequest{Runs: true, Cluster: true, Run: []pipeline.RunID{made.ID, "nope"}})
		expect := func(what string, d time.Duration, want string) {
			t.Helper()
			elapse(d)
			if got := v.take(); got != want {
				t.Errorf("%s:\n got %s\nwant %s", what, got, want)
			}
		}
		expect("first everything", 100*time.Millisecond, "node one led by one; runs reset=true [1 running] removed=0; "+
			"run reset=true gone=false running [a running b waiting] map[a:no worker]; run reset=false gone=true  [] map[]; cluster of 1")
		expect("then nothing", 3450*time.Millisecond, "")

		// Many changes are one update, and updates come four times a second.
		r.planner.wait(map[string]string{})
		r.finish(attempt, pipeline.Outcome{State: pipeline.AttemptSucceeded}, pipeline.ModuleSucceeded)
		expect("a change is seen at once", 10*time.Millisecond, "runs reset=false [1 running] removed=0; run reset=false gone=false running [a succeeded] map[a:]")
		for range 5 {
			r.submit(two)
			elapse(10 * time.Millisecond)
		}
		expect("more is collected", 0, "")
		expect("and sent together", 250*time.Millisecond, "runs reset=false [2 waiting 3 waiting 4 waiting 5 waiting 6 waiting] removed=0")

		// Why modules wait is compared without a change of the state, and sent once.
		r.planner.wait(map[string]string{"b": "lock x"})
		expect("a reason", 1500*time.Millisecond, "run reset=false gone=false running [] map[b:lock x]")
		expect("the same reason", 3*time.Second, "")

		r.succeed(made.ID, "b")
		r.endRun(made.ID, pipeline.RunSucceeded)
		elapse(time.Second)
		if got := v.take(); !strings.Contains(got, "[b succeeded]") || !strings.Contains(got, "runs reset=false [1 succeeded]") {
			t.Errorf("the end: %s", got)
		}
		r.apply(&fsm.Command{Forget: &fsm.Forget{Runs: []pipeline.RunID{made.ID}}})
		expect("removed", time.Second, "runs reset=false [] removed=1; run reset=false gone=true  [] map[]")
		if v.index != r.store.Index() {
			t.Errorf("at index %d, the state at %d", v.index, r.store.Index())
		}

		// Another viewer continues from where this one stopped, and misses nothing.
		v.end(t)
		r.submit(two)
		v = r.watch(t.Context(), api.FeedRequest{Runs: true, Since: v.index})
		expect("continued", 100*time.Millisecond, "node one led by one; runs reset=false [7 waiting] removed=0")
		v.end(t)
	})
}

// Viewers who know the same get the same documents, which are made once, whenever they
// came; one who knows less gets more.
func TestFeeds_Feed_shared(t *testing.T) {
	outsideBubble(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.planner.wait(map[string]string{"b": "no worker"})
		made := r.submit(two)
		feeds := r.feeds()
		ctx, stop := context.WithCancel(t.Context())
		const n = 3
		var mu sync.Mutex // guards got
		var got [n][]any
		ended := make(chan error, n)
		for i := range n {
			go func() { // ends with ctx
				ended <- feeds.Feed(ctx, api.FeedRequest{Runs: true, Cluster: true, Events: true, Run: []pipeline.RunID{made.ID}}, func(_ uint64, kind string, doc any) error {
					mu.Lock()
					defer mu.Unlock()
					if kind != wire.EventNode {
						got[i] = append(got[i], doc)
					}
					return nil
				})
			}()
			elapse(170 * time.Millisecond)
		}
		elapse(time.Second)
		for i := range got {
			if len(got[i]) != 4 || got[i][0].(*api.SharedDoc) == nil {
				t.Errorf("viewer %d got %v at first", i, got[i])
			}
			got[i] = nil
		}

		r.succeed(made.ID, "a")
		elapse(time.Second)
		r.succeed(made.ID, "b")
		r.endRun(made.ID, pipeline.RunSucceeded)
		elapse(2 * time.Second)
		for i := range got {
			if len(got[i]) < 5 || fmt.Sprint(got[i]) != fmt.Sprint(got[0]) { // addresses
				t.Errorf("viewer %d got %v, the first one %v", i, got[i], got[0])
			}
		}
		stop()
		for range n {
			<-ended
		}
	})
}

// A node that is behind the one that was left waits, and gives up.
func TestFeeds_Feed_behind(t *testing.T) {
	outsideBubble(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made := r.submit(two)
		v := r.watch(t.Context(), api.FeedRequest{Runs: true, Since: r.store.Index() + 1})
		elapse(time.Second)
		if got := v.take(); got != "" {
			t.Errorf("sent from behind: %s", got)
		}
		r.succeed(made.ID, "a")
		elapse(time.Second)
		v.end(t)

		v = r.watch(t.Context(), api.FeedRequest{Runs: true, Since: 1 << 40})
		elapse(11 * time.Second)
		wantKind(t, <-v.ended, pipeline.Unavailable)
		v.stop()
	})
}

// A follower asks the leader why modules wait, once for all viewers.
func TestFeeds_Feed_follower(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	mux := http.NewServeMux()
	mux.Handle("POST /peer/waiting", peer.Handle(func(_ context.Context, id pipeline.RunID) (map[string]string, error) {
		return map[string]string{"a": "no worker for " + string(id)[:4]}, nil
	}))
	r.follow(mux)
	defer r.dialer.server.Close()

	got := make(chan string, 100)
	cfg := service.ClusterConfig{Self: "n1", Name: "one", State: r.state, Members: r.cluster, Keys: r.keys}
	feeds := service.NewFeeds(service.FeedsConfig{State: r.state, Runs: r.runs, Cluster: service.NewCluster(cfg), Peers: r.peers})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { // ends with ctx
		ended <- feeds.Feed(ctx, api.FeedRequest{Run: []pipeline.RunID{made.ID}}, func(_ uint64, kind string, doc any) error {
			got <- describe(kind, doc)
			return nil
		})
	}()
	if node := <-got; node != "node one led by two" {
		t.Errorf("got %s", node)
	}
	if run := <-got; !strings.Contains(run, "map[a:no worker for "+string(made.ID)[:4]+"]") {
		t.Errorf("got %s", run)
	}
	stop()
	<-ended
}

// A stream may end between any two events. The index from which the viewer continues
// must leave out nothing that has not come.
func TestFeeds_Feed_cut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		made := r.submit(two)
		cut := errors.New("cut")
		for events := 1; ; events++ {
			var since uint64
			var got []string
			err := r.feeds().Feed(t.Context(), api.FeedRequest{Runs: true, Cluster: true, Run: []pipeline.RunID{made.ID}}, func(index uint64, kind string, _ any) error {
				since, got = index, append(got, kind)
				if len(got) == events {
					return cut
				}
				return nil
			})
			if !errors.Is(err, cut) {
				t.Fatal(err)
			}
			if got[events-1] == wire.EventCluster { // all has come
				if since != r.store.Index() {
					t.Errorf("after %v: %d, want the state's index %d", got, since, r.store.Index())
				}
				return
			}
			if since != 0 {
				t.Errorf("after %v: the viewer would continue from %d", got, since)
			}
		}
	})
}
