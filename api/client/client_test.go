package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestNew_addresses(t *testing.T) {
	for a, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", "localhost:1": "http://localhost:1", "[::1]:8080": "http://[::1]:8080",
		"http://h:1/": "http://h:1", "https://h/prefix/": "https://h/prefix", "": "", "h": "", ":8080": "", "h:": "", "ftp://h:1": "",
		"http://user:pw@h": "", "http://h?token=x": "", "http://": "", "10.0.0.1:80": "http://10.0.0.1:80",
	} {
		c, err := client.New(client.Config{Addresses: []string{a}})
		if (err == nil) != (want != "") || err == nil && c.Address() != want {
			t.Errorf("%q: got %v", a, err)
		}
		if err != nil && pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%q: kind %v", a, pipeline.KindOf(err))
		}
	}
	if _, err := client.New(client.Config{}); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no address: %v", err)
	}
}

// A browser is sent to a node that has answered, by the scheme that the user or the node
// itself gives, whatever calls use; a node that is gone is named no more.
func TestClient_Page(t *testing.T) {
	var cut atomic.Bool
	var own string
	srv := serve(t, &apitest.Backend{Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) {
		return wire.MemberList{Members: []wire.Member{{HTTP: own, Status: "alive"}}}, nil
	}}}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if cut.Load() {
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	})
	host := strings.TrimPrefix(srv.URL, "http://")
	// Calls go over TLS to the outside, and come here in the clear.
	tls := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme != "https" {
			t.Errorf("call to %s", r.URL)
		}
		r = r.Clone(r.Context())
		r.URL.Scheme = "http"
		return http.DefaultTransport.RoundTrip(r)
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)

	for _, tc := range []struct{ given, own, want string }{
		{host, "http://" + host, "http://" + host},
		{host, "http://other.invalid:1", "http://" + host},
		{host, "https://" + host, "https://" + host},
		{"http://" + host, "https://other.invalid:1", "http://" + host},
		{"https://" + host, "https://other.invalid:1", "https://" + host},
	} {
		own = tc.own
		dead := strings.TrimPrefix(gone(t), "http://")
		c := newClient(t, client.Config{Addresses: []string{dead, tc.given}, Transport: tls, OnlyTLS: true, RetryFor: time.Millisecond})
		if page := c.Page(); page != "" {
			t.Errorf("%v: %s before an answer", tc, page)
		}
		if err := c.Learn(t.Context()); err != nil || c.Page() != tc.want {
			t.Errorf("%v: page %s, %v", tc, c.Page(), err)
		}

		cut.Store(true)
		if _, err := c.Cluster().Members(t.Context()); err == nil || c.Page() != "" {
			t.Errorf("%v: page %s of a node that is gone, %v", tc, c.Page(), err)
		}
		cut.Store(false)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Without a leader that is the reason, and not an address that was learned and is dead.
func TestSubmitWith_noLeader(t *testing.T) {
	dead := gone(t)
	none := func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error) {
		return wire.RunCreated{}, pipeline.Errorf(pipeline.Unavailable, "no leader")
	}
	srv := serve(t, &apitest.Backend{Runs: apitest.Runs{SubmitFunc: none}, Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) {
		return wire.MemberList{Members: []wire.Member{{HTTP: dead, Status: "alive"}}}, nil
	}}}, nil)
	c := newClient(t, client.Config{RetryFor: 100 * time.Millisecond}, srv)
	_, err := c.Runs().SubmitWith(t.Context(), "k", &wire.SubmitRequest{Source: "s"}, func(context.Context, *client.Client) error { return nil })
	if pipeline.KindOf(err) != pipeline.Unavailable || err.Error() != "no leader" || len(c.Addresses()) != 2 {
		t.Errorf("got %v of %v", err, c.Addresses())
	}
}

