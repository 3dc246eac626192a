package history

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testreport"
	"github.com/pipelined/pipelined/pipeline"
)

// maxTestBlobs bounds the bytes of lists of tests that one answer is made of.
const maxTestBlobs = 64 << 20

// testedModule is a module with the attempts that reported tests.
type testedModule struct {
	name     string
	state    pipeline.ModuleState
	attempts []pipeline.Attempt
	// shown is the one whose tests are meant.
	shown *pipeline.Attempt
	// counts are those of shown, with the tests that are flaky over the attempts.
	counts pipeline.TestCounts
}

// Tests reads the tests that the modules of a run reported.
func (h *History) Tests(ctx context.Context, id pipeline.RunID, q api.TestQuery) (wire.TestReport, error) {
	out := wire.TestReport{Modules: []wire.TestModule{}, Cases: []wire.TestCase{}}
	var list []*testedModule
	err := h.cfg.State.View(func(v *fsm.View) (err error) {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		out.Run, out.Number, out.Pipeline, out.State = run.ID, run.Number, run.Pipeline, run.State
		list, err = testedModules(v, id, q)
		return err
	})
	if err != nil {
		return out, err
	}

	// Those with failures first: a run may have more tests than one answer reads.
	slices.SortStableFunc(list, func(a, b *testedModule) int { return cmp.Compare(b.shown.Tests.Failed, a.shown.Tests.Failed) })
	left := int64(maxTestBlobs)
	var total pipeline.TestCounts
	for _, m := range list {
		cases, gone := h.casesOf(ctx, m, &left)
		total.Add(m.counts)
		out.Modules = append(out.Modules, m.document(gone))
		for i := range cases {
			if wanted(&cases[i], q) {
				out.Cases = append(out.Cases, cases[i])
			}
		}
	}
	slices.SortStableFunc(out.Cases, func(a, b wire.TestCase) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Module, b.Module))
	})
	out.Total, out.Matching = wire.TestCountsOf(total), len(out.Cases)
	out.Cases = out.Cases[:min(len(out.Cases), q.Limit)]
	return out, nil
}

// testedModules finds the modules of a run that reported tests, and those that the query
// names. The error is NotFound if there is no such module.
func testedModules(v *fsm.View, id pipeline.RunID, q api.TestQuery) (out []*testedModule, err error) {
	mods, err := v.RunModules(id)
	if err != nil {
		return nil, err
	}
	if q.Module != "" && !fsm.Selects(mods, q.Module) {
		return nil, pipeline.NoModule(id, q.Module, mods)
	}
	for i := range mods {
		if q.Module != "" && mods[i].Of != q.Module && !pipeline.Selects(q.Module, mods[i].Name) {
			continue
		}
		record := v.Module(id, mods[i].Name)
		m := &testedModule{name: record.Name, state: record.State}
		for j := range record.Attempts {
			if record.Attempts[j].Tests != nil {
				m.attempts = append(m.attempts, record.Attempts[j])
			}
		}
		for j := range m.attempts {
			if a := &m.attempts[j]; q.Attempt == 0 || a.Number == q.Attempt {
				m.shown = a
			}
		}
		if m.shown == nil {
			continue
		}
		if m.counts = m.shown.Tests.TestCounts; m.shown.Number == record.LastTests().Number {
			m.counts = record.TestCounts()
		}
		out = append(out, m)
	}
	return out, nil
}

// document gives what the API shows of a module; gone is why its list of tests is not
// there.
func (m *testedModule) document(gone string) wire.TestModule {
	t := m.shown.Tests
	doc := wire.TestModule{Module: m.name, Attempt: m.shown.Number, Counts: wire.TestCountsOf(m.counts), Files: t.Files, Warnings: t.Warnings, Cut: t.Cut,
		Gone: gone, Attempts: []wire.TestAttempt{}}
	for i := range m.attempts {
		a := &m.attempts[i]
		doc.Attempts = append(doc.Attempts, wire.TestAttempt{Attempt: a.Number, State: a.State, Counts: wire.TestCountsOf(a.Tests.TestCounts)})
	}
	return doc
}

