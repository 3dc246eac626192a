package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// The elements of JUnit's XML in the dialect of Jenkins and Surefire, which all
// readers accept: a suite for each module, with a case for the module and one for each
// test that it reported.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Stamp    string       `xml:"timestamp,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Stamp      string          `xml:"timestamp,attr,omitempty"`
		Hostname   string          `xml:"hostname,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property,omitempty"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitDetail `xml:"failure"`
		Error   *junitDetail `xml:"error"`
		Skipped *junitDetail `xml:"skipped"`
		// Flaky is of a test that passed after it had failed, as Surefire has it.
		Flaky *junitDetail `xml:"flakyFailure"`
		Out   string       `xml:"system-out,omitempty"`
	}
	junitDetail struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// The form of JUnit's times has no zone: they are in UTC.
const junitTime = "2006-01-02T15:04:05"

func writeJUnit(w io.Writer, r *Report) error {
	doc := junitSuites{Name: r.Pipeline, Time: seconds(r.took().Seconds()), Stamp: r.SubmittedAt.UTC().Format(junitTime)}
	for _, m := range r.tests() {
		s := junitSuiteOf(r, m)
		for _, c := range r.Tests[m.Name] {
			s.add(&c)
		}
		doc.Tests, doc.Failures, doc.Errors, doc.Skipped = doc.Tests+s.Tests, doc.Failures+s.Failures, doc.Errors+s.Errors, doc.Skipped+s.Skipped
		doc.Suites = append(doc.Suites, s)
	}

	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitSuiteOf(r *Report, m *wire.Module) junitSuite {
	s := junitSuite{Name: m.Name, Tests: 1, Time: seconds(m.DurationSeconds), Hostname: m.Worker}
	own := junitCase{Class: r.Pipeline, Name: m.Name, Time: seconds(m.DurationSeconds), Out: strings.Join(r.Tails[m.Name], "\n")}
	if m.StartedAt != nil {
		s.Stamp = m.StartedAt.UTC().Format(junitTime)
	}

	detail := &junitDetail{Message: cause(m), Type: string(m.State)}
	switch verdictOf(m) {
	case failed:
		s.Failures, own.Failure = 1, detail
	case errored:
		s.Errors, own.Error = 1, detail
	case skipped:
		detail.Type = ""
		s.Skipped, own.Skipped = 1, detail
	}
	if last := m.Last(); last != nil && detail.Type != "" {
		detail.Type = string(last.State)
	}

	s.Cases = []junitCase{own}

	add := func(name, value string) { s.Properties = append(s.Properties, junitProperty{name, value}) }
	add("state", string(m.State))
	if m.CachedFrom != nil {
		add("cached_from", fmt.Sprintf("%s %s", m.CachedFrom.Run, m.CachedFrom.Module))
	}
	for _, a := range m.Attempts {
		text := string(a.State) + " on " + a.Worker
		if a.Reason != "" {
			text += ": " + a.Reason
		}
		add("attempt "+strconv.Itoa(a.Number), text)
	}
	return s
}

// add adds a test that the module reported.
func (s *junitSuite) add(c *wire.TestCase) {
	x := junitCase{Class: c.Class, Name: c.Name, Time: seconds(c.Seconds), Out: c.Stdout}
	detail := &junitDetail{Message: c.Message, Type: c.Type, Text: c.Text}
	s.Tests++
	switch {
	case c.State == pipeline.TestFailed:
		s.Failures++
		x.Failure = detail
	case c.State == pipeline.TestSkipped:
		s.Skipped++
		x.Skipped = detail
	case c.Flaky:
		x.Flaky = detail
	}
	s.Cases = append(s.Cases, x)
}

// seconds writes a number of seconds as JUnit has it.
func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
