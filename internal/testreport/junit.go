package testreport

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of one file, and of what is kept of one test.
const (
	maxDepth   = 100
	maxTag     = 1 << 20
	maxName    = 500
	maxMessage = 1 << 10
	maxText    = 4 << 10
)

// parse reads the tests of one file and calls add with each. The error says, for the
// module's author, why the rest was not read: tests before it have been added.
func parse(data []byte, add func(pipeline.TestCase)) error {
	data = clean(data)
	if err := checkTags(data); err != nil {
		return err
	}

	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = false
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // clean has made it UTF-8
	p := parser{decoder: d, add: add}
	err := p.document()
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		line, _ := d.InputPos()
		return fmt.Errorf("no XML at line %d: %s", line, syntax.Msg)
	case err == nil && !p.found:
		return errors.New("no report of JUnit's form: it has no testsuite")
	}
	return err
}

// controls are characters that XML must not have, written as references.
var controls = regexp.MustCompile(`&#(?:x0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));`)

// clean makes data valid: UTF-8, and without the control characters that output of tests
// has and XML forbids.
func clean(data []byte) []byte {
	head := data[:min(len(data), 200)]
	if latin := bytes.Contains(bytes.ToLower(head), []byte("iso-8859-1")) || bytes.Contains(bytes.ToLower(head), []byte("windows-1252")); latin && !utf8.Valid(data) {
		out := make([]byte, 0, len(data)+len(data)/8)
		for _, b := range data {
			out = utf8.AppendRune(out, rune(b))
		}
		data = out
	}
	data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	data = bytes.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return ' '
		}
		return r
	}, data)
	return controls.ReplaceAll(data, []byte(" "))
}

// checkTags refuses tags that are longer than any report has: the decoder would keep all
// attributes of one in memory.
func checkTags(data []byte) error {
	for {
		at := bytes.IndexByte(data, '<')
		if at < 0 {
			return nil
		}
		data = data[at:]
		end := ">"
		switch {
		case bytes.HasPrefix(data, []byte("<![CDATA[")):
			end = "]]>"
		case bytes.HasPrefix(data, []byte("<!--")):
			end = "-->"
		default:
			n := tagLength(data)
			if n > maxTag {
				return fmt.Errorf("a tag of more than %d bytes", maxTag)
			}
			data = data[n:]
			continue
		}
		n := bytes.Index(data, []byte(end))
		if n < 0 {
			return nil // the decoder says where it ends
		}
		data = data[n+len(end):]
	}
}

// tagLength is the length of the tag at the beginning of data, which ends at the first >
// outside of quotes.
func tagLength(data []byte) int {
	quote := byte(0)
	for i, b := range data {
		switch {
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '"' || b == '\'':
			quote = b
		case b == '>':
			return i + 1
		}
	}
	return len(data)
}

// parser walks through one document. Elements that it does not know may lie around the
// ones that it knows: it looks into them.
type parser struct {
	decoder *xml.Decoder
	add     func(pipeline.TestCase)
	// suites are the names of the suites around.
	suites []string
	// test is the one that is being read; nil outside of any. detail is the element of it
	// that is being read, text its characters.
	test   *pipeline.TestCase
	detail string
	text   bounded
	output bounded
	failed bool
	found  bool
}

// bounded keeps the last bytes of a text.
type bounded struct {
	b   []byte
	cut bool
}

func (t *bounded) write(data []byte) {
	t.b = append(t.b, data...)
	if len(t.b) > 4*maxText { // seldom, so that long texts cost little
		t.b, t.cut = append(t.b[:0], t.b[len(t.b)-maxText:]...), true
	}
}

// head and tail give the first, or the last, bytes.
func (t *bounded) head() string { return cut(strings.TrimSpace(string(t.b)), maxText) }

func (t *bounded) tail() string {
	s := strings.TrimRight(string(t.b), " \t\r\n")
	if len(s) > maxText {
		s, t.cut = s[len(s)-maxText:], true
	}
	if t.cut {
		s = "…" + strings.ToValidUTF8(s, "")
	}
	return s
}

