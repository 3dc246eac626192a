package peer_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialer gives one server's address for every node, and refuses strangers.
type dialer struct {
	url    string
	client *http.Client
	bulk   int
}

func (d *dialer) Client(id pipeline.NodeID) (*http.Client, string, error) {
	if id == "stranger" {
		return nil, "", pipeline.Errorf(pipeline.NotFound, "no member stranger")
	}
	return d.client, d.url, nil
}

func (d *dialer) BulkClient(id pipeline.NodeID) (*http.Client, string, error) {
	d.bulk++
	return d.Client(id)
}

// serve starts a peer port with some routes.
func serve(t *testing.T, register func(*http.ServeMux)) (*peer.Client, *dialer) {
	t.Helper()
	mux := http.NewServeMux()
	register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	d := &dialer{url: server.URL, client: server.Client()}
	return peer.NewClient(d, func(id pipeline.NodeID) string {
		if id == "0123456789abcdef" {
			return "" // not known
		}
		return "name-" + string(id)
	}), d
}

type question struct {
	Names []string `cbor:"1,keyasint"`
}

func TestClient_Call(t *testing.T) {
	c, _ := serve(t, func(mux *http.ServeMux) {
		mux.Handle("POST /peer/join", peer.Handle(func(_ context.Context, q question) (string, error) { return strings.Join(q.Names, " "), nil }))
	})
	var got string
	if err := c.Call(t.Context(), "n2", "/peer/join", question{Names: []string{"a", "b"}}, &got); err != nil || got != "a b" {
		t.Errorf("answer %q, %v", got, err)
	}
	// An answer may be dropped.
	if err := c.Call(t.Context(), "n2", "/peer/join", question{}, nil); err != nil {
		t.Error(err)
	}
	if err := c.Call(t.Context(), "stranger", "/peer/join", question{}, nil); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a node that is no member: %v", err)
	}
}

// Every kind of error crosses the network, so that errors.Is and KindOf work on
// the other side.
func TestClient_Call_kinds(t *testing.T) {
	var kind pipeline.Kind
	c, _ := serve(t, func(mux *http.ServeMux) {
		mux.Handle("POST /peer/fail", peer.Handle(func(context.Context, struct{}) (struct{}, error) {
			return struct{}{}, pipeline.Errorf(kind, "this is why")
		}))
	})
	for _, kind = range []pipeline.Kind{pipeline.Invalid, pipeline.NotFound, pipeline.Conflict, pipeline.Unavailable, pipeline.Unknown, pipeline.Forbidden, pipeline.Internal} {
		err := c.Call(t.Context(), "n2", "/peer/fail", struct{}{}, nil)
		if pipeline.KindOf(err) != kind || !strings.Contains(err.Error(), "this is why") {
			t.Errorf("sent %v, got %v: %v", kind, pipeline.KindOf(err), err)
		}
	}
	// A path that the other node does not know.
	if err := c.Call(t.Context(), "n2", "/peer/other", struct{}{}, nil); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("an unknown path: %v", err)
	}
}

// If the connection breaks the outcome is unknown: the other node may have done
// it. A canceled context is the caller's own.
func TestClient_Call_breaks(t *testing.T) {
	c, d := serve(t, func(mux *http.ServeMux) {
		mux.HandleFunc("POST /peer/break", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		mux.HandleFunc("POST /peer/cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		})
		mux.HandleFunc("POST /peer/garbage", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\xff\xff") })
	})
	for _, path := range []string{"/peer/break", "/peer/cut"} {
		var out string
		if err := c.Call(t.Context(), "n2", path, struct{}{}, &out); pipeline.KindOf(err) != pipeline.Unknown {
			t.Errorf("%s: kind %v of %v", path, pipeline.KindOf(err), err)
		}
	}
	var out string
	if err := c.Call(t.Context(), "n2", "/peer/garbage", struct{}{}, &out); err == nil {
		t.Error("an answer that is no message was taken")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "n2", "/peer/break", struct{}{}, nil); !errors.Is(err, context.Canceled) || pipeline.KindOf(err) == pipeline.Unknown {
		t.Errorf("a canceled call: %v", err)
	}

	d.url = "http://127.0.0.1:1"
	if err := c.Call(t.Context(), "n2", "/peer/break", struct{}{}, nil); err == nil {
		t.Error("no error although no node listens")
	}
}

// Files go over connections of their own.
func TestClient_Bulk(t *testing.T) {
	c, d := serve(t, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /peer/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "bytes") })
	})
	res, err := c.Bulk(t.Context(), "n2", http.MethodGet, "/peer/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "bytes" || d.bulk != 1 {
		t.Errorf("%q, %v, %d connections for files", body, err, d.bulk)
	}
}

// A request that is no message is refused with its reason and handled no further.
func TestReadMessage(t *testing.T) {
	called := false
	h := peer.Handle(func(context.Context, question) (struct{}, error) { called = true; return struct{}{}, nil })
	deep := strings.Repeat("\x81", 100) // lists in lists
	for _, body := range []string{"", "not cbor", deep, "\x9b\xff\xff\xff\xff\xff\xff\xff\xff"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest || called {
			t.Errorf("body %.10q: status %d, handled %v", body, w.Code, called)
		}
	}
}

// A node that is away is named by its name and its address, without the URL of the call.
func TestClient_nameOfNode(t *testing.T) {
	c, d := serve(t, func(*http.ServeMux) {})
	addr := testutil.Refusing(t)
	d.url = "http://" + addr

	for id, name := range map[pipeline.NodeID]string{"n4": "name-n4", "0123456789abcdef": "01234567"} {
		err := c.Call(t.Context(), id, "/peer/x", question{}, nil)
		want := "node " + name + " does not answer: connect to " + addr + ": connection refused"
		if err == nil || err.Error() != want || pipeline.KindOf(err) != pipeline.Unknown || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