// gone is an address where nobody listens.
func gone(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestSend_triesAddressesInTurn(t *testing.T) {
	b := &apitest.Backend{Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) { return wire.RunList{}, nil }}}
	srv := serve(t, b, nil)
	c := newClient(t, client.Config{Addresses: []string{gone(t), srv.URL}})
	if _, err := c.Runs().List(t.Context(), client.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if c.Address() != srv.URL {
		t.Errorf("it did not remember the good one: %s", c.Address())
	}
}

func TestSend_nobody(t *testing.T) {
	c := newClient(t, client.Config{Addresses: []string{gone(t), gone(t)}, ConnectFor: 100 * time.Millisecond})
	start := time.Now()
	_, err := c.Runs().List(t.Context(), client.ListOptions{})
	if pipeline.KindOf(err) != pipeline.Unavailable || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no longer wanted"))
	if _, err := c.Runs().List(ctx, client.ListOptions{}); pipeline.KindOf(err) != pipeline.Canceled {
		t.Errorf("got %v", err)
	}
}

// A submission whose answer was lost is repeated with the same key; a call that
// has none is not, and says that its outcome is unknown.
func TestSend_lostAnswers(t *testing.T) {
	var mu sync.Mutex
	var keys []string
	var tokens atomic.Int32
	b := &apitest.Backend{
		Runs: apitest.Runs{SubmitFunc: func(_ context.Context, _ api.Subject, key string, _ wire.SubmitRequest) (wire.RunCreated, error) {
			mu.Lock()
			defer mu.Unlock()
			if keys = append(keys, key); len(keys) < 3 {
				panic(http.ErrAbortHandler)
			}
			return wire.RunCreated{ID: "r1", Repeated: true}, nil
		}},
		Tokens: apitest.Tokens{CreateTokenFunc: func(context.Context, api.Subject, wire.TokenRequest) (wire.TokenCreated, error) {
			tokens.Add(1)
			panic(http.ErrAbortHandler)
		},
			DeleteTokenFunc: func(context.Context, api.Subject, string) error {
				if tokens.Add(1) == 2 {
					panic(http.ErrAbortHandler) // after it was deleted
				}
				return pipeline.Errorf(pipeline.NotFound, "token: there is none")
			}},
	}
	var retries atomic.Int32
	c := newClient(t, client.Config{OnRetry: func(error, time.Duration) { retries.Add(1) }}, serve(t, b, nil))
	out, err := c.Runs().Submit(t.Context(), "", wire.SubmitRequest{Source: "x"})
	if err != nil || out.ID != "r1" || len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("got %+v, %v, keys %q", out, err, keys)
	}
	if retries.Load() != 2 {
		t.Errorf("%d repeats were told", retries.Load())
	}
	_, err = c.Tokens().Create(t.Context(), wire.TokenRequest{Role: "read"})
	if pipeline.KindOf(err) != pipeline.Unknown || tokens.Load() != 1 {
		t.Errorf("got %v after %d calls", err, tokens.Load())
	}
	if err := c.Tokens().Delete(t.Context(), "x"); err != nil {
		t.Errorf("a deletion whose answer was lost: %v", err)
	}
	if err := c.Tokens().Delete(t.Context(), "x"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestSend_retryAfter(t *testing.T) {
	var calls atomic.Int32
	b := &apitest.Backend{Tokens: apitest.Tokens{CreateTokenFunc: func(context.Context, api.Subject, wire.TokenRequest) (wire.TokenCreated, error) {
		if calls.Add(1) == 1 {
			return wire.TokenCreated{}, pipeline.ErrNoLeader // rejected: even this is repeated
		}
		return wire.TokenCreated{Token: "new"}, nil
	}}}
	var waited time.Duration
	c := newClient(t, client.Config{OnRetry: func(_ error, d time.Duration) { waited = d }}, serve(t, b, nil))
	out, err := c.Tokens().Create(t.Context(), wire.TokenRequest{Role: "read"})
	if err != nil || out.Token != "new" || waited < time.Second {
		t.Errorf("got %+v, %v after %v", out, err, waited)
	}
}

func TestSend_tokenSource(t *testing.T) {
	b := &apitest.Backend{Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) { return wire.RunList{}, nil }}}
	srv := serve(t, b, nil)
	var asked []bool
	c := newClient(t, client.Config{TokenSource: func(ctx context.Context, address string) (string, error) {
		asked = append(asked, client.Refused(ctx))
		if address != srv.URL {
			t.Errorf("asked for %s", address)
		}
		if client.Refused(ctx) {
			return "t", nil
		}
		return "old", nil
	}}, srv)
	if _, err := c.Runs().List(t.Context(), client.ListOptions{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]bool{false, true}, asked); diff != "" {
		t.Error(diff)
	}
	bad := newClient(t, client.Config{TokenSource: func(context.Context, string) (string, error) {
		return "", pipeline.Errorf(pipeline.Forbidden, "a plain address elsewhere gets no token")
	}}, srv)
	if _, err := bad.Runs().List(t.Context(), client.ListOptions{}); pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("got %v", err)
	}
}

