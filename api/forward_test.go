package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// pair is a follower and the leader that it knows.
func pair(tb testing.TB, follower, leader *apitest.Backend) (f, l *node) {
	tb.Helper()
	follower.Name, leader.Name = "follower", "leader"
	follower.Router.Follower.Store(true)
	l = newNode(tb, leader)
	if follower.Router.LeaderFunc == nil {
		follower.Router.LeaderFunc = peerTo(tb, "follower", func() string { return l.peer.URL })
	}
	return newNode(tb, follower), l
}

func TestForward_toLeader(t *testing.T) {
	var by api.Subject
	var source string
	f, _ := pair(t, &apitest.Backend{}, &apitest.Backend{
		Runs: apitest.Runs{EstimateFunc: func(_ context.Context, s api.Subject, in wire.SubmitRequest) (wire.Estimate, error) {
			by, source = s, in.Source
			return wire.Estimate{Seconds: 7}, nil
		},
			RunsFunc: func(_ context.Context, q api.RunQuery) (wire.RunList, error) {
				return wire.RunList{Cursor: q.Cursor}, nil
			}},
	})
	f.backend.Auth.Subjects["submit"] = api.Subject{Name: "Sämi \"x\", y", Role: api.RoleSubmit}
	c := newClient(t, "submit", f.public.URL)
	estimate, err := c.Runs().Estimate(t.Context(), wire.SubmitRequest{Source: "plain"})
	if err != nil || estimate.Seconds != 7 || source != "plain" {
		t.Fatalf("got %+v, %q, %v", estimate, source, err)
	}
	if by.Name != "Sämi \"x\", y" || by.Role != api.RoleSubmit {
		t.Errorf("the leader saw %+v", by)
	}
	// A compressed body arrives too, and the role stays the caller's.
	r := ask(t, f.public.URL, "POST /api/v1/estimate", gzipped([]byte(`{"source":"zip"}`)), asSubmit, isJSON, "Content-Encoding: gzip", "X-Request-Id: abc")
	if r.StatusCode != 200 || source != "zip" || r.Header.Get("X-Request-Id") != "abc" || r.Header.Get("X-Pipelined-Node") != "leader" {
		t.Errorf("got %d %v, source %q", r.StatusCode, r.Header, source)
	}
	r = ask(t, f.public.URL, "GET /api/v1/runs?cursor=a%26b", "", asRead)
	if body := text(t, r); !strings.Contains(body, `"cursor":"a\u0026b"`) {
		t.Errorf("the query became %s", body)
	}
	problem(t, ask(t, f.public.URL, "POST /api/v1/estimate", `{"why":"x"}`, asSubmit, isJSON), 400, pipeline.Invalid)
	// What the leader refuses arrives as it was.
	p := problem(t, ask(t, f.public.URL, "GET /api/v1/runs/r1", "", asRead), 500, pipeline.Internal)
	if !strings.Contains(p.Detail, "node leader") {
		t.Errorf("got %q", p.Detail)
	}
}

// A request is passed on once: two nodes that take one another for the leader
// do not send it to and fro.
func TestForward_noLoop(t *testing.T) {
	var calls atomic.Int32
	var other *node
	b := &apitest.Backend{}
	b.Router.LeaderFunc = peerTo(t, "follower", func() string { calls.Add(1); return other.peer.URL })
	second := &apitest.Backend{Name: "second"}
	second.Router.Follower.Store(true)
	var first *node
	second.Router.LeaderFunc = peerTo(t, "second", func() string { t.Error("it was passed on twice"); return first.peer.URL })
	other = newNode(t, second)
	b.Router.Follower.Store(true)
	first = newNode(t, b)

	start := time.Now()
	r := ask(t, first.public.URL, "GET /api/v1/runs", "", asRead)
	p := problem(t, r, 503, pipeline.Unavailable)
	if r.Header.Get("Retry-After") != "1" || p.Detail != pipeline.ErrNoLeader.Message {
		t.Errorf("got %+v %v", p, r.Header)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if calls.Load() < 2 {
		t.Errorf("the leader was looked up %d times; it should be tried again for a moment", calls.Load())
	}
	r = ask(t, other.peer.URL, "GET /api/v1/runs", "", "Test-Peer: follower", "X-Forwarded-By: id-follower")
	problem(t, r, 503, pipeline.Unavailable)
	if r.Header.Get("X-Pipelined-Not-Executed") == "" {
		t.Error("the refusal does not say that nothing was done")
	}
}

func TestForward_waitsForALeader(t *testing.T) {
	lookups := make(chan struct{}, 100)
	b := listing()
	b.Router.Follower.Store(true)
	b.Router.LeaderFunc = func(context.Context) (http.RoundTripper, *url.URL, error) {
		lookups <- struct{}{}
		return nil, nil, pipeline.ErrNoLeader
	}
	n := newNode(t, b, func(c *api.Config) { c.LeaderWait = 10 * time.Second })
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-lookups
		<-lookups
		b.Router.Follower.Store(false) // it was elected meanwhile
	}()
	if r := ask(t, n.public.URL, "GET /api/v1/runs", "", asRead); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
	<-done
}

