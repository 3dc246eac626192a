package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// The document of the Common Test Report Format.
type (
	ctrfReport struct {
		Format  string      `json:"reportFormat"`
		Version string      `json:"specVersion"`
		Results ctrfResults `json:"results"`
	}
	ctrfResults struct {
		Tool    ctrfTool    `json:"tool"`
		Summary ctrfSummary `json:"summary"`
		Tests   []ctrfTest  `json:"tests"`
	}
	ctrfTool struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	ctrfSummary struct {
		Tests   int   `json:"tests"`
		Passed  int   `json:"passed"`
		Failed  int   `json:"failed"`
		Pending int   `json:"pending"`
		Skipped int   `json:"skipped"`
		Other   int   `json:"other"`
		Flaky   int   `json:"flaky"`
		Start   int64 `json:"start"`
		Stop    int64 `json:"stop"`
	}
	ctrfTest struct {
		Name     string   `json:"name"`
		Status   string   `json:"status"`
		Duration int64    `json:"duration"`
		Start    int64    `json:"start,omitempty"`
		Stop     int64    `json:"stop,omitempty"`
		Raw      string   `json:"rawStatus"`
		Suite    string   `json:"suite,omitempty"`
		Message  string   `json:"message,omitempty"`
		Trace    string   `json:"trace,omitempty"`
		Retries  int      `json:"retries"`
		Flaky    bool     `json:"flaky"`
		Stdout   []string `json:"stdout,omitempty"`
		// Extra is where the format has room for what it does not know.
		Extra ctrfExtra `json:"extra"`
	}
	ctrfExtra struct {
		Run    string `json:"run"`
		Worker string `json:"worker,omitempty"`
	}
)

// ctrfStatus is the word for a verdict. What was lost or cancelled says nothing about
// the module.
var ctrfStatus = map[verdict]string{passed: "passed", failed: "failed", errored: "other", skipped: "skipped"}

func writeCTRF(w io.Writer, r *Report) error {
	n := r.tally()
	doc := ctrfReport{Format: "CTRF", Version: "0.0.0", Results: ctrfResults{Tool: ctrfTool{"pipelined", r.Version},
		Summary: ctrfSummary{Passed: n[passed], Failed: n[failed], Skipped: n[skipped], Other: n[errored],
			Start: r.SubmittedAt.UnixMilli(), Stop: r.end().UnixMilli()},
		Tests: []ctrfTest{}}}
	for _, m := range r.tests() {
		doc.Results.Summary.Tests++
		test := ctrfTestOf(r, m)
		if test.Flaky {
			doc.Results.Summary.Flaky++
		}
		doc.Results.Tests = append(doc.Results.Tests, test)
		for _, c := range r.Tests[m.Name] {
			doc.Results.add(r, m, &c)
		}
	}
	return writeDocument(w, doc)
}

func ctrfTestOf(r *Report, m *wire.Module) ctrfTest {
	t := ctrfTest{Name: m.Name, Status: ctrfStatus[verdictOf(m)], Duration: int64(m.DurationSeconds * 1000), Raw: string(m.State),
		Retries: max(0, len(m.Attempts)-1), Flaky: flaky(m), Stdout: r.Tails[m.Name], Extra: ctrfExtra{string(r.ID), m.Worker},
		Start: milliseconds(m.StartedAt), Stop: milliseconds(m.FinishedAt)}
	if t.Status != "passed" {
		t.Message = cause(m)
	}
	return t
}

// add adds a test that a module reported.
func (d *ctrfResults) add(r *Report, m *wire.Module, c *wire.TestCase) {
	t := ctrfTest{Name: c.Title(), Status: string(c.State), Duration: int64(c.Seconds * 1000), Raw: string(c.State), Suite: m.Name, Message: c.Message, Trace: c.Text,
		Flaky: c.Flaky, Extra: ctrfExtra{string(r.ID), m.Worker}}
	s := &d.Summary
	s.Tests++
	switch c.State {
	case pipeline.TestFailed:
		s.Failed++
	case pipeline.TestSkipped:
		s.Skipped++
	default:
		s.Passed++
		if c.Flaky {
			s.Flaky++
			t.Retries = 1
		}
	}
	if c.Stdout != "" {
		t.Stdout = []string{c.Stdout}
	}
	d.Tests = append(d.Tests, t)
}

func milliseconds(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixMilli()
}

// schemaVersion is of the form "json". It grows if a field changes its meaning.
const schemaVersion = 1

func writeJSON(w io.Writer, r *Report) error {
	return writeDocument(w, struct {
		Schema int `json:"schemaVersion"`
		wire.Run
		Tails map[string][]string        `json:"lastLines,omitempty"`
		Tests map[string][]wire.TestCase `json:"tests,omitempty"`
	}{schemaVersion, r.Run, r.Tails, r.Tests})
}

func writeDocument(w io.Writer, doc any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