// cut shortens a text to at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func (p *parser) document() error {
	depth := 0
	for {
		token, err := p.decoder.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return fmt.Errorf("elements more than %d deep", maxDepth)
			}
			p.start(t)
		case xml.EndElement:
			depth--
			p.end(t.Name.Local)
		case xml.CharData:
			switch {
			case p.test == nil:
			case p.detail == "system-out" || p.detail == "system-err":
				p.output.write(t)
			case p.detail != "" && len(p.text.b) < 2*maxText: // its head counts
				p.text.write(t[:min(len(t), 2*maxText)])
			}
		}
	}
}

func (p *parser) start(t xml.StartElement) {
	attr := func(names ...string) string {
		for _, name := range names {
			for _, a := range t.Attr {
				if a.Name.Local == name {
					return a.Value
				}
			}
		}
		return ""
	}

	switch name := t.Name.Local; {
	case name == "testsuites":
		p.found = true
	case name == "testsuite":
		p.found = true
		p.suites = append(p.suites, attr("name"))
	case name == "testcase":
		p.found = true
		line, _ := strconv.Atoi(attr("line"))
		p.test = &pipeline.TestCase{Class: cut(attr("classname", "class"), maxName), Name: cut(attr("name"), maxName), File: cut(attr("file"), maxName),
			Line: max(0, line), State: pipeline.TestPassed, Took: durationOf(attr("time", "duration"))}
		if n := len(p.suites); n > 0 {
			p.test.Suite = cut(p.suites[n-1], maxName)
		}
		if s := attr("status", "result"); s == "notrun" || s == "skipped" || s == "disabled" {
			p.test.State = pipeline.TestSkipped
		}
		p.output, p.failed = bounded{}, false
	case p.test == nil || p.detail != "":
	case name == "failure" || name == "error" || name == "rerunFailure" || name == "rerunError":
		p.begin(name, attr("message"), attr("type"))
		p.test.State, p.test.Flaky, p.failed = pipeline.TestFailed, false, true
	case name == "flakyFailure" || name == "flakyError":
		p.begin(name, attr("message"), attr("type"))
		p.test.Flaky = !p.failed
	case name == "skipped":
		p.begin(name, attr("message"), "")
		if !p.failed {
			p.test.State = pipeline.TestSkipped
		}
	case name == "system-out" || name == "system-err":
		p.detail = name
	}
}

// begin begins an element of a test that says why. The first one counts.
func (p *parser) begin(name, message, kind string) {
	p.detail, p.text = name, bounded{}
	if p.test.Message == "" && p.test.Type == "" {
		p.test.Message, p.test.Type = cut(strings.TrimSpace(message), maxMessage), cut(kind, maxName)
	}
}

func (p *parser) end(name string) {
	switch {
	case name == "testsuite" && len(p.suites) > 0:
		p.suites = p.suites[:len(p.suites)-1]
	case p.test == nil:
	case name == p.detail:
		if p.test.Text == "" && name != "system-out" && name != "system-err" {
			p.test.Text = p.text.head()
		}
		p.detail = ""
	case name == "testcase":
		p.finish()
	}
}

// finish adds the test that was read. A message is never missing if there is a text.
func (p *parser) finish() {
	t := p.test
	p.test, p.detail = nil, ""
	if t.Name == "" {
		t.Name = "(no name)"
	}
	if t.Class == "" {
		t.Class = t.Suite
	}
	if t.State == pipeline.TestFailed {
		t.Output = p.output.tail()
	}
	if first, _, _ := strings.Cut(t.Text, "\n"); t.Message == "" {
		t.Message = cut(strings.TrimSpace(first), maxMessage)
	}
	p.add(*t)
}

// durationOf reads seconds, also with separators of thousands.
func durationOf(s string) time.Duration {
	f, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(s), ",", ""), 64)
	if err != nil || !(f > 0) || f > 1e7 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}
