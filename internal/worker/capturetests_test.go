package worker

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/testreport"
	"github.com/pipelined/pipelined/pipeline"
)

const oneTest = `<testsuite><testcase classname="c" name="t"><failure message="it is correct-horse-battery">x</failure></testcase></testsuite>`

// Reports of tests are read of an attempt that failed too, with secrets masked, and what
// cannot be read is a warning: links, pipes and files that are no reports change nothing of
// how the attempt ends.
func TestCapture_tests(t *testing.T) {
	b := newBench(t)
	good := b.spec("good", `mkdir -p reports/more && cp "$F" reports/more/a.xml && ln -s /etc/passwd reports/link.xml && mkfifo reports/pipe.xml && echo '{' > reports/bad.xml`)
	failed := b.spec("failed", `printf '`+oneTest+`' > x.xml; exit 3`)
	failed.Secrets = map[string]string{"S": secret}
	added := b.spec("added", `A=correct; echo "::add-mask::$A-horse-battery"; printf '`+oneTest+`' > x.xml; echo "$A-horse-battery"; ln -s ../../x correct-horse-battery`)
	added.Outputs = []string{"*"}
	none := b.spec("none", "true")
	broken := b.spec("broken", "exit 1")
	for _, s := range []*pipeline.Spec{&good, &failed, &added, &none, &broken} {
		s.Reports.JUnit = []string{"reports", "*.xml"}
	}
	good.Script = `printf '` + oneTest + `' > f; F=f; ` + good.Script
	b.take(good, failed, added)
	b.take(none, broken)

	o := b.outcome("good")
	if o.State != pipeline.AttemptSucceeded || o.Tests == nil || o.Tests.Failed != 1 || o.Tests.Files != 1 || len(o.Tests.Warnings) != 1 || !strings.HasPrefix(o.Tests.Warnings[0], "reports/bad.xml: ") {
		t.Errorf("good: %s %s, %+v", o.State, o.Reason, o.Tests)
	}

	o = b.outcome("failed")
	if o.State != pipeline.AttemptFailed || o.Tests == nil || o.Tests.Failed != 1 || o.Tests.Failing[0].Message != "it is ***" {
		t.Fatalf("failed: %s, %+v", o.State, o.Tests)
	}
	data, err := b.w.lifecycle.capturer.blobs.ReadAll(o.Tests.Cases, o.Tests.Size)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := testreport.Decode(data)
	if err != nil || len(cases) != 1 || cases[0].Message != "it is ***" || cases[0].State != pipeline.TestFailed {
		t.Errorf("the blob has %+v, %v", cases, err)
	}

	// What the module masks by its output is masked in its reports and reasons too.
	if o = b.outcome("added"); o.Tests == nil || o.Tests.Failing[0].Message != "it is ***" || o.State != pipeline.AttemptFailed || !strings.Contains(o.Reason, `"***"`) || o.LogSize != int64(len("***\n")) {
		t.Errorf("added: %s %q, log of %d bytes, %+v", o.State, o.Reason, o.LogSize, o.Tests)
	}

	if o = b.outcome("none"); o.State != pipeline.AttemptSucceeded || o.Tests == nil || len(o.Tests.Warnings) != 1 || o.Tests.Cases != "" {
		t.Errorf("none: %s, %+v", o.State, o.Tests)
	}
	if o = b.outcome("broken"); o.State != pipeline.AttemptFailed || o.Tests != nil {
		t.Errorf("broken: %s, %+v", o.State, o.Tests)
	}
}
