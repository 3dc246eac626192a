package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// listing is a backend whose GET /api/v1/runs and POST /api/v1/runs work.
func listing() *apitest.Backend {
	return &apitest.Backend{
		Runs: apitest.Runs{RunsFunc: func(context.Context, api.RunQuery) (wire.RunList, error) { return wire.RunList{}, nil },
			SubmitFunc: func(context.Context, api.Subject, string, wire.SubmitRequest) (wire.RunCreated, error) {
				return wire.RunCreated{ID: "r1"}, nil
			}},
	}
}

// A page in the operator's browser, with or without a name that was rebound to
// loopback, reaches nothing, even with a token.
func TestGuard_browsers(t *testing.T) {
	n := newNode(t, listing())
	own := strings.TrimPrefix(n.public.URL, "http://")
	for _, tc := range []struct {
		name, what string
		headers    []string
		status     int
	}{
		{"IP literal", "GET /api/v1/runs", nil, 200},
		{"localhost", "GET /api/v1/runs", []string{"Host: LOCALHOST:8080"}, 200},
		{"localhost with a dot", "GET /api/v1/runs", []string{"Host: localhost."}, 200},
		{"IPv6 literal", "GET /api/v1/runs", []string{"Host: [::1]:8080"}, 200},
		{"own name", "GET /api/v1/runs", []string{"Host: Node.Example:1"}, 200},
		{"rebound name", "GET /api/v1/runs", []string{"Host: evil.example:8080"}, 403},
		{"name like an address", "GET /api/v1/runs", []string{"Host: 127.0.0.1.evil.example"}, 403},
		{"own name as a suffix", "GET /api/v1/runs", []string{"Host: x.node.example"}, 403},
		{"health under any name", "GET /api/health", []string{"Host: evil.example"}, 200},
		{"same origin", "GET /api/v1/runs", []string{"Origin: http://" + own}, 200},
		{"foreign origin reads", "GET /api/v1/runs", []string{"Origin: http://evil.example"}, 403},
		{"null origin reads", "GET /api/v1/runs", []string{"Origin: null"}, 403},
		{"other port reads", "GET /api/v1/runs", []string{"Origin: http://127.0.0.1:1"}, 403},
		{"foreign origin writes", "POST /api/v1/runs", []string{"Origin: http://evil.example"}, 403},
		{"cross-site writes", "POST /api/v1/runs", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"same-site writes", "POST /api/v1/runs", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"same-origin writes", "POST /api/v1/runs", []string{"Sec-Fetch-Site: same-origin", "Origin: http://" + own}, 201},
		{"no browser writes", "POST /api/v1/runs", nil, 201},
		{"rebound name with its own origin", "POST /api/v1/runs", []string{"Host: evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: same-origin"}, 403},
	} {
		body := ""
		headers := append([]string{asAdmin}, tc.headers...)
		if strings.HasPrefix(tc.what, "POST") {
			body, headers = `{"source":"x"}`, append(headers, isJSON)
		}
		r := ask(t, n.public.URL, tc.what, body, headers...)
		if r.StatusCode != tc.status {
			t.Errorf("%s: got %d %s, want %d", tc.name, r.StatusCode, text(t, r), tc.status)
		}
		if got := r.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: CORS is allowed: %q", tc.name, got)
		}
	}
}

// A form or a script may send these without asking the server first.
func TestGuard_contentTypes(t *testing.T) {
	n := newNode(t, listing())
	for _, tc := range []struct {
		header string
		status int
	}{
		{"", 415},
		{"Content-Type: text/plain", 415},
		{"Content-Type: text/plain;application/json", 415},
		{"Content-Type: application/x-www-form-urlencoded", 415},
		{"Content-Type: multipart/form-data; boundary=x", 415},
		{"Content-Type: application/json; charset=latin1", 415},
		{"Content-Type: application/json; charset=UTF-8", 201},
		{"Content-Type: Application/JSON", 201},
	} {
		headers := []string{asSubmit}
		if tc.header != "" {
			headers = append(headers, tc.header)
		}
		if r := ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, headers...); r.StatusCode != tc.status {
			t.Errorf("%q: got %d %s, want %d", tc.header, r.StatusCode, text(t, r), tc.status)
		}
	}
	r := ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, asSubmit, isJSON, "Content-Type: text/plain")
	problem(t, r, 415, pipeline.Invalid)
}

