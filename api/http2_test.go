package api_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Between nodes it is HTTP/2 over TLS, whose deadlines end a stream rather than
// a connection: what is long, silent or large must come through all the same.
func TestHTTP2(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	have := map[pipeline.Digest][]byte{}
	b := &apitest.Backend{Name: "leader"}
	blobStore(b, have)
	b.Runs.RunFunc = func(ctx context.Context, id pipeline.RunID, _ uint64, wait time.Duration, _ uint64) (wire.Run, error) {
		select { // longer than WriteTimeout
		case <-time.After(wait):
			return wire.Run{Index: 7}, nil
		case <-ctx.Done():
			return wire.Run{}, ctx.Err()
		}
	}
	b.Logs.FollowFunc = func(ctx context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
		for i := range int64(3) {
			select {
			case <-time.After(150 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := send(wire.LogEvent{Module: "m", Attempt: 1, Offset: i, Text: "x"}); err != nil {
				return err
			}
		}
		return send(wire.LogEvent{RunEnd: true})
	}
	short := func(c *api.Config) {
		c.WriteTimeout, c.KeepAlive = 200*time.Millisecond, 30*time.Millisecond
	}
	leader := newNode(t, b, short)
	h := leader.PeerHandler()
	srv := httptest.NewUnstartedServer(h)
	srv.Config = api.NewHTTPServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)

	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	to := func(context.Context) (http.RoundTripper, *url.URL, error) {
		u, err := url.Parse(srv.URL)
		return asPeer{"follower", tr}, u, err
	}
	fb := &apitest.Backend{Name: "follower", Router: apitest.Router{LeaderFunc: to, StatefulFunc: to}}
	fb.Router.Follower.Store(true)
	fb.Router.Stateless.Store(true)
	// The stream outlives the grace of its request's body.
	follower := newNode(t, fb, short, func(c *api.Config) { c.BodyGrace = 300 * time.Millisecond })

	r := ask(t, follower.public.URL, "GET /api/v1/runs/r1?index=3&wait=300ms", "", asRead)
	if r.StatusCode != 200 || r.Header.Get("X-Pipelined-Index") != "7" {
		t.Errorf("blocking: got %d %s", r.StatusCode, text(t, r))
	}
	n := 0
	c := newClient(t, "submit", follower.public.URL)
	fb.Cluster.MembersFunc = func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }
	if err := c.Runs().Follow(t.Context(), "r1", client.FollowOptions{}, func(wire.LogEvent) error { n++; return nil }); err != nil || n != 4 {
		t.Errorf("stream: %d events, %v", n, err)
	}

	// A node as the client, over the same transport.
	direct, err := client.New(client.Config{Addresses: []string{srv.URL}, Transport: asPeer{"follower", tr}})
	if err != nil {
		t.Fatal(err)
	}
	d := digestOf(blob)
	if err := direct.Blobs().Put(t.Context(), d, bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	rd, err := direct.Blobs().Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("blob: %d bytes, %v", len(got), err)
	}
}
