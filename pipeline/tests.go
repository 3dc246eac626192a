package pipeline

import (
	"strings"
	"time"
)

// Reports are the files in which a module reports what it tested. They are globs in its
// directory, as outputs are.
type Reports struct {
	JUnit []string `json:"junit,omitempty"`
}

// TestState is how a test ended.
type TestState string

// The states of a test.
const (
	TestPassed  TestState = "passed"
	TestFailed  TestState = "failed"
	TestSkipped TestState = "skipped"
)

// TestCase is one test in the reports of an attempt.
type TestCase struct {
	Suite string    `json:"suite,omitempty"`
	Class string    `json:"class,omitempty"`
	Name  string    `json:"name"`
	File  string    `json:"file,omitempty"`
	Line  int       `json:"line,omitempty"`
	State TestState `json:"state"`
	// Flaky marks one that passed after it had failed, in the same attempt.
	Flaky bool          `json:"flaky,omitempty"`
	Took  time.Duration `json:"took,omitempty"`
	// Type, Message and Text are of the failure, also of one that a flaky test had
	// before; Output is the end of what a test that failed has printed.
	Type    string `json:"type,omitempty"`
	Message string `json:"message,omitempty"`
	Text    string `json:"text,omitempty"`
	Output  string `json:"output,omitempty"`
}

// Key is what a test is known by in its module.
func (c *TestCase) Key() string { return testKey(c.Class, c.Name) }

func testKey(class, name string) string { return class + "\x00" + name }

// TestName names a test in a summary.
type TestName struct {
	Class   string        `json:"class,omitempty"`
	Name    string        `json:"name"`
	Message string        `json:"message,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
}

// Key is TestCase.Key.
func (n *TestName) Key() string { return testKey(n.Class, n.Name) }

// Title is the test's name as people read it.
func (n *TestName) Title() string { return TestTitle(n.Class, n.Name) }

// TestTitle joins the names of a class and of a test.
func TestTitle(class, name string) string {
	if class == "" || strings.HasPrefix(name, class+".") {
		return name
	}
	return class + "." + name
}

// TestCounts counts tests by how they ended. Flaky ones have passed.
type TestCounts struct {
	Total   int           `json:"total"`
	Passed  int           `json:"passed"`
	Failed  int           `json:"failed"`
	Skipped int           `json:"skipped"`
	Flaky   int           `json:"flaky"`
	Took    time.Duration `json:"took"`
}

// Add adds the counts of others.
func (c *TestCounts) Add(o TestCounts) {
	c.Total, c.Passed, c.Failed, c.Skipped = c.Total+o.Total, c.Passed+o.Passed, c.Failed+o.Failed, c.Skipped+o.Skipped
	c.Flaky, c.Took = c.Flaky+o.Flaky, c.Took+o.Took
}

// TestSummary is what the replicated state keeps of the tests that an attempt reported.
// It takes a few KiB at most; Cases has all of them.
type TestSummary struct {
	TestCounts
	// Files counts the reports that were read.
	Files int `json:"files"`
	// Failing, Flaky and Slowest name the first tests of each kind.
	Failing []TestName `json:"failing,omitempty"`
	Flaked  []TestName `json:"flaked,omitempty"`
	Slowest []TestName `json:"slowest,omitempty"`
	// Cut says that there were more tests than are kept.
	Cut bool `json:"cut,omitempty"`
	// Warnings say which files could not be read, and why.
	Warnings []string `json:"warnings,omitempty"`
	// Cases is the blob of all tests, Size its length in bytes; "" if it is not kept.
	Cases Digest `json:"cases,omitempty"`
	Size  int64  `json:"size,omitempty"`
}

// FlakyTest is a test that passed after it had failed in the same run.
type FlakyTest struct {
	TestName
	// Attempt is the one in which it failed.
	Attempt int
}

// LastTests is the newest attempt that reported tests; nil if none did.
func (m *ModuleRecord) LastTests() *Attempt {
	for i := len(m.Attempts) - 1; i >= 0; i-- {
		if a := &m.Attempts[i]; a.Tests != nil {
			return a
		}
	}
	return nil
}

// FlakyTests lists the tests of a module that succeeded which had failed before, in the
// same attempt or an earlier one. It knows those that summaries name.
func (m *ModuleRecord) FlakyTests() (out []FlakyTest) {
	last := m.LastTests()
	if last == nil || m.State != ModuleSucceeded {
		return nil
	}

	seen := map[string]bool{}
	for i := range last.Tests.Failing {
		seen[last.Tests.Failing[i].Key()] = true // it did not pass
	}
	add := func(list []TestName, attempt int) {
		for _, n := range list {
			if !seen[n.Key()] {
				seen[n.Key()] = true
				out = append(out, FlakyTest{TestName: n, Attempt: attempt})
			}
		}
	}
	add(last.Tests.Flaked, last.Number)
	for i := len(m.Attempts) - 1; i >= 0; i-- {
		if a := &m.Attempts[i]; a.Tests != nil && a.Number != last.Number {
			add(a.Tests.Failing, a.Number)
		}
	}
	return out
}

// TestCounts counts the tests of a module, with those that are flaky over its attempts.
func (m *ModuleRecord) TestCounts() TestCounts {
	last := m.LastTests()
	if last == nil {
		return TestCounts{}
	}
	c := last.Tests.TestCounts
	c.Flaky = max(c.Flaky, len(m.FlakyTests()))
	return c
}
