package history

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxTestHistories bounds the tests of a kind in the history of a pipeline,
	// maxSlowTests the slowest ones.
	maxTestHistories = 50
	maxSlowTests     = 20
)

// testRuns collects what the summaries of runs say of tests, newest run first.
type testRuns struct {
	out wire.PipelineTests
	// newest counts the tests of the newest run.
	newest pipeline.TestCounts
	// runs are those in which a module tested, by its name.
	runs          map[string]int
	flaky, failed map[string]*wire.TestHistory // by module and test
	// in is the run that was counted last.
	in pipeline.RunID
}

func newTestRuns() *testRuns {
	return &testRuns{runs: map[string]int{}, flaky: map[string]*wire.TestHistory{}, failed: map[string]*wire.TestHistory{}}
}

// add adds a module of a run. Runs come one after the other.
func (t *testRuns) add(r *pipeline.Run, m *pipeline.ModuleRecord) {
	last := m.LastTests()
	if last == nil || last.Tests.Total == 0 || !m.State.Final() {
		return
	}
	if t.in != r.ID {
		t.in = r.ID
		t.out.Runs++
	}
	if t.out.Runs == 1 {
		t.newest.Add(m.TestCounts())
		for _, s := range last.Tests.Slowest {
			t.out.Slowest = append(t.out.Slowest, wire.SlowTest{Module: m.Name, Class: s.Class, Name: s.Name, Seconds: s.Took.Seconds(), Run: r.ID, Number: r.Number})
		}
	}
	if m.State == pipeline.ModuleCached {
		return // nothing was tested again
	}
	t.runs[m.Name]++
	for _, f := range m.FlakyTests() {
		count(t.flaky, r, m.Name, &f.TestName, f.Attempt)
	}
	for i := range last.Tests.Failing {
		count(t.failed, r, m.Name, &last.Tests.Failing[i], last.Number)
	}
}

// count counts a test once more. The first run that names it is the newest.
func count(in map[string]*wire.TestHistory, r *pipeline.Run, module string, n *pipeline.TestName, attempt int) {
	key := module + "\x00" + n.Key()
	h := in[key]
	if h == nil {
		h = &wire.TestHistory{Module: module, Class: n.Class, Name: n.Name,
			Last: wire.TestFailure{Run: r.ID, Number: r.Number, Attempt: attempt, Message: n.Message}}
		in[key] = h
	}
	h.Times++
}

// document gives what was collected; nil if no run reported tests.
func (t *testRuns) document() *wire.PipelineTests {
	if t.out.Runs == 0 {
		return nil
	}
	t.out.Newest = wire.TestCountsOf(t.newest)
	t.out.Flaky, t.out.Failed = t.ordered(t.flaky), t.ordered(t.failed)
	slices.SortStableFunc(t.out.Slowest, func(a, b wire.SlowTest) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Module, b.Module))
	})
	t.out.Slowest = append([]wire.SlowTest{}, t.out.Slowest[:min(len(t.out.Slowest), maxSlowTests)]...)
	return &t.out
}

func (t *testRuns) ordered(in map[string]*wire.TestHistory) []wire.TestHistory {
	out := make([]wire.TestHistory, 0, len(in))
	for _, h := range in {
		h.Runs = t.runs[h.Module]
		h.Rate = float64(h.Times) / float64(h.Runs)
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b wire.TestHistory) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Times, a.Times), strings.Compare(a.Module, b.Module), strings.Compare(a.Class, b.Class), strings.Compare(a.Name, b.Name))
	})
	return out[:min(len(out), maxTestHistories)]
}
