package testreport_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/testreport"
	"github.com/pipelined/pipelined/pipeline"
)

// read reads files of an attempt that succeeded, or failed, and gives a line for each
// test and each warning.
func read(succeeded bool, files ...string) (lines []string) {
	var set testreport.Set
	for i, f := range files {
		set.Read(fmt.Sprintf("%d.xml", i), []byte(f), nil, succeeded)
	}
	for _, c := range set.Cases() {
		line := fmt.Sprintf("%s %s", c.State, pipeline.TestTitle(c.Class, c.Name))
		if c.Flaky {
			line += " flaky"
		}
		if c.Message != "" {
			line += ": " + c.Message
		}
		lines = append(lines, line)
	}
	return append(lines, set.Summary().Warnings...)
}

// What programs of several languages write is understood, nested or not.
func TestSet_dialects(t *testing.T) {
	for name, c := range map[string]struct {
		succeeded bool
		files     []string
		want      []string
	}{
		"gotestsum": {false, []string{`<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3"><testsuite tests="3" failures="1" time="0.01" name="example.com/fsm"><properties/>
<testcase classname="example.com/fsm" name="TestA" time="0.5"></testcase>
<testcase classname="example.com/fsm" name="TestB/x" time="0"><failure message="Failed" type="">=== RUN   TestB
    b_test.go:7: want 3, have 2
</failure></testcase>
<testcase classname="example.com/fsm" name="TestC" time="0"><skipped message="no network"></skipped></testcase>
</testsuite></testsuites>`},
			[]string{"passed example.com/fsm.TestA", "failed example.com/fsm.TestB/x: Failed", "skipped example.com/fsm.TestC: no network"}},
		"pytest": {false, []string{`<testsuite name="pytest"><testcase classname="tests.test_x" name="test_one" time="1,000.5"><error message="boom">E   ZeroDivisionError</error><system-out>hello</system-out></testcase></testsuite>`},
			[]string{"failed tests.test_x.test_one: boom"}},
		"surefire, which repeats": {true, []string{`<testsuite><testcase classname="A" name="a"><flakyFailure message="first">x</flakyFailure></testcase>
<testcase classname="A" name="b"><failure message="twice"/><rerunFailure message="again"/></testcase></testsuite>`},
			[]string{"passed A.a flaky: first", "failed A.b: twice"}},
		"no message": {false, []string{`<testsuite name="s"><testcase name="a"><failure>  line one
line two</failure></testcase><testcase name="b" status="notrun"/></testsuite>`}, []string{"failed s.a: line one", "skipped s.b"}},
		"a rerun that passes": {true, []string{`<testsuite><testcase classname="A" name="a"><failure message="m"/></testcase></testsuite>`, `<testsuite><testcase classname="A" name="a"/></testsuite>`},
			[]string{"passed A.a flaky: m"}},
		"two of the same name in an attempt that failed": {false, []string{`<testsuite><testcase classname="A" name="a"><failure message="m"/></testcase><testcase classname="A" name="a"/></testsuite>`},
			[]string{"failed A.a: m", "passed A.a"}},
		"another encoding":   {true, []string{"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><testsuite><testcase classname=\"A\" name=\"gr\xfc\xdfe\"/></testsuite>"}, []string{"passed A.grüße"}},
		"control characters": {false, []string{"<testsuite><testcase name=\"a\"><failure message=\"\x1b[31mred &#27;[0m&#x1B;\"/></testcase></testsuite>"}, []string{"failed a: [31mred  [0m"}},
		"cut":                {false, []string{`<testsuite><testcase name="a"/><testcase name="b"><fail`}, []string{"passed a", "0.xml: no XML at line 1: unexpected EOF; 1 tests before it were read"}},
		"no report":          {true, []string{`<project><name>x</name></project>`, `{"json": 1}`, ``}, []string{"0.xml: no report of JUnit's form: it has no testsuite", "1.xml: no report of JUnit's form: it has no testsuite", "2.xml: no report of JUnit's form: it has no testsuite"}},
	} {
		if diff := cmp.Diff(c.want, read(c.succeeded, c.files...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Hostile files end with a warning: nothing is expanded or fetched, and memory is bounded.
func TestSet_hostile(t *testing.T) {
	bomb := `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "` + strings.Repeat("ha", 1000) + `"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>
<testsuite><testcase name="t"><failure message="&b;&c;">&b;</failure></testcase></testsuite>`
	deep := strings.Repeat("<testsuite>", 200_000)
	wide := "<testsuite><testcase name=\"a\" " + strings.Repeat(`x="" `, 400_000) + "/></testsuite>"
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"entities":   {bomb, []string{"failed t: &b;&c;"}},
		"deep":       {deep, []string{"0.xml: elements more than 100 deep"}},
		"wide":       {wide, []string{"0.xml: a tag of more than 1048576 bytes"}},
		"open quote": {`<testsuite name="` + strings.Repeat("x", 2<<20), []string{"0.xml: a tag of more than 1048576 bytes"}},
	} {
		if diff := cmp.Diff(c.want, read(false, c.file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	// Output of tests may be long, and may look like tags.
	long := "<testsuite><testcase name=\"a\"><failure message=\"m\"/><system-out><![CDATA[<a \"" + strings.Repeat("x", 3<<20) + "the end]]></system-out></testcase></testsuite>"
	var set testreport.Set
	set.Read("f", []byte(long), nil, false)
	if c := set.Cases(); len(c) != 1 || len(c[0].Output) > 5000 || !strings.HasSuffix(c[0].Output, "the end") || !strings.HasPrefix(c[0].Output, "…") {
		t.Errorf("got %d tests, %+v", len(c), set.Summary().Warnings)
	}
}

// A summary stays small however many tests fail, and counts all of them.
func TestSet_bounds(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("<testsuite>")
	for i := range 25_000 {
		fmt.Fprintf(&b, `<testcase classname="%s" name="t%d" time="%d"><failure message="%s"/></testcase>`, strings.Repeat("c", 300), i, i, "m")
	}
	b.WriteString("</testsuite>")
	var set testreport.Set
	set.Read("f", b.Bytes(), nil, false)
	s := set.Summary()
	size := 0
	for _, list := range [][]pipeline.TestName{s.Failing, s.Slowest} {
		for _, n := range list {
			size += len(n.Class) + len(n.Name) + len(n.Message)
		}
	}
	if s.Total != 25_000 || s.Failed != 25_000 || !s.Cut || len(set.Cases()) >= 25_000 || len(s.Failing) == 0 || size > testreport.MaxSummary {
		t.Errorf("got %d of %d tests, %d names of %d bytes", len(set.Cases()), s.Total, len(s.Failing), size)
	}

	data, err := set.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := testreport.Decode(data)
	if err != nil || cmp.Diff(set.Cases(), back) != "" {
		t.Errorf("read back: %v", err)
	}
}

// Secrets are replaced, also where a text is cut and where the file has them in references.
func TestSet_hides(t *testing.T) {
	hide := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("hunter<2"), []byte("***")) }
	var set testreport.Set
	set.Read("f", []byte(`<testsuite><testcase name="a"><failure message="`+strings.Repeat("x", 1020)+`hunter&lt;2">hunter&lt;2<![CDATA[hunter<2]]></failure></testcase></testsuite>`), hide, false)
	if text := fmt.Sprint(set.Cases()); strings.Contains(text, "hunter<2") || !strings.Contains(text, "******") {
		t.Errorf("got %s", text)
	}
}

// Of a long text of a failure the beginning is kept: it says what failed.
func TestSet_longText(t *testing.T) {
	var set testreport.Set
	set.Read("f", []byte("<testsuite><testcase name='t'><failure>want 3, have 2\n"+strings.Repeat("goroutine 1 [running]\n", 5000)+"</failure></testcase></testsuite>"), nil, false)
	c := set.Cases()[0]
	if c.Message != "want 3, have 2" || !strings.HasPrefix(c.Text, "want 3, have 2\ngoroutine") || !strings.HasSuffix(c.Text, "…") || len(c.Text) > 5000 {
		t.Errorf("got %q, %d bytes %.40q", c.Message, len(c.Text), c.Text)
	}
}

// Times are read as programs write them; what is no time is none.
func TestSet_times(t *testing.T) {
	var set testreport.Set
	for _, s := range []string{"1.5", "1,234.5", "-3", "NaN", "1e300", "x", ""} {
		set.Read("f", []byte(fmt.Sprintf(`<testsuite><testcase name="t" time="%s"/></testsuite>`, s)), nil, true)
	}
	var got []time.Duration
	for _, c := range set.Cases() {
		got = append(got, c.Took)
	}
	want := []time.Duration{1500 * time.Millisecond, 1234500 * time.Millisecond, 0, 0, 0, 0, 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite name="s"><testcase name="a"><failure message="m">x</failure><system-out><![CDATA[y]]></system-out></testcase></testsuite></testsuites>`))
	f.Add([]byte("<testsuite><testcase name='a'><!-- > --></testsuite>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var set testreport.Set
		set.Read("f", data, nil, len(data)%2 == 0)
		n := set.Summary()
		if n.Total != n.Passed+n.Failed+n.Skipped || n.Total != len(set.Cases()) {
			t.Errorf("counts %+v of %d tests", n.TestCounts, len(set.Cases()))
		}
	})
}
