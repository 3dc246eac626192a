package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const output = "line one\nline two\n\xff\xfe no text\n"

// oneLog is a backend with one attempt's output.
func oneLog(final bool) *apitest.Backend {
	return &apitest.Backend{Logs: apitest.Logs{LogFunc: func(_ context.Context, id pipeline.RunID, module string, attempt int, offset int64) (io.ReadCloser, api.LogInfo, error) {
		if id != "r1" || module != "build[linux,amd64]" || attempt > 2 {
			return nil, api.LogInfo{}, pipeline.Errorf(pipeline.NotFound, "log: there is none")
		}
		info := api.LogInfo{Attempt: 2, Size: int64(len(output)), Final: final}
		if final {
			info.Digest = digestOf([]byte(output))
		}
		// More came meanwhile than the size says: it belongs to the next answer.
		return io.NopCloser(strings.NewReader((output + "more")[min(offset, int64(len(output))):])), info, nil
	}}}
}

func TestLog(t *testing.T) {
	n := newNode(t, oneLog(true))
	base := "GET /api/v1/runs/r1/modules/build%5Blinux%2Camd64%5D/logs"
	for _, tc := range []struct {
		query, header string
		status        int
		want          string
	}{
		{"", "", 200, output},
		{"?attempt=2", "", 200, output},
		{"?offset=9", "", 200, output[9:]},
		{fmt.Sprintf("?offset=%d", len(output)), "", 200, ""},
		{"?tail=5", "", 200, output[len(output)-5:]},
		{"?tail=0", "", 200, ""},
		{"?tail=99999", "", 200, output},
		{"?limit=5", "", 200, output[:5]},
		{"?offset=9&limit=3", "", 200, output[9:12]},
		{"?tail=5&limit=2", "", 200, output[len(output)-5 : len(output)-3]},
		{"?limit=99999", "", 200, output},
		{"?limit=0", "", 400, ""},
		{"?limit=-1", "", 400, ""},
		{"?limit=1&lines=1", "", 400, ""},
		{"?limit=1&follow=1", "", 400, ""},
		{"?limit=1", "Range: bytes=5-7", 400, ""},
		{"?limit=1", "If-None-Match: \"" + string(digestOf([]byte(output))) + "\"", 200, output[:1]},
		{"", "Range: bytes=5-7", 206, "one"},
		{"", "Range: bytes=-5", 206, output[len(output)-5:]},
		{"", "Range: bytes=9-", 206, output[9:]},
		{"?attempt=3", "", 404, ""},
		{"?offset=9999", "", 416, ""},
		{"", "Range: bytes=9999-", 416, ""},
		{"?offset=1", "Range: bytes=0-", 400, ""},
		{"?offset=1&tail=1", "", 400, ""},
		{"?offset=-1", "", 400, ""},
		{"?attempt=x", "", 400, ""},
		{"?follow=perhaps", "", 400, ""},
		{"", "If-None-Match: \"" + string(digestOf([]byte(output))) + "\"", 304, ""},
	} {
		r := ask(t, n.public.URL, base+tc.query, "", asRead, tc.header)
		body := text(t, r)
		if r.StatusCode != tc.status || tc.status < 300 && body != tc.want {
			t.Errorf("%s %s: got %d %q, want %d %q", tc.query, tc.header, r.StatusCode, body, tc.status, tc.want)
		}
		if tc.status == 200 && (r.Header.Get("X-Pipelined-Attempt") != "2" || r.Header.Get("X-Pipelined-Final") != "true" || r.Header.Get("Content-Type") != "text/plain; charset=utf-8") {
			t.Errorf("%s: %v", tc.query, r.Header)
		}
	}
	n = newNode(t, oneLog(false))
	r := ask(t, n.public.URL, base, "", asRead)
	if text(t, r) != output || r.Header.Get("Etag") != "" || r.Header.Get("X-Pipelined-Final") != "false" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("growing: %v", r.Header)
	}

	c := newClient(t, "read", n.public.URL)
	body, info, err := c.Modules().Log(t.Context(), "r1", "build[linux,amd64]", client.LogOptions{Offset: 9})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	body.Close()
	if err != nil || string(got) != output[9:] || info != (client.LogInfo{Attempt: 2, Offset: 9, Size: int64(len(output))}) {
		t.Errorf("got %q %+v %v", got, info, err)
	}
}

// readEvents collects a stream's events as "id|type|data", and its comments.
func readEvents(tb testing.TB, r io.Reader, until string) (events []string, comments int) {
	tb.Helper()
	sc := bufio.NewScanner(r)
	var id, kind, data string
	for sc.Scan() {
		switch line := sc.Text(); {
		case strings.HasPrefix(line, ":"):
			comments++
			if until == "comment" {
				return events, comments
			}
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			kind = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && kind != "":
			events = append(events, id+"|"+kind+"|"+data)
			if kind == until {
				return events, comments
			}
			id, kind, data = "", "", ""
		}
	}
	return events, comments
}

