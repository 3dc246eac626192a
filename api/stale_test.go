package api_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// formerLeader is a node that still takes itself for the leader, as after a
// pause, and the next leader.
func formerLeader(t *testing.T) (former, next *node) {
	t.Helper()
	answer := func(text string) apitest.Runs {
		return apitest.Runs{
			RunFunc: func(_ context.Context, id pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
				return wire.Run{RunSummary: wire.RunSummary{ID: id, Reason: text}}, nil
			},
			RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) { return wire.RunList{Cursor: text}, nil },
		}
	}
	next = newNode(t, &apitest.Backend{Name: "next", Runs: answer("news")})
	b := &apitest.Backend{Name: "former", Runs: answer("old news"),
		Cluster: apitest.Cluster{HealthFunc: func(context.Context) wire.Health { return wire.Health{} }}}
	b.Router.VerifyFunc = func(context.Context) (uint64, error) {
		b.Router.Follower.Store(true) // it learns of the next one now
		return 0, pipeline.ErrNotLeader
	}
	b.Router.LeaderFunc = peerTo(t, "former", func() string { return next.peer.URL })
	return newNode(t, b), next
}

// A leader that was replaced without knowing it does not answer reads from its
// old state.
func TestForward_formerLeader(t *testing.T) {
	for _, path := range []string{"/api/v1/runs/r1", "/api/v1/runs"} {
		former, _ := formerLeader(t)
		r := ask(t, former.public.URL, "GET "+path, "", asRead)
		if body := text(t, r); r.StatusCode != 200 || !strings.Contains(body, `"news"`) {
			t.Errorf("%s: got %d %s", path, r.StatusCode, body)
		}
	}

	// Asked for what may be behind, it marks that.
	former, _ := formerLeader(t)
	r := ask(t, former.public.URL, "GET /api/v1/runs/r1?stale=1", "", asRead)
	if body := text(t, r); !strings.Contains(body, `"old news"`) || r.Header.Get("X-Pipelined-Stale") != "true" {
		t.Errorf("stale=1: %s %v", body, r.Header)
	}

	// One that another node has asked says that nothing was done.
	former, _ = formerLeader(t)
	r = ask(t, former.peer.URL, "GET /api/v1/runs/r1", "", "Test-Peer: next", "X-Forwarded-By: id-next")
	problem(t, r, 503, pipeline.Unavailable)
	if r.Header.Get("X-Pipelined-Not-Executed") == "" {
		t.Error("a forwarded read: the refusal does not say that nothing was done")
	}
}

// A read that waits is served only if the node leads until the wait ends.
func TestForward_leaderChangesDuringWait(t *testing.T) {
	var term atomic.Uint64
	term.Store(7)
	var reads atomic.Int32
	b := &apitest.Backend{Name: "one", Runs: apitest.Runs{
		RunFunc: func(_ context.Context, id pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
			if reads.Add(1) == 1 {
				term.Store(9) // it lost leadership and won it again
			}
			return wire.Run{RunSummary: wire.RunSummary{ID: id}}, nil
		}}}
	b.Router.VerifyFunc = func(context.Context) (uint64, error) { return term.Load(), nil }
	n := newNode(t, b)
	if r := ask(t, n.public.URL, "GET /api/v1/runs/r1?index=1&wait=1s", "", asRead); r.StatusCode != 200 || reads.Load() != 2 {
		t.Errorf("got %d after %d reads, want 200 after 2", r.StatusCode, reads.Load())
	}
}

// Only a leader that proves to lead says that there is no such run.
func TestForward_formerLeaderFindsNothing(t *testing.T) {
	none := apitest.Artifacts{OpenArtifactFunc: func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error) {
		return nil, wire.Artifact{}, pipeline.Errorf(pipeline.NotFound, "run r1: there is none")
	}}
	former, next := formerLeader(t)
	former.backend.Artifacts = none
	next.backend.Artifacts.OpenArtifactFunc = func(context.Context, pipeline.RunID, string, string) (api.Blob, wire.Artifact, error) {
		return apitest.Bytes([]byte("new")), wire.Artifact{}, nil
	}
	if r := ask(t, former.public.URL, "GET /api/v1/runs/r1/artifacts/m/f", "", asRead); text(t, r) != "new" {
		t.Errorf("got %d", r.StatusCode)
	}
}
