package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/report"
	"github.com/pipelined/pipelined/pipeline"
)

var update = flag.Bool("update", false, "write the golden files")

// sample is a run with a module in each state.
func sample() *report.Report {
	t0 := time.Date(2026, 11, 28, 21, 36, 40, 0, time.UTC)
	at := func(s int) *time.Time { t := t0.Add(time.Duration(s) * time.Second); return &t }
	one := 1
	attempt := func(n int, state pipeline.AttemptState, reason string) wire.Attempt {
		return wire.Attempt{Number: n, Worker: "gamma", State: state, Reason: reason, StartedAt: at(10), FinishedAt: at(20)}
	}
	r := &report.Report{Version: "v1", Tails: map[string][]string{"unit[a|b]": {"=== RUN TestX", "\x1b[31m<FAIL> & more\x1b[0m"}}}
	r.Run = wire.Run{RunSummary: wire.RunSummary{ID: "01a2240af46278408e4c0c03e8986f4a", Number: 1281, Pipeline: "release", State: pipeline.RunFailed,
		Reason: "unit[a|b] failed", Submitter: "ann", SubmittedAt: t0, FinishedAt: at(291)}}
	r.Modules = []wire.Module{
		{Name: "build", State: pipeline.ModuleSucceeded, Worker: "alpha", StartedAt: at(1), FinishedAt: at(9), DurationSeconds: 8,
			Attempts: []wire.Attempt{attempt(1, pipeline.AttemptFailed, "exit code 1"), attempt(2, pipeline.AttemptSucceeded, "")}},
		{Name: "codegen", State: pipeline.ModuleCached, CachedFrom: &wire.CachedFrom{Run: "r0", Module: "codegen", Attempt: 1}},
		{Name: "unit", State: pipeline.ModuleSucceeded},
		{Name: "unit[a|b]", Of: "unit", State: pipeline.ModuleFailed, Reason: "exit code 1", Worker: "gamma", ExitCode: &one, DependsOn: []string{"build"},
			StartedAt: at(10), FinishedAt: at(54), DurationSeconds: 44, Attempts: []wire.Attempt{attempt(1, pipeline.AttemptLost, "worker alpha was lost"), attempt(2, pipeline.AttemptFailed, "exit code 1")}},
		{Name: "e2e", State: pipeline.ModuleFailed, Reason: "5 attempts were lost", DependsOn: []string{"build"},
			Attempts: []wire.Attempt{attempt(1, pipeline.AttemptLost, "worker alpha was lost")}},
		{Name: "deploy", State: pipeline.ModuleSkipped, Reason: "not started because unit[a|b] failed", DependsOn: []string{"unit[a|b]"}},
		{Name: "notify", State: pipeline.ModuleCancelled, Reason: "cancelled by ann", Attempts: []wire.Attempt{attempt(1, pipeline.AttemptCancelled, "cancelled by ann")}},
	}
	r.Modules[3].Tests = &wire.ModuleTests{TestCounts: wire.TestCounts{Total: 4, Passed: 2, Failed: 1, Skipped: 1, Flaky: 1, Seconds: 3}, FailedNames: []string{"fsm.TestRetain"}}
	r.Tests = map[string][]wire.TestCase{"unit[a|b]": {
		{Module: "unit[a|b]", Attempt: 2, Class: "fsm", Name: "TestRetain", State: pipeline.TestFailed, Seconds: 0.31, Message: "want 3 | have 2", Text: "retain_test.go:91: <3>", Stdout: "out"},
		{Module: "unit[a|b]", Attempt: 2, Class: "fsm", Name: "TestOnce", State: pipeline.TestPassed, Flaky: true, FailedAttempt: 2, Message: "first"},
		{Module: "unit[a|b]", Attempt: 2, Class: "fsm", Name: "TestApply", State: pipeline.TestPassed, Seconds: 2.5},
		{Module: "unit[a|b]", Attempt: 2, Class: "fsm", Name: "TestDisk", State: pipeline.TestSkipped, Message: "no disk"}}}
	return r
}

func TestWrite_golden(t *testing.T) {
	for _, form := range report.Forms() {
		t.Run(form, func(t *testing.T) {
			var b bytes.Buffer
			if err := report.Write(&b, form, sample()); err != nil {
				t.Fatal(err)
			}

			path := filepath.Join("testdata", "report."+form)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("-want +got (go test ./internal/report -update):\n%s", diff)
			}
		})
	}
}