func TestFollow_events(t *testing.T) {
	var asked wire.FollowRequest
	n := newNode(t, &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(_ context.Context, id pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
		asked = in
		for _, e := range []wire.LogEvent{
			{Module: "b[x,y]", Attempt: 1, Offset: 10, Text: "hé\nb"},
			{Module: "b[x,y]", Attempt: 1, Offset: 15, Text: "\uFFFD", Raw: []byte{0xff}},
			{Module: "b[x,y]", Attempt: 1, Offset: 16, End: true, State: pipeline.AttemptFailed},
			{RunEnd: true, Run: pipeline.RunFailed},
		} {
			if err := send(e); err != nil {
				return err
			}
		}
		return nil
	}}})
	want := []string{
		`b[x,y]/1/15|log|{"module":"b[x,y]","attempt":1,"offset":10,"text":"hé\nb"}`,
		`b[x,y]/1/16|log|{"module":"b[x,y]","attempt":1,"offset":15,"text":"` + "\uFFFD" + `","raw":"/w=="}`,
		`b[x,y]/1/16|end|{"module":"b[x,y]","attempt":1,"offset":16,"end":true,"state":"failed"}`,
		`|run-end|{"module":"","attempt":0,"offset":0,"runEnd":true,"run":"failed"}`,
	}
	module := "GET /api/v1/runs/r1/modules/b%5Bx%2Cy%5D/logs?follow=1"
	pos := func(a int, o int64) map[string]wire.LogPosition {
		return map[string]wire.LogPosition{"b[x,y]": {Attempt: a, Offset: o}}
	}
	for _, tc := range []struct {
		what, body string
		header     string
		asked      wire.FollowRequest
	}{
		{module, "", "", wire.FollowRequest{Modules: []string{"b[x,y]"}, Follow: true}},
		{module, "", "Last-Event-Id: b[x,y]/1/10", wire.FollowRequest{Modules: []string{"b[x,y]"}, Follow: true, Positions: pos(1, 10)}},
		{module + "&attempt=1&offset=7", "", "", wire.FollowRequest{Modules: []string{"b[x,y]"}, Follow: true, Positions: pos(1, 7)}},
		{"GET /api/v1/runs/r1/logs", "", "", wire.FollowRequest{}},
		{"GET /api/v1/runs/r1/logs?follow&module=a&module=b", "", "", wire.FollowRequest{Follow: true, Modules: []string{"a", "b"}}},
		{"POST /api/v1/runs/r1/logs", "", "", wire.FollowRequest{Follow: true}},
		{"POST /api/v1/runs/r1/logs", `{"positions":{"b[x,y]":{"attempt":1,"offset":10}},"follow":true}`, isJSON, wire.FollowRequest{Follow: true, Positions: pos(1, 10)}},
	} {
		r := ask(t, n.public.URL, tc.what, tc.body, asRead, tc.header)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: got %d %s", tc.what, r.StatusCode, text(t, r))
			continue
		}
		got, _ := readEvents(t, r.Body, "")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", tc.what, diff)
		}
		if diff := cmp.Diff(tc.asked, asked); diff != "" {
			t.Errorf("%s: the backend was asked for another thing: %s", tc.what, diff)
		}
	}
	for _, tc := range [][3]string{
		{module, "", "Last-Event-Id: other/1/10"}, {module, "", "Last-Event-Id: b[x,y]/1"}, {module, "", "Last-Event-Id: b[x,y]/1/-5"},
		{module + "&offset=5", "", ""},
		{"POST /api/v1/runs/r1/logs", `{"positions":{"../x":{"attempt":1,"offset":1}}}`, isJSON},
		{"POST /api/v1/runs/r1/logs", `{"positions":{"m":{"attempt":1,"offset":-1}}}`, isJSON},
		{"POST /api/v1/runs/r1/logs", `{"modules":["a/b"]}`, isJSON},
		{"GET /api/v1/runs/r1/logs?module=a/b", "", ""},
	} {
		problem(t, ask(t, n.public.URL, tc[0], tc[1], asRead, tc[2]), 400, pipeline.Invalid)
	}
}

func TestFollow_failures(t *testing.T) {
	sendFirst := false
	n := newNode(t, &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(_ context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
		if sendFirst {
			if err := send(wire.LogEvent{Module: "m", Attempt: 1, Text: "x"}); err != nil {
				return err
			}
		}
		return pipeline.Errorf(pipeline.NotFound, "run r1: there is none")
	}}})
	problem(t, ask(t, n.public.URL, "GET /api/v1/runs/r1/logs", "", asRead), 404, pipeline.NotFound)
	sendFirst = true
	events, _ := readEvents(t, ask(t, n.public.URL, "GET /api/v1/runs/r1/logs", "", asRead).Body, "")
	if len(events) != 2 || !strings.Contains(events[1], `|error|`) || !strings.Contains(events[1], `"kind":"not_found"`) {
		t.Errorf("got %q", events)
	}
}

