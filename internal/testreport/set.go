package testreport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of the tests of one attempt: how many are kept, and the bytes of their texts.
// They are variables for tests alone.
var (
	maxCases = 20_000
	maxBytes = 8 << 20
)

const (
	// MaxSummary bounds the summary of the tests of one attempt, in bytes.
	MaxSummary = 4 << 10
	// maxListed bounds how many tests of a kind a summary names, maxSlowest the slowest.
	maxListed  = 20
	maxSlowest = 5
	// maxShort bounds a name or a message in a summary, in bytes.
	maxShort = 200
	// maxWarnings bounds the warnings about files.
	maxWarnings = 5
)

// Set collects the tests of one attempt. The zero value is empty.
type Set struct {
	cases []pipeline.TestCase
	bytes int
	files int
	// dropped counts tests beyond the bounds by how they ended.
	dropped  pipeline.TestCounts
	warnings []string
	more     int // warnings beyond maxWarnings
	// failed are the positions of tests that failed, by key.
	failed map[string]int
}

// Read adds the tests of one file. hide replaces what must not be shown, nil nothing. With retried, a
// test that failed and passes later in the same attempt is one flaky test: a program that
// repeats tests that fail reports both, and the attempt succeeded. What cannot be read is
// a warning.
func (s *Set) Read(name string, data []byte, hide func([]byte) []byte, retried bool) {
	if hide != nil { // before texts are cut: half of a secret would not be found
		data = hide(data)
	}
	before := len(s.cases)
	err := parse(data, func(c pipeline.TestCase) {
		for _, text := range []*string{&c.Suite, &c.Class, &c.Name, &c.File, &c.Type, &c.Message, &c.Text, &c.Output} {
			if hide != nil { // what was written with references
				*text = string(hide([]byte(*text)))
			}
		}
		s.add(c, retried)
	})
	if err == nil || len(s.cases) > before {
		s.files++
	}
	if err != nil {
		text := err.Error()
		if n := len(s.cases) - before; n > 0 {
			text += fmt.Sprintf("; %d tests before it were read", n)
		}
		s.Warn(name, text)
	}
}

// Warn adds a warning about a file.
func (s *Set) Warn(name, text string) {
	if len(s.warnings) == maxWarnings {
		s.more++
		return
	}
	s.warnings = append(s.warnings, cut(name, maxShort)+": "+cut(text, maxShort))
}

func (s *Set) add(c pipeline.TestCase, retried bool) {
	if s.failed == nil {
		s.failed = map[string]int{}
	}
	if at, ok := s.failed[c.Key()]; ok && retried {
		if c.State == pipeline.TestPassed { // it passed in the end, and says why it had not
			was := &s.cases[at]
			was.State, was.Flaky, was.Took = pipeline.TestPassed, true, was.Took+c.Took
			delete(s.failed, c.Key())
			return
		}
		if c.State == pipeline.TestFailed {
			return // once more
		}
	}

	size := len(c.Suite) + len(c.Class) + len(c.Name) + len(c.File) + len(c.Type) + len(c.Message) + len(c.Text) + len(c.Output)
	if len(s.cases) >= maxCases || s.bytes+size > maxBytes {
		count(&s.dropped, &c)
		return
	}
	s.bytes += size
	if c.State == pipeline.TestFailed {
		s.failed[c.Key()] = len(s.cases)
	}
	s.cases = append(s.cases, c)
}

func count(n *pipeline.TestCounts, c *pipeline.TestCase) {
	n.Total++
	n.Took += c.Took
	switch c.State {
	case pipeline.TestFailed:
		n.Failed++
	case pipeline.TestSkipped:
		n.Skipped++
	default:
		n.Passed++
		if c.Flaky {
			n.Flaky++
		}
	}
}

// Empty reports whether nothing was read and nothing is to be said.
func (s *Set) Empty() bool { return s.files == 0 && len(s.warnings) == 0 }

// Cases are the tests, in the order in which they were read.
func (s *Set) Cases() []pipeline.TestCase { return s.cases }

// Encode gives the bytes of the blob that has all tests; nil if there are none.
func (s *Set) Encode() ([]byte, error) {
	if len(s.cases) == 0 {
		return nil, nil
	}
	return json.Marshal(s.cases)
}

// Decode reads what Encode wrote.
func Decode(data []byte) (cases []pipeline.TestCase, err error) {
	if err := json.Unmarshal(data, &cases); err != nil {
		return nil, fmt.Errorf("decode tests: %w", err)
	}
	return cases, nil
}

// Summary is what the replicated state keeps: at most MaxSummary bytes of names.
func (s *Set) Summary() *pipeline.TestSummary {
	out := &pipeline.TestSummary{TestCounts: s.dropped, Files: s.files, Cut: s.dropped.Total > 0, Warnings: s.warnings}
	if s.more > 0 {
		out.Warnings = append(slices.Clip(out.Warnings), fmt.Sprintf("and %d more", s.more))
	}
	left := MaxSummary
	for _, w := range out.Warnings {
		left -= len(w)
	}

	list := func(to *[]pipeline.TestName, c *pipeline.TestCase, most int) {
		n := pipeline.TestName{Class: cut(c.Class, maxShort), Name: cut(c.Name, maxShort), Message: cut(oneLine(c.Message), maxShort), Took: c.Took}
		size := len(n.Class) + len(n.Name) + len(n.Message) + 40
		if len(*to) < most && size <= left {
			left -= size
			*to = append(*to, n)
		}
	}
	for i := range s.cases {
		c := &s.cases[i]
		count(&out.TestCounts, c)
		if c.State == pipeline.TestFailed {
			list(&out.Failing, c, maxListed)
		}
	}
	for i := range s.cases {
		if c := &s.cases[i]; c.Flaky {
			list(&out.Flaked, c, maxListed)
		}
	}
	for _, i := range s.slowest() {
		c := s.cases[i]
		c.Message = ""
		list(&out.Slowest, &c, maxSlowest)
	}
	return out
}

// slowest gives the positions of the slowest tests that took any time.
func (s *Set) slowest() []int {
	var list []int
	for i := range s.cases {
		if s.cases[i].Took > 0 {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(s.cases[b].Took, s.cases[a].Took) })
	return list[:min(len(list), maxSlowest)]
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
