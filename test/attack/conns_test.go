package attack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

// silence is the count of those that got no answer, and whose connections are open.
const silence = -1

// crowd opens many connections from one address, each with one request, and counts
// the answers by their status; 0 is a connection that was closed. They stay open.
func crowd(t *testing.T, n *harness.Node, from, request string, many int) map[int]int {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	answers := make(chan int, many)
	for range many {
		c, err := d.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
		if err != nil {
			answers <- 0
			continue
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, request)
		go func() { answers <- status(c) }() // ends with the deadline
	}

	got := map[int]int{}
	for range many {
		got[<-answers]++
	}
	return got
}

// status reads an answer.
func status(c net.Conn) int {
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silence
	case err != nil:
		return 0
	}
	return r.StatusCode
}

// served makes calls from another address and reports how many were answered, and how
// long the slowest took.
func served(t *testing.T, n *harness.Node, from, path, token string) (ok int, slowest time.Duration) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		}}}
	for range 4 {
		began := time.Now()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(r)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			ok++
		}
		slowest = max(slowest, time.Since(began))
	}
	return ok, slowest
}

// 1,030 idle connections of one address that has shown no token keep out neither
// another address nor the command line.
func TestConns_idle(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	got := crowd(t, n, "127.0.9.9", "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 1030)
	ok, slowest := served(t, n, "127.0.9.8", "/api/health", "")
	t.Logf("the crowd got %v; of another address %d of 4 calls were served, within %s", got, ok, slowest.Round(time.Millisecond))
	if ok != 4 || got[http.StatusOK] != 1030 {
		t.Error("a caller was not served")
	}
	c.OK("status", "-address", n.URL)
}

// 1,030 followers of a log with one token keep out no other token, on any address.
func TestConns_followers(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	file := c.WriteFile("waits.hcl", "pipeline \"p\" {\n  workspace { exclude = [\"**\"] }\n  module \"m\" {\n    requires = { tags = [\"nobody\"] }\n    script   = \"true\"\n  }\n}\n")
	id := strings.Fields(c.OK("submit", "-detach", "-address", n.URL, file))[0]
	token := func(name string) string {
		return strings.TrimSpace(c.OK("token", "create", "-address", n.URL, "-role", "read", "-name", name))
	}
	path := "/api/v1/runs/" + id + "/logs?follow=1"
	got := crowd(t, n, "127.0.9.9", fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", path, token("crowd")), 1030)

	calm := token("calm")
	for _, from := range []string{"127.0.9.8", "127.0.9.9"} {
		for _, path := range []string{"/api/v1/runs", "/api/v1/runs/" + id + "?index=1000000000&wait=10ms"} {
			ok, slowest := served(t, n, from, path, calm)
			t.Logf("the crowd got %v; from %s %d of 4 calls of %s were served, within %s", got, from, ok, path, slowest.Round(time.Millisecond))
			if ok != 4 {
				t.Errorf("%s: another token is not served", path)
			}
		}
	}
	if got[http.StatusOK]+got[silence] == 0 || got[http.StatusTooManyRequests] == 0 {
		t.Errorf("the crowd got %v", got)
	}
}
