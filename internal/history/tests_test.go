package history_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/internal/testreport"
	"github.com/pipelined/pipelined/pipeline"
)

// testBlobs are lists of tests by their digests.
type testBlobs map[pipeline.Digest][]byte

func (b testBlobs) open(_ context.Context, _ []pipeline.NodeID, d pipeline.Digest) (api.Blob, error) {
	data, ok := b[d]
	if !ok {
		return nil, pipeline.Errorf(pipeline.Unavailable, "no node has %s", d)
	}
	return apitest.Bytes(data), nil
}

// tested ends an attempt that reported tests: names of which those with ! failed.
func (r *rig) tested(b testBlobs, run pipeline.RunID, module string, state pipeline.AttemptState, next pipeline.ModuleState, names ...string) {
	r.tb.Helper()
	var xml bytes.Buffer
	xml.WriteString("<testsuite>")
	for i, n := range names {
		name, failed := strings.CutPrefix(n, "!")
		inner := ""
		if failed {
			inner = `<failure message="broken ` + name + `">text</failure>`
		}
		fmt.Fprintf(&xml, `<testcase classname="c" name="%s" time="%d">%s</testcase>`, name, i, inner)
	}
	xml.WriteString("</testsuite>")
	var set testreport.Set
	set.Read("r.xml", xml.Bytes(), nil, state == pipeline.AttemptSucceeded)
	sum := set.Summary()
	data, err := set.Encode()
	if err != nil {
		r.tb.Fatal(err)
	}
	sum.Cases, sum.Size = pipeline.Digest(fmt.Sprintf("%x", sha256.Sum256(data))), int64(len(data))
	b[sum.Cases] = data

	r.finish(run, module, pipeline.Outcome{State: state, StartedAt: time.Now().UTC(), Tests: sum}, next)
}

// The tests of a run are listed by what people look for; one that failed in an attempt
// before the one that succeeded is flaky.
func TestHistory_Tests(t *testing.T) {
	r, b := newRig(t), testBlobs{}
	h := r.history(changedFiles{}, b.open)
	run := r.newRun(slowAndQuick)
	r.tested(b, run, "slow", pipeline.AttemptFailed, pipeline.ModuleWaiting, "one", "!two", "!three")
	r.tested(b, run, "slow", pipeline.AttemptSucceeded, pipeline.ModuleSucceeded, "one", "two", "three")
	r.tested(b, run, "quick", pipeline.AttemptFailed, pipeline.ModuleFailed, "four", "!five")
	r.endAfter(run, time.Second, pipeline.RunFailed)

	list := func(q api.TestQuery) string {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = 100
		}
		got, err := h.Tests(t.Context(), run, q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range got.Cases {
			name := fmt.Sprintf("%s %s", c.Name, c.State)
			if c.Flaky {
				name += fmt.Sprintf(" (attempt %d: %s)", c.FailedAttempt, c.Message)
			}
			names = append(names, name)
		}
		return fmt.Sprintf("%s / %d", strings.Join(names, ", "), got.Matching)
	}
	for _, c := range []struct {
		q    api.TestQuery
		want string
	}{
		{api.TestQuery{}, "five failed, three passed (attempt 1: broken three), two passed (attempt 1: broken two), four passed, one passed / 5"},
		{api.TestQuery{Limit: 1}, "five failed / 5"},
		{api.TestQuery{Module: "slow", State: "flaky"}, "three passed (attempt 1: broken three), two passed (attempt 1: broken two) / 2"},
		{api.TestQuery{State: "passed", Search: "ONE"}, "one passed / 1"},
		{api.TestQuery{Module: "slow", Attempt: 1}, "three failed, two failed, one passed / 3"},
	} {
		if got := list(c.q); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.q, got, c.want)
		}
	}

	got, err := h.Tests(t.Context(), run, api.TestQuery{Limit: 1})
	if err != nil || got.Total.Total != 5 || got.Total.Failed != 1 || got.Total.Flaky != 2 || len(got.Modules) != 2 || len(got.Modules[1].Attempts) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	doc, err := r.runs.Run(t.Context(), run, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := doc.Modules[1]
	if m.Tests == nil || m.Tests.Failed != 1 || fmt.Sprint(m.Tests.FailedNames) != "[c.five]" {
		t.Errorf("the module says %+v", m.Tests)
	}
	_, err = h.Tests(t.Context(), run, api.TestQuery{Module: "x", Limit: 1})
	wantKind(t, err, pipeline.NotFound, "has no module")

	// Without its blob a module has what the state names.
	clear(b)
	got, err = h.Tests(t.Context(), run, api.TestQuery{Module: "quick", Limit: 10})
	if err != nil || len(got.Cases) != 1 || got.Cases[0].Name != "five" || !strings.Contains(got.Modules[0].Gone, "cannot be read now") || got.Total.Total != 2 {
		t.Errorf("without blobs: %+v, %v", got, err)
	}
}

// The history names flaky tests and tests that fail, with how often and where last.
func TestHistory_PipelineHistory_tests(t *testing.T) {
	r, b := newRig(t), testBlobs{}
	h := r.history(changedFiles{}, b.open)
	var last pipeline.RunID
	for i := range 4 {
		last = r.newRun(slowAndQuick)
		if i%2 == 1 {
			r.tested(b, last, "slow", pipeline.AttemptFailed, pipeline.ModuleWaiting, "!one", "two")
		}
		r.tested(b, last, "slow", pipeline.AttemptSucceeded, pipeline.ModuleSucceeded, "one", "two")
		r.ranFor(last, "quick", time.Second, pipeline.AttemptSucceeded, pipeline.ModuleSucceeded)
		r.endAfter(last, time.Second, pipeline.RunSucceeded)
	}
	broken := r.newRun(slowAndQuick)
	r.tested(b, broken, "slow", pipeline.AttemptFailed, pipeline.ModuleFailed, "!two")

	got, err := h.PipelineHistory(t.Context(), "p", 50)
	if err != nil || got.Tests == nil || got.Tests.Runs != 5 || got.Tests.Newest.Failed != 1 {
		t.Fatalf("got %+v, %v", got.Tests, err)
	}
	f := got.Tests.Flaky
	if len(f) != 1 || f[0].Name != "one" || f[0].Runs != 5 || f[0].Times != 2 || f[0].Rate != 0.4 || f[0].Last.Run != last || f[0].Last.Attempt != 1 || f[0].Last.Message != "broken one" {
		t.Errorf("flaky: %+v", f)
	}
	if d := got.Tests.Failed; len(d) != 1 || d[0].Name != "two" || d[0].Times != 1 || d[0].Last.Run != broken {
		t.Errorf("failed: %+v", d)
	}
}