// Something else than a node answers.
func TestSend_strangers(t *testing.T) {
	status := 500
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "<html>proxy error</html>", status)
	}))
	defer srv.Close()
	c := newClient(t, client.Config{RetryFor: 10 * time.Millisecond}, srv)
	for s, want := range map[int]pipeline.Kind{404: pipeline.NotFound, 403: pipeline.Forbidden, 502: pipeline.Unknown, 500: pipeline.Internal, 418: pipeline.Internal} {
		status = s
		if _, err := c.Tokens().Create(t.Context(), wire.TokenRequest{}); pipeline.KindOf(err) != want || !strings.Contains(err.Error(), "proxy error") {
			t.Errorf("%d: got %v (%v)", s, err, pipeline.KindOf(err))
		}
	}
}

func TestSend_redirectsAreNotFollowed(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("it was followed, token and all")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c := newClient(t, client.Config{RetryFor: 10 * time.Millisecond}, srv)
	if _, err := c.Runs().List(t.Context(), client.ListOptions{}); err == nil {
		t.Error("a redirect was taken for an answer")
	}
}

// data is random enough that a byte at a wrong place shows.
func data(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func TestBlob_resumes(t *testing.T) {
	blob := data(300_000)
	d := digestOf(blob)
	open := func(context.Context, pipeline.Digest, bool) (api.Blob, error) { return apitest.Bytes(blob), nil }
	for seed := range uint64(10) {
		cut := newCutter(seed, 4, 200_000)
		c := newClient(t, client.Config{}, serve(t, &apitest.Backend{Blobs: apitest.Blobs{OpenBlobFunc: open}}, cut.wrap), serve(t, &apitest.Backend{Blobs: apitest.Blobs{OpenBlobFunc: open}}, cut.wrap))
		r, err := c.Blobs().Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, blob) {
			t.Errorf("seed %d: %d bytes, %v", seed, len(got), err)
		}
		if cut.cuts == 0 {
			t.Errorf("seed %d: nothing was cut", seed)
		}
		r.Close()
		c.CloseIdle()
	}
}

func TestBlob_wrongBytes(t *testing.T) {
	srv := serve(t, &apitest.Backend{Blobs: apitest.Blobs{OpenBlobFunc: func(context.Context, pipeline.Digest, bool) (api.Blob, error) {
		return apitest.Bytes([]byte("forged")), nil
	}}}, nil)
	c := newClient(t, client.Config{}, srv)
	r, err := c.Blobs().Get(t.Context(), digestOf([]byte("right")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); pipeline.KindOf(err) != pipeline.Internal || err == nil {
		t.Errorf("got %v", err)
	}
}

func TestBlob_has(t *testing.T) {
	srv := serve(t, &apitest.Backend{Blobs: apitest.Blobs{OpenBlobFunc: func(_ context.Context, d pipeline.Digest, _ bool) (api.Blob, error) {
		if d == pipeline.EmptyDigest {
			return nil, pipeline.Errorf(pipeline.NotFound, "blob: there is none")
		}
		return apitest.Bytes([]byte("12345")), nil
	}}}, nil)
	c := newClient(t, client.Config{}, srv)
	if size, ok, err := c.Blobs().Has(t.Context(), digestOf([]byte("12345"))); size != 5 || !ok || err != nil {
		t.Errorf("got %d %v %v", size, ok, err)
	}
	if _, ok, err := c.Blobs().Has(t.Context(), pipeline.EmptyDigest); ok || err != nil {
		t.Errorf("got %v %v", ok, err)
	}
	if _, err := c.Blobs().Get(t.Context(), pipeline.EmptyDigest); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("got %v", err)
	}
}

