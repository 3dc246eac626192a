package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestEvents(t *testing.T) {
	var got api.EventQuery
	n := newNode(t, &apitest.Backend{
		Runs: apitest.Runs{FindRunFunc: func(_ context.Context, ref pipeline.RunRef, _ bool) (pipeline.RunID, error) {
			return pipeline.RunID("found-" + ref.Text), nil
		}},
		Feeds: apitest.Feeds{EventsFunc: func(_ context.Context, q api.EventQuery) (wire.EventList, error) {
			got = q
			return wire.EventList{Index: 7, Events: []wire.Event{}}, nil
		}},
	})
	for query, want := range map[string]string{
		"":                            "{0 true 100 0s   []}",
		"since=0&limit=5":             "{0 false 5 0s   []}",
		"since=9&wait=30s":            "{9 false 100 30s   []}",
		"since=9&wait=30":             "{9 false 100 30s   []}",
		"wait=2h":                     "{0 true 100 1m0s   []}",
		"run=12&type=run&type=leader": "{0 true 100 0s found-12  [run leader]}",
		"type=dev.cdevents.taskrun.finished.0.3.0": "{0 true 100 0s   [dev.cdevents.taskrun.finished.0.3.0]}",
		"node=beta": "{0 true 100 0s  beta []}",
	} {
		r := ask(t, n.public.URL, "GET /api/v1/events?"+query, "", asRead)
		if text := bodyText(t, r); r.StatusCode != 200 || strings.TrimSpace(text) != `{"index":7,"events":[]}` {
			t.Errorf("%s: %d %s", query, r.StatusCode, text)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: asked %v, want %s", query, got, want)
		}
	}
	for _, query := range []string{"since=x", "since=-1", "limit=0", "limit=1001", "wait=x", "wait=-1s", "type=", "type=walk", "type=run.walked", "run=A%20B"} {
		problem(t, ask(t, n.public.URL, "GET /api/v1/events?"+query, "", asRead), 400, pipeline.Invalid)
	}
}

func bodyText(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
