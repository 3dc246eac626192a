package wire

import (
	"github.com/pipelined/pipelined/pipeline"
)

// TestCounts counts tests by how they ended; flaky ones have passed.
type TestCounts struct {
	Total   int     `json:"total"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Skipped int     `json:"skipped"`
	Flaky   int     `json:"flaky"`
	Seconds float64 `json:"seconds"`
}

// TestCountsOf gives counts as the API shows them.
func TestCountsOf(c pipeline.TestCounts) TestCounts {
	return TestCounts{Total: c.Total, Passed: c.Passed, Failed: c.Failed, Skipped: c.Skipped, Flaky: c.Flaky, Seconds: c.Took.Seconds()}
}

// ModuleTests is what a module has of the tests that it reported.
type ModuleTests struct {
	TestCounts
	// FailedNames are the first of the tests that failed.
	FailedNames []string `json:"failedNames,omitempty"`
}

// TestReport answers GET /api/v1/runs/{id}/tests.
type TestReport struct {
	Run      pipeline.RunID    `json:"run"`
	Number   uint64            `json:"number"`
	Pipeline string            `json:"pipeline"`
	State    pipeline.RunState `json:"state"`
	// Total is over the newest attempts of all modules of the run.
	Total   TestCounts   `json:"total"`
	Modules []TestModule `json:"modules"`
	// Cases are those that match the query: failed ones first, then flaky ones, then the
	// slowest, and at the end the skipped ones.
	Cases []TestCase `json:"cases"`
	// Matching counts them; Cases has the first of them.
	Matching int `json:"matching"`
}

// TestModule is a module that reported tests.
type TestModule struct {
	Module string `json:"module"`
	// Attempt is the one whose tests are meant: the newest that reported any, unless the
	// query names another.
	Attempt int        `json:"attempt"`
	Counts  TestCounts `json:"counts"`
	Files   int        `json:"files"`
	// Warnings say which files could not be read. Cut says that there were more tests than
	// are kept, Gone why the list of tests is not there: then Cases has those of the summary.
	Warnings []string      `json:"warnings,omitempty"`
	Cut      bool          `json:"cut,omitempty"`
	Gone     string        `json:"gone,omitempty"`
	Attempts []TestAttempt `json:"attempts"`
}

// TestAttempt counts the tests of one attempt.
type TestAttempt struct {
	Attempt int                   `json:"attempt"`
	State   pipeline.AttemptState `json:"state"`
	Counts  TestCounts            `json:"counts"`
}

// TestCase is one test.
type TestCase struct {
	Module  string             `json:"module"`
	Attempt int                `json:"attempt"`
	Suite   string             `json:"suite,omitempty"`
	Class   string             `json:"class,omitempty"`
	Name    string             `json:"name"`
	File    string             `json:"file,omitempty"`
	Line    int                `json:"line,omitempty"`
	State   pipeline.TestState `json:"state"`
	// Flaky marks a test that passed after it had failed, in FailedAttempt; message and
	// text are of that failure.
	Flaky         bool    `json:"flaky,omitempty"`
	FailedAttempt int     `json:"failedAttempt,omitempty"`
	Seconds       float64 `json:"seconds,omitempty"`
	Type          string  `json:"type,omitempty"`
	Message       string  `json:"message,omitempty"`
	Text          string  `json:"text,omitempty"`
	Stdout        string  `json:"stdout,omitempty"`
}

// Title is the test's name as people read it.
func (c *TestCase) Title() string { return pipeline.TestTitle(c.Class, c.Name) }

// PipelineTests is what the history of a pipeline says of its tests.
type PipelineTests struct {
	// Runs counts the runs that reported any.
	Runs int `json:"runs"`
	// Newest counts the tests of the newest of these runs.
	Newest TestCounts `json:"newest"`
	// Flaky and Failed are the tests that were so in most of the runs first.
	Flaky   []TestHistory `json:"flaky"`
	Failed  []TestHistory `json:"failed"`
	Slowest []SlowTest    `json:"slowest"`
}

// TestHistory is how often a test was flaky, or failed.
type TestHistory struct {
	Module string `json:"module"`
	Class  string `json:"class,omitempty"`
	Name   string `json:"name"`
	// Runs counts the runs in which the module reported tests, Times those of them in
	// which the test was flaky, or failed.
	Runs  int     `json:"runs"`
	Times int     `json:"times"`
	Rate  float64 `json:"rate"`
	// Last is the newest attempt in which it failed.
	Last TestFailure `json:"last"`
}

// TestFailure is an attempt in which a test failed.
type TestFailure struct {
	Run     pipeline.RunID `json:"run"`
	Number  uint64         `json:"number"`
	Attempt int            `json:"attempt"`
	Message string         `json:"message,omitempty"`
}

// SlowTest is one of the slowest tests of a run.
type SlowTest struct {
	Module  string         `json:"module"`
	Class   string         `json:"class,omitempty"`
	Name    string         `json:"name"`
	Seconds float64        `json:"seconds"`
	Run     pipeline.RunID `json:"run"`
	Number  uint64         `json:"number"`
}
