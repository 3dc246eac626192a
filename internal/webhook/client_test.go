package webhook_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	reference "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/pipelined/pipelined/internal/webhook"
)

// elapse lets virtual time pass in a synctest bubble, and waits until every
// goroutine in it waits again.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// local allows receivers on loopback.
func local(tb testing.TB) webhook.Rules {
	tb.Helper()
	rules, err := webhook.ParseRules([]string{"127.0.0.0/8", "::1"})
	if err != nil {
		tb.Fatal(err)
	}
	return rules
}

// receiver serves a handler, and gives a client that may reach it.
func receiver(t *testing.T, rules webhook.Rules, h http.HandlerFunc) (*webhook.Client, *webhook.Target) {
	t.Helper()
	server := httptest.NewServer(h)
	client := webhook.NewClient(rules, "1.2.3")
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, &webhook.Target{Hook: "h", URL: server.URL + "/in?k=v", Keys: [][]byte{mustKey(t, secretText)}}
}

const secretText = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

var hello = webhook.Message{ID: "c1-7-0", Body: []byte(`{"id":"c1-7-0"}`)}

func TestClient_Send(t *testing.T) {
	var got http.Header
	var verified error
	client, to := receiver(t, local(t), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.RequestURI != "/in?k=v" {
			t.Errorf("%s %s: %v", r.Method, r.RequestURI, err)
		}
		got = r.Header.Clone()
		wh, err := reference.NewWebhook(secretText)
		if err != nil {
			t.Error(err)
			return
		}
		verified = wh.Verify(body, r.Header)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks\n\x1b[31mred")
	})

	a := client.Send(t.Context(), to, &hello)
	if !a.OK() || a.Status != http.StatusAccepted || a.Text != "thanks [31mred" || a.String() != "202 Accepted" {
		t.Errorf("answer %+v", a)
	}
	if verified != nil {
		t.Error(verified)
	}
	if got.Get("Content-Type") != "application/cloudevents+json" || got.Get("User-Agent") != "pipelined/1.2.3" || got.Get("Webhook-Id") != hello.ID {
		t.Errorf("headers %v", got)
	}
}

func TestClient_Send_failures(t *testing.T) {
	for status, want := range map[int]string{500: "500 Internal Server Error", 404: "404 Not Found", 410: "410 Gone", 599: "599"} {
		client, to := receiver(t, local(t), func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		a := client.Send(t.Context(), to, &hello)
		if a.OK() || a.String() != want || a.Gone() != (status == 410) {
			t.Errorf("%d: %+v", status, a)
		}
	}

	client, to := receiver(t, local(t), func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, strings.Repeat("é", 4000)) })
	if a := client.Send(t.Context(), to, &hello); !a.OK() || len(a.Text) > 512 || !strings.HasSuffix(a.Text, "é") {
		t.Errorf("a long answer: %d bytes", len(a.Text))
	}

	client, to = receiver(t, local(t), func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	if a := client.Send(t.Context(), to, &hello); a.Status != 0 || a.Text != "EOF" || strings.Contains(a.Text, "k=v") {
		t.Errorf("a connection that breaks: %+v", a)
	}
}

// A redirect is not followed: it may lead anywhere.
func TestClient_Send_redirect(t *testing.T) {
	var hits atomic.Int32
	client, to := receiver(t, local(t), func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	a := client.Send(t.Context(), to, &hello)
	if a.OK() || a.String() != "307 Temporary Redirect; redirects are not followed" || hits.Load() != 1 {
		t.Errorf("%d requests, %+v", hits.Load(), a)
	}
}

// What is dialled is checked, not the name: this one resolves to loopback.
func TestClient_Send_refused(t *testing.T) {
	var hits atomic.Int32
	client, to := receiver(t, webhook.Rules{}, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(to.URL, "http://"), "/in?k=v"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTP_PROXY", to.URL)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		to.URL = "http://" + host + ":" + port
		a := client.Send(t.Context(), to, &hello)
		if a.Status != 0 || hits.Load() != 0 {
			t.Errorf("%s: %+v, %d requests", host, a, hits.Load())
		}
		if !strings.Contains(a.Text, "receivers there are refused") {
			t.Errorf("%s: %s", host, a.Text)
		}
	}
}

// A receiver that says nothing, or drips its answer, ends after 15 s.
func TestClient_Send_slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client goes
			for r.URL.Path == "/drip" && r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(time.Second)
			}
			<-r.Context().Done()
		})}
		go func() { _ = server.Serve(ln) }()
		defer server.Close()
		client := webhook.NewClient(local(t), "1")
		client.SetDial(ln.dial)
		defer client.Close()

		began := time.Now()
		a := client.Send(t.Context(), &webhook.Target{URL: "http://r/silent"}, &hello)
		if a.Status != 0 || a.Text != "no answer within 15s" || time.Since(began) != 15*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), a)
		}
		began = time.Now()
		a = client.Send(t.Context(), &webhook.Target{URL: "http://r/drip"}, &hello)
		if !a.OK() || time.Since(began) != 15*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), a)
		}
		elapse(time.Minute) // until the handlers have ended
	})
}

// pipeListener accepts connections that need no network.
type pipeListener struct {
	conns chan net.Conn
	end   chan struct{}
}

func newPipeListener() *pipeListener { return &pipeListener{make(chan net.Conn), make(chan struct{})} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.end:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.end); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.IPAddr{} }