// onlyReader hides that a reader could be rewound.
type onlyReader struct{ io.Reader }

func TestPutBlob_repeats(t *testing.T) {
	blob := data(100_000)
	d := digestOf(blob)
	var tries atomic.Int32
	b := &apitest.Backend{
		Blobs: apitest.Blobs{MissingBlobsFunc: func(_ context.Context, ds []pipeline.Digest) ([]pipeline.Digest, error) { return ds, nil },
			PutBlobFunc: func(_ context.Context, _ pipeline.Digest, r io.Reader) error {
				got, err := io.ReadAll(r)
				if err != nil {
					return err
				}
				if tries.Add(1)%2 == 1 {
					panic(http.ErrAbortHandler)
				}
				if !bytes.Equal(got, blob) {
					return pipeline.Errorf(pipeline.Invalid, "blob: got other bytes")
				}
				return nil
			}}}
	c := newClient(t, client.Config{}, serve(t, b, nil))
	if err := c.Blobs().Put(t.Context(), d, bytes.NewReader(blob)); err != nil || tries.Load() != 2 {
		t.Errorf("seekable: %v after %d tries", err, tries.Load())
	}
	err := c.Blobs().Put(t.Context(), d, onlyReader{bytes.NewReader(blob)})
	if k := pipeline.KindOf(err); k != pipeline.Unavailable || tries.Load() != 3 {
		t.Errorf("a stream: %v after %d tries", err, tries.Load())
	}
	if err := c.Blobs().Put(t.Context(), d, onlyReader{bytes.NewReader(blob)}); err != nil {
		t.Error(err)
	}
	tries.Store(1)
	if err := c.Blobs().Put(t.Context(), digestOf(nil), bytes.NewReader([]byte("x"))); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("wrong digest: %v", err)
	}
}

// The blobs and the run go to one node; when it goes away, both go to another.
func TestSubmitWith(t *testing.T) {
	var mu sync.Mutex
	var log []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, s)
	}
	first := serve(t, &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Runs: apitest.Runs{SubmitFunc: func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error) {
			note("submit 1")
			panic(http.ErrAbortHandler)
		}},
	}, nil)
	second := serve(t, &apitest.Backend{Runs: apitest.Runs{SubmitFunc: func(_ context.Context, _ api.Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
		note("submit 2")
		return wire.RunCreated{ID: pipeline.RunID(key + "-" + in.Source)}, nil
	}}}, nil)
	c := newClient(t, client.Config{RetryFor: 200 * time.Millisecond}, first, second)
	out, err := c.Runs().SubmitWith(t.Context(), "k", &wire.SubmitRequest{Source: "s"}, func(_ context.Context, at *client.Client) error {
		switch at.Address() {
		case first.URL:
			note("upload 1")
		case second.URL:
			note("upload 2")
		}
		return nil
	})
	if err != nil || out.ID != "k-s" || c.Address() != second.URL {
		t.Errorf("got %+v, %v", out, err)
	}
	mu.Lock()
	got := strings.Join(log, ", ")
	mu.Unlock()
	if !strings.HasPrefix(got, "upload 1, submit 1") || !strings.HasSuffix(got, "upload 2, submit 2") {
		t.Errorf("got %s", got)
	}
	stop := pipeline.Errorf(pipeline.Invalid, "workspace: too large")
	if _, err := c.Runs().SubmitWith(t.Context(), "k", &wire.SubmitRequest{}, func(context.Context, *client.Client) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}
