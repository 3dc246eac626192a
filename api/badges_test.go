package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestBadges(t *testing.T) {
	states := map[string][]pipeline.RunState{
		"good": {pipeline.RunRunning, pipeline.RunSucceeded, pipeline.RunFailed}, "bad": {pipeline.RunFailed}, "first": {pipeline.RunRunning},
	}
	b := &apitest.Backend{Histories: apitest.Histories{PipelineHistoryFunc: func(_ context.Context, name string, _ int) (wire.PipelineHistory, error) {
		out := wire.PipelineHistory{PipelineSummary: wire.PipelineSummary{Name: name}}
		for _, s := range states[name] {
			out.Newest = append(out.Newest, wire.RunPoint{State: s})
		}
		if len(out.Newest) == 0 {
			return out, pipeline.Errorf(pipeline.NotFound, "no run of pipeline %q is kept", name)
		}
		return out, nil
	}}}
	n := newNode(t, b, func(cfg *api.Config) { cfg.PublicBadges = true })
	for name, want := range map[string]string{"good": "good: succeeded", "bad": "bad: failed", "first": "first: running"} {
		r := ask(t, n.public.URL, "GET /badges/"+name+".svg", "")
		if got := text(t, r); r.StatusCode != 200 || r.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(got, `aria-label="`+want+`"`) {
			t.Errorf("%s: got %d %s", name, r.StatusCode, got)
		}
	}
	for _, file := range []string{"unknown.svg", "good.png", "%3Cscript%3E.svg"} {
		problem(t, ask(t, n.public.URL, "GET /badges/"+file, ""), 404, pipeline.NotFound)
	}

	// Without public_badges a badge needs a token: it shows the name of a pipeline.
	closed := newNode(t, b)
	if r := ask(t, closed.public.URL, "GET /badges/good.svg", ""); r.StatusCode != 401 {
		t.Errorf("without a token: got %d", r.StatusCode)
	}
	if r := ask(t, closed.public.URL, "GET /badges/good.svg", "", asRead); r.StatusCode != 200 {
		t.Errorf("with a token: got %d", r.StatusCode)
	}
}
