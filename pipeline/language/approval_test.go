package language_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func TestCompile_approval(t *testing.T) {
	for name, row := range map[string]struct {
		attributes string
		want       pipeline.Approval
	}{
		"what is left out": {`message = "go?"`, pipeline.Approval{Message: "go?", Timeout: 720 * time.Hour}},
		"everything": {"message = \"to ${var.to}?\"\napprovers = [\"ann\", \"ops-*\", \"ann\"]\ntimeout = var.wait\non_timeout = \"skip\"",
			pipeline.Approval{Message: "to prod?", Approvers: []string{"ann", "ops-*"}, Timeout: time.Minute, OnTimeout: "skip"}},
		"for ever":      {"message = \"go?\"\ntimeout = \"0\"", pipeline.Approval{Message: "go?"}},
		"several lines": {"message = \"  go\\n  now? \"", pipeline.Approval{Message: "go now?", Timeout: 720 * time.Hour}},
	} {
		src := body("env = { A = run.number }\nvariable \"to\" {\n default = \"prod\"\n}\nvariable \"wait\" {\n default = \"1m\"\n}\n" +
			"module \"m\" {\n approval {\n" + row.attributes + "\n }\n}")
		m := compile(t, src, language.Inputs{}).Modules[0]
		if diff := cmp.Diff(&row.want, m.Approval); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(m.Env)+len(m.Deferred)+len(m.Command) > 0 || m.Timeout != 0 || m.InputsAll {
			t.Errorf("%s: there is a process in %+v", name, m)
		}
	}
}

// The instances of a matrix share nothing that is set for one of them.
func TestCompile_approvalMatrix(t *testing.T) {
	p := compile(t, body("module \"m\" {\n matrix = { to = [\"a\", \"b\"] }\n approval {\n message = \"to ${matrix.to}?\"\n approvers = [matrix.to]\n }\n}"), language.Inputs{})
	var got []string
	for _, m := range p.Modules {
		got = append(got, m.Name+" "+m.Approval.Message+" "+strings.Join(m.Approval.Approvers, ","))
	}
	if want := []string{"m[a] to a? a", "m[b] to b? b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompile_approvalTemplate(t *testing.T) {
	p := compile(t, body("template \"gate\" {\n tags = [\"g\"]\n approval {\n message = \"go?\"\n }\n}\nmodule \"m\" {\n use = template.gate\n}"), language.Inputs{})
	if m := p.Modules[0]; m.Approval == nil || m.Approval.Message != "go?" || !slices.Equal(m.Tags, []string{"g"}) {
		t.Errorf("got %+v", m)
	}
}

func TestEvaluate_approval(t *testing.T) {
	const attributes = "approval {\n message = \"passed ${module.a.result.passed}?\"\n}"
	got, err := evaluate(t, "", attributes, upstreams(`{"passed": 3}`))
	if err != nil || got.Message != "passed 3?" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = evaluate(t, "", "approval {\n message = module.a.result.long\n}", upstreams(`{"long": "`+strings.Repeat("x", 1001)+`"}`))
	if err == nil || !strings.Contains(err.Error(), "1001 bytes are more than 1000") {
		t.Errorf("a long message: %v", err)
	}
}

func TestParse_approvalMistakes(t *testing.T) {
	const beside = "put what is to be run into a module of its own that depends on this one"
	gate := func(attributes string) string { return moduleWith("approval {\n" + attributes + "\n}") }
	for _, row := range []struct{ src, want string }{
		{gate(""), `3:1 approval without message | write what is asked: message = "Deploy to production?"`},
		{gate("message = \" \""), `4:11 message: empty text | write what is asked: message = "Deploy to production?"`},
		{gate("message = \"a\\u0001\""), `4:11 message: control character in the text`},
		{gate("message = \"a\"\ntimeout = \"5\""), `5:11 timeout: duration "5" has no unit | did you mean "5s"? write a number and a unit, such as "90s", "10m" or "1h30m"`},
		{gate("message = \"a\"\non_timeout = \"fail\""), `5:14 on_timeout: invalid value "fail" | write "reject" or "approve" or "skip"`},
		{gate("message = \"a\"\napprovers = [\"a[\"]"), `5:14 approvers[0]: invalid pattern "a[" | in a name * stands for anything, and [ needs its ]`},
		{gate("message = \"a\"\napprover = [\"a\"]"), `5:1 unknown attribute "approver" in approval | did you mean "approvers"?`},
		{gate("message = \"a\"\ntimeout = module.m.result.x"), `5:11 timeout must be known at submission and cannot name module.m | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{moduleWith("approval = \"a\""), `2:1 module "m" has neither command nor script | write command = ["program", "argument"] or script = "…"; 3:1 approval is a block | write approval { message = "…" } without =`},
		{moduleWith("approval {\nmessage = \"a\"\n}\napproval {\nmessage = \"b\"\n}"), `6:1 second approval block | the first is at p.hcl:3:1`},
		{moduleWith("approval {\nmessage = \"a\"\n}\nscript = \"b\"\nretry {\nattempts = 2\n}"),
			`6:1 module "m" waits for an approval and runs nothing: script has no meaning in it | ` + beside + `; 7:1 module "m" waits for an approval and runs nothing: retry has no meaning in it`},
		{moduleWith("approval {\nmessage = \"a\"\n}\nnot_in_parallel = [\"b\"]"), `6:1 module "m" waits for an approval and runs nothing: not_in_parallel has no meaning in it | ` + beside},
	} {
		if got := strings.Join(mistakes(t, row.src, language.Inputs{}), "; "); got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.src, got, row.want)
		}
	}
}

func TestApproval_May(t *testing.T) {
	for _, row := range []struct {
		approvers []string
		name      string
		want      bool
	}{{nil, "ann", true}, {[]string{"ann"}, "ann", true}, {[]string{"ann"}, "Ann", false}, {[]string{"bob", "ops-*"}, "ops-1", true}, {[]string{"ops-*"}, "ann", false}} {
		if got := (&pipeline.Approval{Approvers: row.approvers}).May(row.name); got != row.want {
			t.Errorf("%v, %s: %v", row.approvers, row.name, got)
		}
	}
}

func TestGate_Result(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	for want, g := range map[string]pipeline.ApprovalWait{
		`{"approved":true,"approved_by":"ann","rejected_by":"","comment":"\u003cok\u003e","decided_at":"2026-05-01T10:00:00Z"}`: {Decision: pipeline.Approved, By: "ann", Comment: "<ok>", DecidedAt: at},
		`{"approved":false,"approved_by":"","rejected_by":"timeout","comment":"","decided_at":"2026-05-01T10:00:00Z"}`:          {Decision: pipeline.Rejected, DecidedAt: at},
	} {
		if got := string(g.Result()); got != want || !json.Valid(g.Result()) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