func TestGuard_requests(t *testing.T) {
	n := newNode(t, listing())
	long := strings.Repeat("x", 9<<10)
	for _, tc := range []struct {
		name, what string
		headers    []string
		status     int
		kind       pipeline.Kind
	}{
		{"token in the query", "GET /api/v1/runs?token=admin", nil, 400, pipeline.Invalid},
		{"token in the query, other name", "GET /api/v1/runs?Access_Token=admin", []string{asRead}, 400, pipeline.Invalid},
		{"two tokens", "GET /api/v1/runs", []string{asRead, asAdmin}, 400, pipeline.Invalid},
		{"query with a semicolon", "GET /api/v1/runs?a=1;b=2", []string{asRead}, 400, pipeline.Invalid},
		{"query with a broken escape", "GET /api/v1/runs?a=%zz", []string{asRead}, 400, pipeline.Invalid},
		{"encoded slash in a name", "GET /api/v1/schedules/a%2Fb", []string{asRead}, 400, pipeline.Invalid},
		{"encoded slash, lower case", "GET /api/v1/runs/a%2f/artifacts", []string{asRead}, 400, pipeline.Invalid},
		{"NUL in an id", "GET /api/v1/runs/a%00", []string{asRead}, 400, pipeline.Invalid},
		{"CRLF in an id", "GET /api/v1/runs/a%0d%0aSet-Cookie:x", []string{asRead}, 400, pipeline.Invalid},
		{"dots as an id", "GET /api/v1/runs/%2e%2e", []string{asRead}, 400, pipeline.Invalid},
		{"dots with a parameter", "GET /api/v1/runs/..;/x", []string{asRead}, 400, pipeline.Invalid},
		{"dots to a member", "POST /api/v1/members/../drain", []string{asAdmin}, 400, pipeline.Invalid},
		{"empty segment", "GET /api/v1//runs", []string{asRead}, 400, pipeline.Invalid},
		{"id in upper case", "GET /api/v1/runs/ABC", []string{asRead}, 400, pipeline.Invalid},
		{"backslash in a module", "GET /api/v1/runs/r1/modules/a%5Cb/logs", []string{asRead}, 400, pipeline.Invalid},
		{"dots in an artifact", "GET /api/v1/runs/r1/artifacts/m/a/%2E%2e/b", []string{asRead}, 400, pipeline.Invalid},
		{"bad digest", "GET /api/v1/blobs/xyz", []string{asRead}, 400, pipeline.Invalid},
		{"long path", "GET /api/v1/runs/" + long, []string{asRead}, 414, pipeline.TooLarge},
		{"long query", "GET /api/v1/runs?cursor=" + long, []string{asRead}, 414, pipeline.TooLarge},
		{"limit of 0", "GET /api/v1/runs?limit=0", []string{asRead}, 400, pipeline.Invalid},
		{"negative limit", "GET /api/v1/runs?limit=-1", []string{asRead}, 400, pipeline.Invalid},
		{"unknown state", "GET /api/v1/runs?state=burning", []string{asRead}, 400, pipeline.Invalid},
		{"long cursor", "GET /api/v1/runs?cursor=" + long[:600], []string{asRead}, 400, pipeline.Invalid},
		{"bad wait", "GET /api/v1/runs/r1?index=1&wait=30", []string{asRead}, 400, pipeline.Invalid},
		{"bad index", "GET /api/v1/runs/r1?index=-1", []string{asRead}, 400, pipeline.Invalid},
		{"index beyond 63 bits", "GET /api/v1/runs/r1?index=9999999999999999999", []string{asRead}, 400, pipeline.Invalid},
		{"method in a header is not obeyed", "GET /api/v1/run", []string{asRead, "X-Http-Method-Override: DELETE"}, 404, pipeline.NotFound},
		{"TRACE", "TRACE /api/v1/runs", []string{asRead}, 405, pipeline.Invalid},
	} {
		r := ask(t, n.public.URL, tc.what, "", tc.headers...)
		if r.StatusCode != tc.status {
			t.Errorf("%s: got %d %s, want %d", tc.name, r.StatusCode, text(t, r), tc.status)
			continue
		}
		problem(t, r, tc.status, tc.kind)
	}
}

// raw speaks bytes that no client library would send.
func raw(t *testing.T, addr, request string) (*http.Response, error) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(addr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(conn), nil)
}

