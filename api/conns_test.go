package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// portOf serves a node on a port with so many connections.
func portOf(t *testing.T, most int, change func(*node)) (address string) {
	t.Helper()
	n := newNode(t, listing(), func(c *api.Config) { c.MaxConns = most })
	if change != nil {
		change(n)
	}
	return serveNode(t, n, api.PortConfig{}, newKeys(t)).Addr()
}

// caller is one connection of HTTP/1.1.
type caller struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// from connects from an address of this machine; it is only used if the connection
// was accepted.
func from(t *testing.T, ip, address string) *caller {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skipf("needs all of 127.0.0.0/8, of which %s is not here", ip) // the loopback of darwin has one
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &caller{t, c, bufio.NewReader(c)}
}

// health asks for what needs no token, and reports whether it was answered.
func (c *caller) health() bool {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return false
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil && r.Body.Close() == nil
}

// closed waits until the server has closed the connection.
func (c *caller) closed() {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("the connection was not closed: %v", err)
	}
}

// TestPort_idle: idle connections of one address, silent ones and ones that begin a
// request, keep no other caller out. Those idle for longest go first.
func TestPort_idle(t *testing.T) {
	for name, begin := range map[string]func(*caller) bool{
		"after a request": (*caller).health,
		"silent":          func(*caller) bool { return true },
		"half a header": func(c *caller) bool {
			_, err := io.WriteString(c, "GET /api/health HTTP/1.1\r\nHost:")
			return err == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := portOf(t, 8, nil)
			other := from(t, "127.0.0.3", address)
			if !other.health() {
				t.Fatal("not served")
			}
			var all []*caller
			for range 20 {
				c := from(t, "127.0.0.2", address)
				if !begin(c) {
					t.Fatal("not served")
				}
				all = append(all, c)
			}
			for range 3 { // a first and further ones
				if !from(t, "127.0.0.4", address).health() {
					t.Error("another address is not served")
				}
			}
			if !from(t, "127.0.0.2", address).health() {
				t.Error("the address itself is not served any more")
			}
			all[0].closed()
			if !other.health() {
				t.Error("the connection of an address that has one was closed")
			}
		})
	}
}

// TestPort_active: what serves a call is not closed for a new connection; what is
// idle is.
func TestPort_active(t *testing.T) {
	waits := newGate()
	address := portOf(t, 8, func(n *node) {
		n.backend.Runs.RunsFunc = func(ctx context.Context, _ api.RunQuery) (list wire.RunList, err error) { return list, waits.wait(ctx) }
	})
	var busy []*caller
	for _, token := range []string{"read", "submit", "admin", "read", "submit"} {
		c := from(t, "127.0.0.2", address)
		fmt.Fprintf(c, "GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", token)
		<-waits.entered
		busy = append(busy, c)
	}
	silent := from(t, "127.0.0.2", address)
	if !from(t, "127.0.0.2", address).health() {
		t.Error("the address is not served any more")
	}
	silent.closed()
	if !from(t, "127.0.0.3", address).health() {
		t.Error("another address is not served")
	}
	close(waits.release)
	for i, c := range busy {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if r, err := http.ReadResponse(c.r, nil); err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("call %d: %v, %v", i, r, err)
		}
	}
}

// TestBudget_streams: streams of one token leave places for those of others, and all
// of them for short calls; who ends one gets a place again.
func TestBudget_streams(t *testing.T) {
	b := listing()
	b.Logs.FollowFunc = func(ctx context.Context, _ pipeline.RunID, _ wire.FollowRequest, _ func(wire.LogEvent) error) error {
		<-ctx.Done()
		return ctx.Err()
	}
	n := newNode(t, b, func(c *api.Config) { c.MaxConns, c.KeepAlive = 16, 20*time.Millisecond })
	follow := func(as string) *http.Response {
		return ask(t, n.public.URL, "GET /api/v1/runs/r1/logs?follow=1", "", as)
	}

	var open []*http.Response
	for range 6 { // three quarters of 8
		r := follow(asRead)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %d", len(open), r.StatusCode)
		}
		open = append(open, r)
	}
	r := follow(asRead)
	p := problem(t, r, http.StatusTooManyRequests, pipeline.Unavailable)
	if !strings.Contains(p.Detail, "6 streams and calls that wait, 6 of them for rita") || r.Header.Get("X-Pipelined-Not-Executed") == "" || r.Header.Get("Retry-After") == "" {
		t.Errorf("refused with %q and %v", p.Detail, r.Header)
	}

	for range 2 {
		if r := follow(asSubmit); r.StatusCode != http.StatusOK {
			t.Errorf("another token: %d", r.StatusCode)
		}
	}
	problem(t, follow(asAdmin), http.StatusServiceUnavailable, pipeline.Unavailable)
	for _, as := range []string{asRead, asSubmit, asAdmin} {
		if r := ask(t, n.public.URL, "GET /api/v1/runs", "", as); r.StatusCode != http.StatusOK {
			t.Errorf("a short call: %d", r.StatusCode)
		}
	}
	if r := ask(t, n.peer.URL, "GET /api/v1/runs/r1/logs?follow=1", "", "Test-Peer: n2"); r.StatusCode != http.StatusOK {
		t.Errorf("the port between nodes: %d", r.StatusCode)
	}

	for _, r := range slices.Backward(open) {
		r.Body.Close()
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if r := follow(asAdmin); r.StatusCode != http.StatusOK {
			return fmt.Errorf("after others have ended: %d", r.StatusCode)
		}
		return nil
	})
}