func TestForward_noLeader(t *testing.T) {
	b := &apitest.Backend{}
	b.Router.Follower.Store(true)
	n := newNode(t, b)
	r := ask(t, n.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, asSubmit, isJSON)
	problem(t, r, 503, pipeline.Unavailable)
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("got %v", r.Header)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, err := newClient(t, "admin", n.public.URL).Tokens().List(ctx)
	if pipeline.KindOf(err) != pipeline.Timeout && !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("got %v", err)
	}
}

// The leader dies while it has the request: a write may have taken effect, and
// the answer says so; a read is repeated at the next leader.
func TestForward_leaderDiesWithRequest(t *testing.T) {
	g := newGate()
	dying := &apitest.Backend{Name: "dying",
		Runs: apitest.Runs{EstimateFunc: func(ctx context.Context, _ api.Subject, _ wire.SubmitRequest) (wire.Estimate, error) {
			return wire.Estimate{}, g.wait(ctx)
		},
			RunsFunc: func(ctx context.Context, _ api.RunQuery) (wire.RunList, error) {
				return wire.RunList{}, g.wait(ctx)
			}},
	}
	next := &apitest.Backend{Name: "next", Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) {
		return wire.RunList{Cursor: "from-next"}, nil
	}}}
	d, nx := newNode(t, dying), newNode(t, next)
	var leader atomic.Pointer[string]
	leader.Store(&d.peer.URL)
	b := &apitest.Backend{Name: "follower"}
	b.Router.Follower.Store(true)
	b.Router.LeaderFunc = peerTo(t, "follower", func() string { return *leader.Load() })
	f := newNode(t, b, func(c *api.Config) { c.LeaderWait = 5 * time.Second })

	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-g.entered
		d.peer.CloseClientConnections()
	}()
	r := ask(t, f.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, asSubmit, isJSON, "Idempotency-Key: k1")
	p := problem(t, r, 503, pipeline.Unknown)
	if !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("got %q", p.Detail)
	}
	<-killed

	killed = make(chan struct{})
	go func() {
		defer close(killed)
		<-g.entered
		leader.Store(&nx.peer.URL)
		d.peer.CloseClientConnections()
	}()
	r = ask(t, f.public.URL, "GET /api/v1/runs", "", asRead)
	if body := text(t, r); r.StatusCode != 200 || !strings.Contains(body, "from-next") {
		t.Errorf("got %d %s", r.StatusCode, body)
	}
	<-killed
}

// A leader that is stopped keeps its connections and says nothing: its
// followers notice that another one leads.
func TestForward_leaderIsPaused(t *testing.T) {
	g := newGate()
	paused := newNode(t, &apitest.Backend{Name: "paused", Runs: apitest.Runs{RunsFunc: func(ctx context.Context, _ api.RunQuery) (wire.RunList, error) {
		return wire.RunList{}, g.wait(ctx)
	}}})
	next := newNode(t, &apitest.Backend{Name: "next", Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) {
		return wire.RunList{Cursor: "from-next"}, nil
	}}})
	var leader atomic.Pointer[string]
	leader.Store(&paused.peer.URL)
	b := &apitest.Backend{Name: "follower"}
	b.Router.Follower.Store(true)
	b.Router.LeaderFunc = peerTo(t, "follower", func() string { return *leader.Load() })
	f := newNode(t, b, func(c *api.Config) { c.LeaderWait = 5 * time.Second })
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-g.entered
		leader.Store(&next.peer.URL)
	}()
	r := ask(t, f.public.URL, "GET /api/v1/runs", "", asRead)
	if body := text(t, r); r.StatusCode != 200 || !strings.Contains(body, "from-next") {
		t.Errorf("got %d %s", r.StatusCode, body)
	}
	<-done
}