func TestGuard_rawRequests(t *testing.T) {
	n := newNode(t, listing(), func(c *api.Config) { c.BodyGrace = 100 * time.Millisecond })
	auth := "Authorization: Bearer submit\r\nContent-Type: application/json\r\nHost: localhost\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
	}{
		{"absolute form", "GET http://evil.example/api/v1/runs HTTP/1.1\r\n" + auth + "\r\n", 403},
		{"absolute form, own host", "GET http://localhost/api/v1/runs HTTP/1.1\r\n" + auth + "\r\n", 400},
		{"large header", "GET /api/v1/runs HTTP/1.1\r\n" + auth + "X: " + strings.Repeat("y", 33<<10) + "\r\n\r\n", 431},
		{"two hosts", "GET /api/v1/runs HTTP/1.1\r\nHost: evil.example\r\n" + auth + "\r\n", 400},
		{"no host", "GET /api/v1/runs HTTP/1.0\r\nAuthorization: Bearer read\r\n\r\n", 403},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\n" + auth + "\r\n", 405},
		{"asterisk", "OPTIONS * HTTP/1.1\r\n" + auth + "\r\n", 400},
		{"announces too much", "POST /api/v1/runs HTTP/1.1\r\n" + auth + "Content-Length: 99999999\r\n\r\n", 413},
		{"body that never comes", "POST /api/v1/runs HTTP/1.1\r\n" + auth + "Content-Length: 14\r\n\r\n{", 408},
		{"chunks that never end", "POST /api/v1/runs HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"s\r\n", 408},
		{"body for a refused caller", "POST /api/v1/tokens HTTP/1.1\r\n" + auth + "Content-Length: 14\r\n\r\n", 403},
	} {
		r, err := raw(t, n.public.URL, tc.request)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if r.StatusCode != tc.status {
			t.Errorf("%s: got %d, want %d", tc.name, r.StatusCode, tc.status)
		}
		r.Body.Close()
	}
}

// A caller that sends a byte now and then is not let hold a connection, and one
// that is refused before its body was read is not either.
func TestGuard_slowBody(t *testing.T) {
	n := newNode(t, listing(), func(c *api.Config) { c.BodyGrace = 80 * time.Millisecond })
	for _, token := range []string{"submit", "nobody"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.public.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n", token)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, conn)
		}()
		tick := time.NewTicker(10 * time.Millisecond)
		timeout := time.After(10 * time.Second)
		for open := true; open; {
			select {
			case <-ended:
				open = false
			case <-tick.C:
				_, _ = conn.Write([]byte(" "))
			case <-timeout:
				t.Fatal("the connection was held open")
			}
		}
		tick.Stop()
	}
}

// The headers between nodes mean nothing on the public port.
func TestGuard_peerHeadersAreStripped(t *testing.T) {
	var by api.Subject
	b := listing()
	b.Runs.SubmitFunc = func(_ context.Context, s api.Subject, _ string, _ wire.SubmitRequest) (wire.RunCreated, error) {
		by = s
		return wire.RunCreated{ID: "r1"}, nil
	}
	n := newNode(t, b)
	spoof := []string{"X-Pipelined-Subject: root", "X-Pipelined-Role: admin", "X-Forwarded-By: id-n9", "Test-Peer: n9"}
	problem(t, ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, append(spoof, isJSON)...), 401, pipeline.Unauthenticated)
	if r := ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, append(spoof, isJSON, asSubmit)...); r.StatusCode != 201 {
		t.Fatalf("got %d", r.StatusCode)
	}
	if by.Name != "sam" || by.Role != api.RoleSubmit {
		t.Errorf("got subject %+v", by)
	}
	problem(t, ask(t, n.public.URL, "GET /api/v1/tokens", "", append(spoof, asRead)...), 403, pipeline.Forbidden)
}

func TestGuard_requestID(t *testing.T) {
	n := newNode(t, listing())
	for id, keep := range map[string]bool{"abc-1.2:3_4": true, "a b": false, strings.Repeat("x", 200): false, "": false} {
		r := ask(t, n.public.URL, "GET /api/v1/runs", "", asRead, "X-Request-Id: "+id)
		if got := r.Header.Get("X-Request-Id"); (got == id) != keep || got == "" {
			t.Errorf("sent %q, got %q", id, got)
		}
	}
}

func TestGuard_idempotencyKey(t *testing.T) {
	var got string
	b := listing()
	b.Runs.SubmitFunc = func(_ context.Context, _ api.Subject, key string, _ wire.SubmitRequest) (wire.RunCreated, error) {
		got = key
		return wire.RunCreated{ID: "r1", Repeated: key == "again"}, nil
	}
	n := newNode(t, b)
	for key, status := range map[string]int{"k 1!~": 201, "again": 200, strings.Repeat("k", 200): 201, strings.Repeat("k", 201): 400, "k\u00e9": 400, "": 400} {
		r := ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, asSubmit, isJSON, "Idempotency-Key: "+key)
		if r.StatusCode != status || status < 300 && got != key {
			t.Errorf("%.20q: got %d and key %q, want %d", key, r.StatusCode, got, status)
		}
	}
	r := ask(t, n.public.URL, "POST /api/v1/runs", `{"source":"x"}`, asSubmit, isJSON, "Idempotency-Key: a", "Idempotency-Key: b")
	problem(t, r, 400, pipeline.Invalid)
}
