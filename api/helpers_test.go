package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/klauspost/compress/zstd.(*blockDec).startDecoder"))
}

// subjects are callers of every role; the token is the role's name.
func subjects() map[string]api.Subject {
	return map[string]api.Subject{
		"read":   {Name: "rita", Role: api.RoleRead},
		"submit": {Name: "sam", Role: api.RoleSubmit},
		"worker": {Name: "wu", Role: api.RoleWorker, Worker: "ext-w1"},
		"admin":  {Name: "ada", Role: api.RoleAdmin},
	}
}

// node is a server under test with both of its ports.
type node struct {
	*api.Server
	backend      *apitest.Backend
	public, peer *httptest.Server
}

func serve(tb testing.TB, h http.Handler) *httptest.Server {
	tb.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config = api.NewHTTPServer(h)
	srv.Start()
	tb.Cleanup(srv.Close)
	return srv
}

// newNode starts a node. On its peer port the header Test-Peer stands for the
// certificate.
func newNode(tb testing.TB, b *apitest.Backend, change ...func(*api.Config)) *node {
	tb.Helper()
	if b.Auth.Subjects == nil {
		b.Auth.Subjects = subjects()
	}
	cfg := api.Config{
		LeaderWait:   300 * time.Millisecond,
		AllowedHosts: func(h string) bool { return h == "node.example" },
		PeerIdentity: func(r *http.Request) (string, string, bool) {
			p := r.Header.Get("Test-Peer")
			return "id-" + p, p, p != ""
		},
	}
	b.Configure(&cfg)
	for _, f := range change {
		f(&cfg)
	}
	n := &node{Server: api.New(cfg), backend: b}
	n.public, n.peer = serve(tb, n.PublicHandler()), serve(tb, n.PeerHandler())
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			tb.Errorf("shut down: %v", err)
		}
	})
	return n
}

// asPeer is a transport that a node has to another one.
type asPeer struct {
	name string
	*http.Transport
}

func (p asPeer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Test-Peer", p.name)
	return p.Transport.RoundTrip(r)
}

// peerTo gives what a backend's Leader, Stateful and Node functions return.
func peerTo(tb testing.TB, from string, to func() string) func(context.Context) (http.RoundTripper, *url.URL, error) {
	tr := &http.Transport{}
	tb.Cleanup(tr.CloseIdleConnections)
	return func(context.Context) (http.RoundTripper, *url.URL, error) {
		u, err := url.Parse(to())
		return asPeer{from, tr}, u, err
	}
}

func newClient(tb testing.TB, token string, addresses ...string) *client.Client {
	tb.Helper()
	c, err := client.New(client.Config{Addresses: addresses, Token: token, RetryFor: 5 * time.Second, ConnectFor: time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.CloseIdle)
	return c
}

// ask sends a raw request: "METHOD path", headers as "Name: value" lines.
func ask(tb testing.TB, base, what, body string, headers ...string) *http.Response {
	tb.Helper()
	method, path, _ := strings.Cut(what, " ")
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ": ")
		if !ok {
			continue
		}
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], value)
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		tb.Fatalf("%s: %v", what, err)
	}
	tb.Cleanup(func() { resp.Body.Close() })
	return resp
}

const (
	asAdmin  = "Authorization: Bearer admin"
	asRead   = "Authorization: Bearer read"
	asSubmit = "Authorization: Bearer submit"
	asWorker = "Authorization: Bearer worker"
	isJSON   = "Content-Type: application/json"
)

func text(tb testing.TB, r *http.Response) string {
	tb.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatalf("read an answer: %v", err)
	}
	return string(b)
}

// problem checks that an answer is a problem document of a status and kind.
func problem(tb testing.TB, r *http.Response, status int, kind pipeline.Kind) wire.Problem {
	tb.Helper()
	body := text(tb, r)
	var p wire.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || r.Header.Get("Content-Type") != "application/problem+json" {
		tb.Fatalf("status %d, type %q, want a problem document, got %.300q", r.StatusCode, r.Header.Get("Content-Type"), body)
	}
	if r.StatusCode != status || p.Status != status || p.Kind != kind.String() {
		tb.Fatalf("got status %d, kind %s (%s), want %d, %v", r.StatusCode, p.Kind, p.Detail, status, kind)
	}
	if p.RequestID == "" || p.RequestID != r.Header.Get("X-Request-Id") || p.Type == "" || p.Title == "" || p.Detail == "" {
		tb.Fatalf("the problem is not complete: %+v", p)
	}
	return p
}

// gate lets a test wait for a handler, and a handler for the test.
type gate struct{ entered, release chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 16), make(chan struct{})} }

func (g gate) wait(ctx context.Context) error {
	g.entered <- struct{}{}
	select {
	case <-g.release:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// within gives what a channel has within ten seconds, or ends the test.
func within[T any](tb testing.TB, from <-chan T, otherwise string) (got T) {
	tb.Helper()
	select {
	case got = <-from:
	case <-time.After(10 * time.Second):
		tb.Fatal(otherwise)
	}
	return got
}

var errBoom = errors.New("boom: a secret detail")

func clientList(limit int) client.ListOptions { return client.ListOptions{Limit: limit} }
