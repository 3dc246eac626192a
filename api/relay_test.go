package api_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// A node that is cut off from the leader alone knows none: another node passes
// the request on, once.
func TestForward_throughAnotherNode(t *testing.T) {
	leader := newNode(t, listing())
	between := &apitest.Backend{Name: "between"}
	between.Router.Follower.Store(true)
	between.Router.LeaderFunc = peerTo(t, "between", func() string { return leader.peer.URL })
	b := newNode(t, between)

	cut := &apitest.Backend{Name: "cut"}
	cut.Router.Follower.Store(true)
	cut.Router.RelayFunc = peerTo(t, "cut", func() string { return b.peer.URL })
	c := newNode(t, cut)
	if r := ask(t, c.public.URL, "GET /api/v1/runs", "", asRead); r.StatusCode != 200 || r.Header.Get("X-Pipelined-Node") != "n1" {
		t.Errorf("got %d from %s", r.StatusCode, r.Header.Get("X-Pipelined-Node"))
	}

	// The mark counts between nodes only, and a marked request is not relayed again.
	between.Router.LeaderFunc = func(context.Context) (http.RoundTripper, *url.URL, error) {
		return nil, nil, pipeline.ErrNoLeader
	}
	between.Router.RelayFunc = func(context.Context) (http.RoundTripper, *url.URL, error) {
		t.Error("relayed twice")
		return nil, nil, pipeline.ErrNoLeader
	}
	problem(t, ask(t, c.public.URL, "GET /api/v1/runs", "", asRead), 503, pipeline.Unavailable)
}

// A leader that hangs, and is followed by none, is not waited for.
func TestForward_leaderIsLost(t *testing.T) {
	g := newGate()
	hung := newNode(t, &apitest.Backend{Name: "hung", Runs: apitest.Runs{EstimateFunc: func(ctx context.Context, _ api.Subject, _ wire.SubmitRequest) (wire.Estimate, error) {
		return wire.Estimate{}, g.wait(ctx)
	}}})
	known := make(chan struct{})
	b := &apitest.Backend{Name: "follower"}
	b.Router.Follower.Store(true)
	there := peerTo(t, "follower", func() string { return hung.peer.URL })
	b.Router.LeaderFunc = func(ctx context.Context) (http.RoundTripper, *url.URL, error) {
		select {
		case <-known:
			return nil, nil, pipeline.ErrNoLeader
		default:
			return there(ctx)
		}
	}
	f := newNode(t, b)
	go func() { // ends with the call, which enters the gate
		<-g.entered
		close(known)
	}()
	p := problem(t, ask(t, f.public.URL, "POST /api/v1/estimate", `{"source":"x"}`, asSubmit, isJSON), 503, pipeline.Unknown)
	if !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("got %q", p.Detail)
	}
}