// Readers of JUnit's XML refuse a document that is not well formed, whatever a module
// has written, and count what they show.
func TestWrite_junit(t *testing.T) {
	r := sample()
	r.Tails["unit[a|b]"] = []string{"\x00\x1b]]>&<\ufffe", "<![CDATA["}
	var b bytes.Buffer
	if err := report.Write(&b, "junit", r); err != nil {
		t.Fatal(err)
	}

	var doc struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name  string     `xml:"name,attr"`
			Fail  []struct{} `xml:"testcase>failure"`
			Error []struct{} `xml:"testcase>error"`
			Skip  []struct{} `xml:"testcase>skipped"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatalf("%v:\n%s", err, b.String())
	}
	fails, errs, skips := 0, 0, 0
	for _, s := range doc.Suites {
		fails, errs, skips = fails+len(s.Fail), errs+len(s.Error), skips+len(s.Skip)
	}
	if doc.Tests != 10 || len(doc.Suites) != 6 {
		t.Errorf("%d tests in %d suites, want 10 in 6: the block of instances is none", doc.Tests, len(doc.Suites))
	}
	if doc.Failures != 2 || fails != 2 || doc.Errors != 2 || errs != 2 || doc.Skipped != 2 || skips != 2 {
		t.Errorf("failures %d %d, errors %d %d, skipped %d %d: want 2 of each", doc.Failures, fails, doc.Errors, errs, doc.Skipped, skips)
	}
}

func TestWrite_ctrf(t *testing.T) {
	var b bytes.Buffer
	if err := report.Write(&b, "ctrf", sample()); err != nil {
		t.Fatal(err)
	}

	var doc struct {
		Results struct {
			Summary struct{ Tests, Passed, Failed, Pending, Skipped, Other, Flaky int }
			Tests   []struct {
				Name, Status string
				Flaky        bool
				Retries      int
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	s := doc.Results.Summary
	if s.Tests != s.Passed+s.Failed+s.Pending+s.Skipped+s.Other || s.Tests != len(doc.Results.Tests) {
		t.Errorf("the summary does not add up: %+v", s)
	}
	if first := doc.Results.Tests[0]; !first.Flaky || first.Retries != 1 || s.Flaky != 2 {
		t.Errorf("build succeeded at its second attempt: %+v, %d flaky", first, s.Flaky)
	}
}

func TestWrite_markdownIsText(t *testing.T) {
	r := sample()
	r.Modules[3].Reason = "<script>alert(1)</script> | `x`"
	var b bytes.Buffer
	if err := report.Write(&b, "md", r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "<script") || strings.Contains(b.String(), "<FAIL>") {
		t.Errorf("what a module wrote is markup:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "build (8s) → ") {
		t.Errorf("no critical path:\n%s", b.String())
	}
}

// Forges refuse more than 1 MiB.
func TestWrite_markdownIsBounded(t *testing.T) {
	r := sample()
	for i := range 4000 {
		m := wire.Module{Name: fmt.Sprintf("m[%d]", i), Of: "m", State: pipeline.ModuleFailed, Reason: strings.Repeat("<", 200), Attempts: []wire.Attempt{{Number: 1, State: pipeline.AttemptFailed}}}
		r.Modules, r.Tails[m.Name] = append(r.Modules, m), []string{strings.Repeat("<", 16<<10)}
	}
	var b bytes.Buffer
	if err := report.Write(&b, "md", r); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); len(text) > 1<<20 || !strings.Contains(text, "3803 more modules that did not succeed are left out") || !strings.Contains(text, "3806 more modules are left out") {
		t.Errorf("%d bytes: %s", len(text), text[len(text)-400:])
	}
}

// The time between the end of a run and its retry is not how long it took.
func TestWrite_resumed(t *testing.T) {
	r := sample()
	end := r.FinishedAt.Add(time.Hour)
	r.FinishedAt, r.IdleSeconds = &end, 3600
	for form, want := range map[string]string{"md": "took 4m51s", "junit": `skipped="2" time="291.000"`} {
		var b bytes.Buffer
		if err := report.Write(&b, form, r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s has no %s:\n%s", form, want, b.String())
		}
	}
}

// The time of a run is compared with the usual one, if that is known.
func TestWrite_usual(t *testing.T) {
	for _, tc := range []struct {
		state pipeline.RunState
		usual time.Duration
		want  string
	}{
		{pipeline.RunSucceeded, 0, "took 4m51s, submitted"},
		{pipeline.RunSucceeded, 200 * time.Second, "took 4m51s, 46 % longer than usual (3m20s), submitted"},
		{pipeline.RunSucceeded, 388 * time.Second, "took 4m51s, 25 % less than usual (6m28s), submitted"},
		{pipeline.RunSucceeded, 280 * time.Second, "took 4m51s, as usual (4m40s), submitted"},
		{pipeline.RunFailed, 900 * time.Second, "took 4m51s (usually 15m0s), submitted"},
	} {
		r := sample()
		r.State, r.Usual = tc.state, tc.usual
		var b bytes.Buffer
		if err := report.Write(&b, "md", r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), tc.want) {
			t.Errorf("no %q in\n%s", tc.want, b.String())
		}
	}
}

func TestWriteSARIF(t *testing.T) {
	var b bytes.Buffer
	mistakes := []wire.Diagnostic{{File: "dir/my file.hcl", Line: 3, Column: 5, EndColumn: 9, Summary: "Unknown module", Detail: "there is no module x", SourceLine: "  depends_on = [module.x]"}}
	if err := report.WriteSARIF(&b, "v1", mistakes, []wire.Diagnostic{{Summary: "odd"}}); err != nil {
		t.Fatal(err)
	}

	var doc struct {
		Version string
		Runs    []struct {
			Results []struct {
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn, EndColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	got := doc.Runs[0].Results
	if doc.Version != "2.1.0" || len(got) != 2 || got[0].Level != "error" || got[1].Level != "warning" || len(got[1].Locations) != 0 {
		t.Fatalf("%s", b.String())
	}
	place := got[0].Locations[0].PhysicalLocation
	if place.ArtifactLocation.URI != "dir/my%20file.hcl" || place.Region.StartLine != 3 || place.Region.StartColumn != 5 || got[0].Message.Text != "Unknown module: there is no module x" {
		t.Errorf("%s", b.String())
	}
}
