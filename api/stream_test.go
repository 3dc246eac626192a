package api_test

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestStream(t *testing.T) {
	whole := pipeline.RunID(strings.Repeat("ab", 16))
	var got api.FeedRequest
	n := newNode(t, &apitest.Backend{
		Runs: apitest.Runs{FindRunFunc: func(_ context.Context, ref pipeline.RunRef, _ bool) (pipeline.RunID, error) {
			return pipeline.RunID("found-" + ref.Text), nil
		}},
		Feeds: apitest.Feeds{FeedFunc: func(ctx context.Context, in api.FeedRequest, send func(uint64, string, any) error) error {
			got = in
			if err := send(42, wire.EventNode, wire.StreamNode{Node: "n1"}); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}},
	})
	for _, tc := range []struct {
		query, header, want string
	}{
		{"topic=runs", "", "{true false false [] 0}"},
		{"topic=runs&topic=cluster&since=7", "", "{true true false [] 7}"},
		{"topic=events&since=3", "", "{false false true [] 3}"},
		{"topic=run:12&topic=run:" + string(whole), "Last-Event-ID: 9", "{false false false [found-12 " + string(whole) + "] 9}"},
	} {
		headers := []string{asRead}
		if tc.header != "" {
			headers = append(headers, tc.header)
		}
		r := ask(t, n.public.URL, "GET /api/v1/stream?"+tc.query, "", headers...)
		in := bufio.NewReader(r.Body)
		var event string
		for !strings.HasSuffix(event, "\n\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			event += line
		}
		r.Body.Close()
		if want := "id: 42\nevent: node\ndata: {\"node\":\"n1\",\"leader\":\"\"}\n\n"; event != want || r.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: got %q, want %q", tc.query, event, want)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: asked %+v, want %s", tc.query, got, tc.want)
		}
	}
	for _, query := range []string{"", "topic=", "topic=all", "topic=run:", "topic=run:A B", "topic=runs&since=x", "topic=" + strings.Repeat("runs&topic=", 16) + "runs"} {
		problem(t, ask(t, n.public.URL, "GET /api/v1/stream?"+strings.ReplaceAll(query, " ", "%20"), "", asRead), 400, pipeline.Invalid)
	}
	problem(t, ask(t, n.public.URL, "GET /api/v1/stream?topic=runs", "", asRead, "Last-Event-ID: build/1/0"), 400, pipeline.Invalid)
}

// A silent stream has a comment each second, whatever the node's own pause is.
func TestStream_silence(t *testing.T) {
	n := newNode(t, &apitest.Backend{Feeds: apitest.Feeds{FeedFunc: func(ctx context.Context, _ api.FeedRequest, _ func(uint64, string, any) error) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}})
	r := ask(t, n.public.URL, "GET /api/v1/stream?topic=runs", "", asRead)
	defer r.Body.Close()
	in := bufio.NewReader(r.Body)
	begun := time.Now()
	for range 3 {
		line, err := in.ReadString('\n')
		if err != nil || line != ": keep-alive\n" {
			t.Fatalf("got %q, %v after %s", line, err, time.Since(begun))
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

// A list of workers may leave out what most of it is.
func TestWorkers_brief(t *testing.T) {
	n := newNode(t, &apitest.Backend{Workers: apitest.Workers{WorkersFunc: func(context.Context) (wire.WorkerList, error) {
		return wire.WorkerList{Workers: []wire.WorkerNode{{ID: "w", Capabilities: pipeline.Capabilities{InstalledTools: []string{"sh", "git"}, MaxParallelModules: 4}}}}, nil
	}}})
	if body := text(t, ask(t, n.public.URL, "GET /api/workers", "", asRead)); !strings.Contains(body, `"git"`) {
		t.Errorf("whole: %s", body)
	}
	if body := text(t, ask(t, n.public.URL, "GET /api/workers?brief=1", "", asRead)); strings.Contains(body, `"git"`) || !strings.Contains(body, `"maxParallelModules":4`) {
		t.Errorf("brief: %s", body)
	}
}