// Nothing was delivered to a leader that is away: a write goes to the next one.
func TestForward_leaderIsAway(t *testing.T) {
	gone := "http://" + testutil.Refusing(t)
	done := make(chan string, 1)
	next := newNode(t, &apitest.Backend{Name: "next", Runs: apitest.Runs{EstimateFunc: func(_ context.Context, by api.Subject, _ wire.SubmitRequest) (wire.Estimate, error) {
		done <- by.Name
		return wire.Estimate{}, nil
	}}})
	var lookups atomic.Int32
	b := &apitest.Backend{Name: "follower"}
	b.Router.Follower.Store(true)
	b.Router.LeaderFunc = peerTo(t, "follower", func() string {
		if lookups.Add(1) < 3 {
			return gone
		}
		return next.peer.URL
	})
	f := newNode(t, b, func(c *api.Config) { c.LeaderWait = 5 * time.Second })
	if r := ask(t, f.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, asSubmit, isJSON); r.StatusCode != 200 || <-done != "sam" {
		t.Errorf("got %d", r.StatusCode)
	}
	b.Router.LeaderFunc = peerTo(t, "follower", func() string { return gone })
	f2 := newNode(t, b)
	problem(t, ask(t, f2.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, asSubmit, isJSON), 503, pipeline.Unavailable)
}

func TestForward_stale(t *testing.T) {
	var cutOff atomic.Bool
	follower := &apitest.Backend{
		Runs: apitest.Runs{RunFunc: func(_ context.Context, id pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
			return wire.Run{RunSummary: wire.RunSummary{ID: id, Reason: "old news"}}, nil
		}},
		Cluster: apitest.Cluster{HealthFunc: func(context.Context) wire.Health {
			return wire.Health{AppliedIndex: 40, CommitIndex: 42, Quorum: !cutOff.Load()}
		}},
	}
	f, l := pair(t, follower, &apitest.Backend{
		Runs: apitest.Runs{RunFunc: func(_ context.Context, id pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
			return wire.Run{RunSummary: wire.RunSummary{ID: id, Reason: "news"}, Index: 50}, nil
		}},
		Tokens: apitest.Tokens{TokensFunc: func(context.Context) (wire.TokenList, error) { return wire.TokenList{}, nil }},
	})
	r := ask(t, f.public.URL, "GET /api/v1/runs/r1", "", asRead)
	if !strings.Contains(text(t, r), `"news"`) || r.Header.Get("X-Pipelined-Stale") != "" || r.Header.Get("X-Pipelined-Index") != "50" {
		t.Errorf("consistent: %v", r.Header)
	}
	for _, q := range []string{"stale", "stale=1", "stale=true"} {
		r = ask(t, f.public.URL, "GET /api/v1/runs/r1?"+q, "", asRead)
		if !strings.Contains(text(t, r), `"old news"`) || r.Header.Get("X-Pipelined-Stale") != "true" || r.Header.Get("X-Pipelined-Lag") != "2" {
			t.Errorf("%s: %v", q, r.Header)
		}
	}
	// A node that is cut off cannot know what it has missed.
	cutOff.Store(true)
	if r = ask(t, f.public.URL, "GET /api/v1/runs/r1?stale=1", "", asRead); r.Header.Get("X-Pipelined-Lag") != "unknown" {
		t.Errorf("cut off: %v", r.Header)
	}
	cutOff.Store(false)
	r = ask(t, f.public.URL, "GET /api/v1/runs/r1?stale=0", "", asRead)
	if !strings.Contains(text(t, r), `"news"`) {
		t.Errorf("stale=0: %v", r.Header)
	}
	r = ask(t, f.public.URL, "GET /api/v1/tokens?stale=1", "", asAdmin) // never stale
	if r.StatusCode != 200 || r.Header.Get("X-Pipelined-Node") != "leader" {
		t.Errorf("tokens: %d %v", r.StatusCode, r.Header)
	}
	r = ask(t, l.public.URL, "GET /api/v1/runs/r1?stale=1", "", asRead) // the leader is never behind
	if !strings.Contains(text(t, r), `"news"`) || r.Header.Get("X-Pipelined-Stale") != "" {
		t.Errorf("leader: %v", r.Header)
	}

	// A node without state asks one that has it.
	follower.Router.Stateless.Store(true)
	follower.Router.StatefulFunc = follower.Router.LeaderFunc
	r = ask(t, f.public.URL, "GET /api/v1/runs/r1?stale=1", "", asRead)
	if !strings.Contains(text(t, r), `"news"`) {
		t.Errorf("without state: %d", r.StatusCode)
	}
}