// A silent stream has its header soon and a comment now and then; it ends when
// the node stops, with a hint to go elsewhere; so do calls that wait.
func TestShutdown(t *testing.T) {
	b := listing()
	waits := newGate()
	b.Logs.FollowFunc = func(ctx context.Context, _ pipeline.RunID, _ wire.FollowRequest, _ func(wire.LogEvent) error) error {
		<-ctx.Done()
		return ctx.Err()
	}
	b.Runs.RunFunc = func(ctx context.Context, _ pipeline.RunID, _ uint64, _ time.Duration, _ uint64) (wire.Run, error) {
		return wire.Run{}, waits.wait(ctx)
	}
	short := newGate()
	b.Workers.WorkersFunc = func(ctx context.Context) (wire.WorkerList, error) { return wire.WorkerList{}, short.wait(ctx) }
	n := newNode(t, b, func(c *api.Config) { c.KeepAlive = 20 * time.Millisecond })

	stream := ask(t, n.public.URL, "GET /api/v1/runs/r1/logs?follow=1", "", asRead)
	for range 3 {
		if _, comments := readEvents(t, stream.Body, "comment"); comments != 1 {
			t.Fatal("the stream ended")
		}
	}
	type answer struct {
		status int
		kind   string
	}
	answers := make(chan answer, 2)
	for _, what := range []string{"GET /api/v1/runs/r1?index=5&wait=5m", "GET /api/workers"} {
		go func() {
			r := ask(t, n.public.URL, what, "", asRead)
			answers <- answer{r.StatusCode, r.Header.Get("X-Pipelined-Kind")}
		}()
	}
	<-waits.entered
	<-short.entered

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.Shutdown(ctx); err == nil {
		t.Error("it did not wait for the short call")
	}
	if events, _ := readEvents(t, stream.Body, ""); len(events) != 1 || events[0] != "|bye|{}" {
		t.Errorf("the stream ended with %q", events)
	}
	if got := <-answers; got != (answer{503, "unavailable"}) {
		t.Errorf("the waiting call got %+v", got)
	}
	r := ask(t, n.public.URL, "GET /api/v1/runs", "", asRead)
	problem(t, r, 503, pipeline.Unavailable)
	if r.Header.Get("X-Pipelined-Not-Executed") == "" || !r.Close {
		t.Errorf("refused with %v", r.Header)
	}
	close(short.release)
	if got := <-answers; got != (answer{200, ""}) {
		t.Errorf("the short call got %+v", got)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A follower passes a stream on as it comes, and ends it when its caller goes.
func TestFollow_forwarded(t *testing.T) {
	gone := make(chan struct{})
	next := make(chan string)
	leader := &apitest.Backend{Logs: apitest.Logs{FollowFunc: func(ctx context.Context, _ pipeline.RunID, _ wire.FollowRequest, send func(wire.LogEvent) error) error {
		defer close(gone)
		for offset := int64(0); ; {
			select {
			case s := <-next:
				if err := send(wire.LogEvent{Module: "m", Attempt: 1, Offset: offset, Text: s}); err != nil {
					return err
				}
				offset += int64(len(s))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}}}
	f, _ := pair(t, &apitest.Backend{}, leader)
	f.backend.Router.Stateless.Store(true)
	f.backend.Router.StatefulFunc = f.backend.Router.LeaderFunc
	r := ask(t, f.public.URL, "POST /api/v1/runs/r1/logs", `{"follow":true}`, asRead, isJSON)
	for _, s := range []string{"a", "b", "c"} {
		next <- s // sent only once the one before was read
		got, _ := readEvents(t, r.Body, "log")
		if len(got) != 1 || !strings.Contains(got[0], `"text":"`+s+`"`) {
			t.Fatalf("got %q, want %q", got, s)
		}
	}
	r.Body.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the leader was not told that the caller is gone")
	}
}

func TestRun_blocking(t *testing.T) {
	var index, since uint64
	var wait time.Duration
	n := newNode(t, &apitest.Backend{Runs: apitest.Runs{RunFunc: func(_ context.Context, id pipeline.RunID, i uint64, w time.Duration, s uint64) (wire.Run, error) {
		index, wait, since = i, w, s
		return wire.Run{Index: 9}, nil
	}}})
	for query, want := range map[string]time.Duration{"": 0, "?index=7": 30 * time.Second, "?index=7&wait=1h": 5 * time.Minute, "?index=7&wait=0s": 0, "?index=7&wait=1500ms": 1500 * time.Millisecond} {
		r := ask(t, n.public.URL, "GET /api/v1/runs/r1"+query, "", asRead)
		if r.StatusCode != http.StatusOK || wait != want || query != "" && index != 7 || r.Header.Get("X-Pipelined-Index") != "9" {
			t.Errorf("%s: got %d, wait %v, index %d", query, r.StatusCode, wait, index)
		}
		if body := text(t, r); !strings.Contains(body, `"modules":[]`) {
			t.Errorf("a list is null: %s", body)
		}
	}
	ask(t, n.public.URL, "GET /api/v1/runs/r1?since=5", "", asRead)
	if since != 5 {
		t.Errorf("since: got %d", since)
	}
}

func TestHealth(t *testing.T) {
	h := wire.Health{Status: "healthy", Role: "voter", Leader: "n2", Quorum: true}
	n := newNode(t, &apitest.Backend{Cluster: apitest.Cluster{HealthFunc: func(context.Context) wire.Health { return h }}})
	status := func(query string) int { return ask(t, n.public.URL, "GET /api/health"+query, "").StatusCode }
	if a, b, c := status(""), status("?ready=1"), status("?leader=1"); a != 200 || b != 200 || c != 503 {
		t.Errorf("voter: %d %d %d", a, b, c)
	}
	if got := ask(t, n.public.URL, "HEAD /api/health", "").StatusCode; got != 200 {
		t.Errorf("HEAD: %d", got)
	}
	h.Role = "leader"
	if got := status("?leader=1"); got != 200 {
		t.Errorf("leader: %d", got)
	}
	h.Leader, h.Quorum, h.Status = "", false, "degraded"
	if got := status(""); got != 503 {
		t.Errorf("no leader: %d", got)
	}
	got, err := newClient(t, "", n.public.URL).Health(t.Context())
	if err != nil || got.Status != "degraded" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLog_part(t *testing.T) {
	var asked wire.FollowRequest
	b := oneLog(true)
	b.Logs.FollowFunc = func(_ context.Context, _ pipeline.RunID, in wire.FollowRequest, send func(wire.LogEvent) error) error {
		asked = in
		at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
		for _, e := range []wire.LogEvent{
			{Module: "build[linux,amd64]", Attempt: 2, Offset: 9, Text: "one\nt", Time: at},
			{Module: "build[linux,amd64]", Attempt: 2, Offset: 14, Text: "wo\nthree", Time: at.Add(time.Second)},
			{Module: "build[linux,amd64]", Attempt: 2, Offset: 22, End: true},
			{Module: "build[linux,amd64]", Attempt: 3, Text: "of the next attempt"},
		} {
			if err := send(e); err != nil {
				return err
			}
		}
		return nil
	}
	n := newNode(t, b)
	base := "GET /api/v1/runs/r1/modules/build%5Blinux%2Camd64%5D/logs"
	for _, tc := range []struct {
		query, header string
		status        int
		want          string
		lines         int
	}{
		{"?lines=3", "", 200, "one\ntwo\nthree", 3},
		{"?lines=3&timestamps=1&attempt=2", "", 200, "2026-01-02T03:04:05.6Z one\n2026-01-02T03:04:05.6Z two\n2026-01-02T03:04:06.6Z three", 3},
		{"?since=10m", "", 200, "one\ntwo\nthree", 0},
		{"?since=2026-01-02T03:04:05Z", "", 200, "one\ntwo\nthree", 0},
		{"?since=yesterday", "", 400, "", 0},
		{"?since=-5s", "", 400, "", 0},
		{"?lines=0", "", 400, "", 0},
		{"?lines=1000001", "", 400, "", 0},
		{"?lines=1&tail=3", "", 400, "", 0},
		{"?lines=1&attempt=3", "", 404, "", 0},
		{"?timestamps=1", "Range: bytes=0-", 400, "", 0},
	} {
		resp := ask(t, n.public.URL, base+tc.query, "", asRead, tc.header)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tc.status || tc.status == 200 && string(body) != tc.want {
			t.Errorf("%s %s: %d, %v, %q", tc.query, tc.header, resp.StatusCode, err, body)
		}
		if p := asked.Positions["build[linux,amd64]"]; tc.status == 200 && (asked.Lines != tc.lines || p.Attempt != 2 || p.Offset != 0) {
			t.Errorf("%s: the backend was asked for %+v", tc.query, asked)
		}
	}
	problem(t, ask(t, n.public.URL, "POST /api/v1/runs/r1/logs", `{"follow": true, "lines": -1}`, asRead, "Content-Type: application/json"), 400, pipeline.Invalid)
}
