package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// revoker revokes the token of role admin, and counts how often it is looked at.
type revoker struct {
	revoked atomic.Bool
	looks   chan string
}

func newRevoker(b *apitest.Backend) *revoker {
	r := &revoker{looks: make(chan string, 1000)} // more than any test has
	b.Auth.RevokedFunc = func(token string) bool {
		r.looks <- token
		return token == "admin" && r.revoked.Load()
	}
	return r
}

// revoke revokes the token after it was looked at while it was valid.
func (r *revoker) revoke(tb testing.TB) {
	tb.Helper()
	within(tb, r.looks, "the token is not looked at")
	r.revoked.Store(true)
}

// An upload ends if its token is revoked: one that sends on, and one that sends
// nothing more.
func TestRevoke_upload(t *testing.T) {
	// The connection ends with the call. If that reaches the sender while it still
	// sends, it does not read the answer.
	const lost = 0
	for name, pause := range map[string]time.Duration{"sends": time.Millisecond, "sends nothing more": time.Hour} {
		t.Run(name, func(t *testing.T) {
			b := &apitest.Backend{}
			r, ended := newRevoker(b), make(chan error, 1)
			blobStore(b, map[pipeline.Digest][]byte{})
			b.Blobs.PutBlobFunc = func(_ context.Context, _ pipeline.Digest, body io.Reader) error {
				_, err := io.Copy(io.Discard, body)
				ended <- err
				return err
			}
			n := newNode(t, b)

			in, out := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.public.URL+"/api/v1/blobs/"+string(digestOf([]byte("x"))), in)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer admin")
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			defer out.Close()
			answered := make(chan int, 1)
			go func() { // ends when the server refuses, or with the pipe
				defer in.Close()
				resp, err := tr.RoundTrip(req)
				if err != nil {
					answered <- lost
					return
				}
				answered <- resp.StatusCode
				_ = resp.Body.Close()
			}()
			go func() { // ends with the pipe
				for {
					if _, err := out.Write([]byte("data")); err != nil {
						return
					}
					select {
					case <-time.After(pause):
					case <-t.Context().Done():
						return
					}
				}
			}()

			r.revoke(t)
			if err := within(t, ended, "the upload continues"); pipeline.KindOf(err) != pipeline.Unauthenticated {
				t.Errorf("it ends with %v", err)
			}
			if status := within(t, answered, "no answer"); status != http.StatusUnauthorized && status != lost {
				t.Errorf("it is answered %d", status)
			}
		})
	}
}

// A call that waits is answered 401.
func TestRevoke_waiting(t *testing.T) {
	b := &apitest.Backend{Runs: apitest.Runs{RunFunc: func(ctx context.Context, _ pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
		<-ctx.Done()
		return wire.Run{}, ctx.Err()
	}}}
	r := newRevoker(b)
	n := newNode(t, b)
	answer := make(chan *http.Response, 1)
	go func() { answer <- ask(t, n.public.URL, "GET /api/v1/runs/r1?index=7&wait=5m", "", asAdmin) }()
	r.revoke(t)
	problem(t, within(t, answer, "it waits on"), 401, pipeline.Unauthenticated)
}

// following is a backend whose log streams send nothing, and report their ends.
func following() (b *apitest.Backend, ended chan string) {
	ended = make(chan string, 100)
	return &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(ctx context.Context, id pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
		defer func() { ended <- string(id) }()
		if err := send(wire.LogEvent{Module: "m", Attempt: 1, Text: "a"}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}}, ended
}

func follow(tb testing.TB, n *node, run, as string) *http.Response {
	tb.Helper()
	resp := ask(tb, n.public.URL, "POST /api/v1/runs/"+run+"/logs", `{"follow":true}`, as, isJSON)
	readEvents(tb, resp.Body, "log")
	return resp
}

// A token is looked at once for all of its streams, and only its streams end.
func TestRevoke_streams(t *testing.T) {
	b, ended := following()
	r := newRevoker(b)
	n := newNode(t, b)
	other := follow(t, n, "other", asRead)
	const streams = 50
	bodies := make([]io.Reader, streams)
	for i := range bodies {
		bodies[i] = follow(t, n, "r1", asAdmin).Body
	}
	for len(r.looks) > 0 {
		<-r.looks
	}
	for range 4 {
		r.revoke(t)
		r.revoked.Store(false)
	}
	if n := len(r.looks); n > 4 {
		t.Errorf("%d more looks at two tokens within two intervals", n)
	}

	r.revoked.Store(true)
	for range streams {
		if run := within(t, ended, "a stream continues"); run != "r1" {
			t.Errorf("the stream of %s ended", run)
		}
	}
	for _, body := range bodies {
		_, _ = io.Copy(io.Discard, body) // ends, in whatever way
	}
	_ = other.Body.Close()
	if run := within(t, ended, "the last stream does not end"); run != "other" {
		t.Errorf("the stream of %s ended, want that of the other token", run)
	}
}

// A stream that another node serves ends there, too. That node never had the token.
func TestRevoke_forwarded(t *testing.T) {
	leader, ended := following()
	leader.Auth.RevokedFunc = func(string) bool {
		t.Error("the leader looks at a token")
		return false
	}
	follower := &apitest.Backend{}
	r := newRevoker(follower)
	f, _ := pair(t, follower, leader)
	f.backend.Router.Stateless.Store(true)
	f.backend.Router.StatefulFunc = f.backend.Router.LeaderFunc
	resp := follow(t, f, "r1", asAdmin)
	r.revoke(t)
	within(t, ended, "the leader's stream continues")
	_, _ = io.Copy(io.Discard, resp.Body) // ends, in whatever way
}

// The process of a session ends with its token.
func TestRevoke_exec(t *testing.T) {
	closed := make(chan struct{})
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Sessions: apitest.Sessions{ExecFunc: func(context.Context, api.Subject, pipeline.RunID, string, wire.ExecRequest) (io.ReadWriteCloser, error) {
			here, there := net.Pipe()
			go func() { // ends with the stream
				_, _ = io.Copy(io.Discard, there)
				_ = there.Close()
				close(closed)
			}()
			return here, nil
		}}}
	r := newRevoker(b)
	n := newNode(t, b)
	stream, err := newClient(t, "admin", n.public.URL).Modules().Exec(t.Context(), "r1", "m", wire.ExecRequest{Command: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	r.revoke(t)
	within(t, closed, "the process continues")
	if text, err := io.ReadAll(stream); err == nil && len(text) > 0 {
		t.Errorf("it answers %q", strings.TrimSpace(string(text)))
	}
}