// casesOf reads the tests of a module, with what earlier attempts say of those that
// passed. If the list is not there, gone says why.
func (h *History) casesOf(ctx context.Context, m *testedModule, left *int64) (out []wire.TestCase, gone string) {
	cases, gone := h.readCases(ctx, m.shown, left)
	out = make([]wire.TestCase, len(cases))
	for i := range cases {
		out[i] = caseOf(&cases[i])
		out[i].Module, out[i].Attempt = m.name, m.shown.Number
		if out[i].Flaky {
			out[i].FailedAttempt = m.shown.Number
		}
	}
	if m.state != pipeline.ModuleSucceeded || m.shown.State != pipeline.AttemptSucceeded {
		return out, gone
	}

	flaky := 0
	earlier := h.failedBefore(ctx, m, left)
	for i := range out {
		c := &out[i]
		if was, ok := earlier[cases[i].Key()]; ok && c.State == pipeline.TestPassed && !c.Flaky {
			c.Flaky, c.FailedAttempt = true, was.Attempt
			c.Type, c.Message, c.Text, c.Stdout = was.Type, was.Message, was.Text, was.Stdout
		}
		if c.Flaky {
			flaky++
		}
	}
	m.counts.Flaky = max(m.counts.Flaky, flaky)
	return out, gone
}

// failedBefore are the tests that failed in attempts before the one that is shown, the
// newest failure of each, by key.
func (h *History) failedBefore(ctx context.Context, m *testedModule, left *int64) map[string]wire.TestCase {
	out := map[string]wire.TestCase{}
	for i := range m.attempts {
		a := &m.attempts[i]
		if a.Number >= m.shown.Number || a.Tests.Failed == 0 {
			continue
		}
		cases, _ := h.readCases(ctx, a, left)
		for j := range cases {
			if c := &cases[j]; c.State == pipeline.TestFailed {
				was := caseOf(c)
				was.Attempt = a.Number
				out[c.Key()] = was
			}
		}
	}
	return out
}

// readCases reads the list of an attempt's tests. If it is not there, gone says why, and
// the cases are those of the summary.
func (h *History) readCases(ctx context.Context, a *pipeline.Attempt, left *int64) (cases []pipeline.TestCase, gone string) {
	t := a.Tests
	switch {
	case t.Total == 0:
		return nil, ""
	case t.Cases == "":
		gone = "the list of tests is not kept any more"
	case t.Size > *left:
		gone = "the run has more tests than one answer: ask for this module alone"
	default:
		*left -= t.Size
		data, err := h.readBlob(ctx, a)
		if err == nil {
			cases, err = testreport.Decode(data)
		}
		if err == nil {
			return cases, ""
		}
		gone = "the list of tests cannot be read now: " + err.Error()
	}

	for state, list := range map[pipeline.TestState][]pipeline.TestName{pipeline.TestFailed: t.Failing, pipeline.TestPassed: t.Flaked} {
		for _, n := range list {
			cases = append(cases, pipeline.TestCase{Class: n.Class, Name: n.Name, State: state, Flaky: state == pipeline.TestPassed, Message: n.Message, Took: n.Took})
		}
	}
	return cases, gone
}

func (h *History) readBlob(ctx context.Context, a *pipeline.Attempt) ([]byte, error) {
	b, err := h.cfg.Open(ctx, a.Holders, a.Tests.Cases)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(io.LimitReader(b, a.Tests.Size))
}

func caseOf(c *pipeline.TestCase) wire.TestCase {
	return wire.TestCase{Suite: c.Suite, Class: c.Class, Name: c.Name, File: c.File, Line: c.Line, State: c.State, Flaky: c.Flaky, Seconds: c.Took.Seconds(),
		Type: c.Type, Message: c.Message, Text: c.Text, Stdout: c.Output}
}

// rank orders tests by what people look for.
func rank(c *wire.TestCase) int {
	switch {
	case c.State == pipeline.TestFailed:
		return 0
	case c.Flaky:
		return 1
	case c.State == pipeline.TestPassed:
		return 2
	}
	return 3
}

func wanted(c *wire.TestCase, q api.TestQuery) bool {
	switch {
	case q.State == api.TestsFlaky && !c.Flaky, q.State != "" && q.State != api.TestsFlaky && string(c.State) != q.State:
		return false
	case q.Search == "":
		return true
	}
	text := strings.ToLower(q.Search)
	for _, s := range []string{c.Name, c.Class, c.Suite, c.Message, c.Module} {
		if strings.Contains(strings.ToLower(s), text) {
			return true
		}
	}
	return false
}