// A follower that has not heard yet of a run asks the leader before it says
// that there is none.
func TestForward_behind(t *testing.T) {
	none := func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error) {
		return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "run r1: there is none")
	}
	f, l := pair(t, &apitest.Backend{Artifacts: apitest.Artifacts{OpenArtifactFunc: none}}, &apitest.Backend{
		Artifacts: apitest.Artifacts{OpenArtifactFunc: func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error) {
			return apitest.Bytes([]byte("new")), wire.Artifact{}, nil
		}}})
	if r := ask(t, f.public.URL, "GET /api/v1/runs/r1/artifacts/m/f", "", asRead); text(t, r) != "new" {
		t.Errorf("got %d", r.StatusCode)
	}
	problem(t, ask(t, f.public.URL, "GET /api/v1/runs/r1/artifacts/m/f?stale=1", "", asRead), 404, pipeline.NotFound)
	l.backend.Artifacts.OpenArtifactFunc = none
	problem(t, ask(t, f.public.URL, "GET /api/v1/runs/r1/artifacts/m/f", "", asRead), 404, pipeline.NotFound)
}

func TestForward_toNamedNode(t *testing.T) {
	left := make(chan string, 4)
	leaving := func(name string) func(context.Context, api.Subject) error {
		return func(_ context.Context, by api.Subject) error {
			left <- name + " by " + by.Name
			return nil
		}
	}
	f, l := pair(t, &apitest.Backend{}, &apitest.Backend{Cluster: apitest.Cluster{LeaveFunc: leaving("leader")}})
	f.backend.Cluster.LeaveFunc = leaving("follower")
	to := peerTo(t, "follower", func() string { return l.peer.URL })
	f.backend.Router.NodeFunc = func(ctx context.Context, name string) (http.RoundTripper, *url.URL, error) {
		if name != "leader" && name != "mistaken" {
			return nil, nil, pipeline.Errorf(pipeline.NotFound, "node %s: there is none", name)
		}
		return to(ctx)
	}
	c := newClient(t, "admin", f.public.URL)
	for name, want := range map[string]string{"leader": "leader by ada", "follower": "follower by ada", "id-follower": "follower by ada", "": "follower by ada"} {
		if err := c.Cluster().Leave(t.Context(), name); err != nil || <-left != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"nobody", "mistaken"} {
		if err := c.Cluster().Leave(t.Context(), name); pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPeer_identity(t *testing.T) {
	b := listing()
	b.Tokens.TokensFunc = func(context.Context) (wire.TokenList, error) { return wire.TokenList{}, nil }
	n := newNode(t, b, func(c *api.Config) {
		c.PeerHandlers = map[string]http.Handler{"POST /peer/x": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })}
	})
	for _, tc := range []struct {
		what    string
		headers []string
		status  int
	}{
		{"GET /api/v1/tokens", nil, 401},
		{"GET /api/v1/tokens", []string{asAdmin}, 401}, // a token is no identity of a node
		{"GET /api/v1/tokens", []string{"Test-Peer: n2"}, 200},
		{"GET /api/v1/tokens", []string{"Test-Peer: n2", "X-Pipelined-Subject: rita", "X-Pipelined-Role: read"}, 403},
		{"GET /api/v1/runs", []string{"Test-Peer: n2", "X-Pipelined-Subject: rita", "X-Pipelined-Role: read"}, 200},
		{"GET /api/v1/runs", []string{"Test-Peer: n2", "X-Pipelined-Subject: rita", "X-Pipelined-Role: root"}, 400},
		{"GET /api/v1/runs", []string{"Test-Peer: n2", "X-Pipelined-Subject: rita"}, 400},
		{"GET /api/v1/runs", []string{"Test-Peer: n2", "X-Pipelined-Subject: %zz", "X-Pipelined-Role: read"}, 400},
		{"POST /peer/x", []string{"Test-Peer: n2"}, 204},
		{"POST /peer/x", nil, 401},
	} {
		if r := ask(t, n.peer.URL, tc.what, "", tc.headers...); r.StatusCode != tc.status {
			t.Errorf("%s %q: got %d, want %d", tc.what, tc.headers, r.StatusCode, tc.status)
		}
	}
	if r := ask(t, n.public.URL, "POST /peer/x", "", asAdmin, "Test-Peer: n2"); r.StatusCode != 404 {
		t.Errorf("the peers' calls are on the public port: %d", r.StatusCode)
	}
}
