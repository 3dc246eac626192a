package external_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

func wantRefused(t *testing.T, what string, err error, kind pipeline.Kind, text string) {
	t.Helper()
	if pipeline.KindOf(err) != kind || err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v with %q", what, err, kind, text)
	}
}

// A worker that calls itself as another does, by name or by an id that contains the
// other's, speaks for itself alone.
func TestWorkers_impersonation(t *testing.T) {
	r := newRig(t)
	named := func(id, name string) wire.RegisterRequest {
		in := registration(id, r.program.URL)
		in.WorkerNode.Name = name
		return in
	}
	for _, in := range []wire.RegisterRequest{named("z9", "w1"), named("z9", "ext-w1"), named("z9", "one"), registration("one", r.program.URL)} {
		_, err := r.Register(t.Context(), other, in)
		wantRefused(t, in.WorkerNode.ID+" as "+in.WorkerNode.Name, err, pipeline.Conflict, "is another worker's")
	}
	if _, err := r.Register(t.Context(), other, named("ext-w1", "z9")); err != nil {
		t.Fatal(err)
	}

	_, err := r.Result(t.Context(), other, result(func(in *wire.ExecuteResponse) { in.WorkerID = "ext-w1" }))
	wantRefused(t, "another's attempt", err, pipeline.Forbidden, "was not given to worker z9")
	if _, err := r.Heartbeat(t.Context(), own, wire.HeartbeatRequest{WorkerID: "w1", CurrentLoad: 2}); err != nil {
		t.Errorf("the other can stop its heartbeat: %v", err)
	}
	if err := r.Dispatch(t.Context(), r.find(), peer.DispatchRequest{Specs: []pipeline.Spec{{ID: attempt(1), Command: []string{"x"}}}}); err != nil {
		t.Fatal(err)
	}
	if calls := r.program.take(); len(calls) != 1 || calls[0].token != r.secret {
		t.Errorf("dispatched with the secret of another: %+v", calls)
	}
	if _, err := r.Result(t.Context(), own, result(nil)); err != nil {
		t.Errorf("its own attempt: %v", err)
	}
}

// With a token go its workers. Whoever takes their id later gets nothing of what they
// were given.
func TestWorkers_revokedToken(t *testing.T) {
	r := newRig(t)
	r.revoke("t1")
	if _, ok := r.Lookup("ext-w1"); ok {
		t.Error("the worker of a revoked token is still registered")
	}
	if res, err := r.Heartbeat(t.Context(), own, wire.HeartbeatRequest{WorkerID: "w1"}); err != nil || res.Acknowledged {
		t.Errorf("%+v, %v", res, err)
	}
	_, err := r.Register(t.Context(), own, registration("w1", r.program.URL))
	wantRefused(t, "a revoked token", err, pipeline.Forbidden, "was revoked")

	if _, err := r.Register(t.Context(), other, registration("w1", r.program.URL)); err != nil {
		t.Fatal(err)
	}
	_, err = r.Result(t.Context(), other, result(nil))
	wantRefused(t, "an attempt of the earlier worker", err, pipeline.Forbidden, "was not given to worker w1")
}

// The registration of an administrator is no worker's to take.
func TestWorkers_registeredByAdmin(t *testing.T) {
	r := newRig(t)
	if _, err := r.Register(t.Context(), admin, registration("w2", r.program.URL)); err != nil {
		t.Fatal(err)
	}
	_, err := r.Register(t.Context(), other, registration("w2", r.program.URL))
	wantRefused(t, "w2", err, pipeline.Forbidden, "registered by an administrator")
}

// What a worker may claim, and gets, its token says.
func TestWorkers_scope(t *testing.T) {
	r := newRig(t)
	r.token(fsm.TokenRecord{ID: "t3", Tags: []string{"GPU"}, Pipelines: []string{"train-*", "eval"}})
	limited := api.Subject{Name: "limited", Role: api.RoleWorker, Worker: "t3", Loopback: true}
	in := registration("w3", strings.Replace(r.program.URL, "http://", "https://", 1))
	_, err := r.Register(t.Context(), limited, in)
	wantRefused(t, "another tag", err, pipeline.Forbidden, `admits no tag "python", only GPU`)
	in.WorkerNode.Capabilities.Tags = []string{"gpu"}
	if _, err := r.Register(t.Context(), limited, in); err != nil {
		t.Fatal(err)
	}

	rec, _ := r.Lookup("ext-w3")
	if !rec.NoSecrets || len(rec.Pipelines) != 2 {
		t.Errorf("the planner does not know its scope: %+v", rec)
	}
	for text, spec := range map[string]pipeline.Spec{
		"are not sent to w3":       {ID: attempt(1), Pipeline: "eval", Private: true},
		"of w3 does not admit":     {ID: attempt(1), Pipeline: "release"},
		"of w3 does not admit\x00": {ID: attempt(1), Pipeline: "evaluate"},
	} {
		wantRefused(t, text, r.Dispatch(t.Context(), rec.ID, peer.DispatchRequest{Specs: []pipeline.Spec{spec}}), pipeline.Forbidden, strings.TrimRight(text, "\x00"))
	}
	if calls := r.program.take(); len(calls) > 0 {
		t.Errorf("sent: %+v", calls)
	}

	r.token(fsm.TokenRecord{ID: "t4", Secrets: true})
	if _, err := r.Register(t.Context(), api.Subject{Role: api.RoleWorker, Worker: "t4", Loopback: true}, registration("w4", r.program.URL)); err != nil {
		t.Fatal(err)
	}
	if rec, _ := r.Lookup("ext-w4"); rec.NoSecrets {
		t.Error("a token with secrets admits none")
	}
}

// An expired token's worker is sent nothing more.
func TestWorkers_Dispatch_expired(t *testing.T) {
	r := newRig(t)
	r.token(fsm.TokenRecord{ID: "t3", ExpiresAt: time.Now().Add(-time.Second)})
	late := api.Subject{Role: api.RoleWorker, Worker: "t3", Loopback: true} // authenticated a moment before
	if _, err := r.Register(t.Context(), late, registration("w3", r.program.URL)); err != nil {
		t.Fatal(err)
	}
	err := r.Dispatch(t.Context(), "ext-w3", peer.DispatchRequest{Specs: []pipeline.Spec{{ID: attempt(1)}}})
	wantRefused(t, "dispatch", err, pipeline.Forbidden, "has expired")
}

// A worker elsewhere cannot have a node call itself, whatever its host's name leads to.
func TestWorkers_endpointOnLoopback(t *testing.T) {
	r := newRig(t)
	remote := other
	remote.Loopback = false
	_, err := r.Register(t.Context(), remote, registration("w2", r.program.URL))
	wantRefused(t, "loopback", err, pipeline.Invalid, "only for a worker that registers from there")

	// A name that leads to loopback passes as a name, and is found out when it is called.
	port := r.program.URL[strings.LastIndex(r.program.URL, ":"):]
	if _, err := r.Register(t.Context(), remote, registration("w2", "http://localhost."+port)); err != nil {
		t.Fatal(err)
	}
	if err := r.Dispatch(t.Context(), "ext-w2", peer.DispatchRequest{Specs: []pipeline.Spec{{ID: attempt(1)}}}); err == nil {
		t.Error("a node called itself")
	}
	if calls := r.program.take(); len(calls) > 0 {
		t.Errorf("sent: %+v", calls)
	}
}
