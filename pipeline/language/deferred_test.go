package language_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func intPtr(n int) *int { return &n }

// upstreams is what the module "a" of these tests left.
func upstreams(result string) map[string]pipeline.UpstreamResult {
	return map[string]pipeline.UpstreamResult{"a": {Status: pipeline.ModuleSucceeded, Result: json.RawMessage(result),
		Outputs: []string{"x", "y/z"}, ExitCode: intPtr(0), Duration: 1500 * time.Millisecond}}
}

// evaluate compiles a module "m" with attributes beside a module "a", and
// evaluates it.
func evaluate(t *testing.T, preamble, attributes string, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
	t.Helper()
	p := compile(t, body(preamble+"\nmodule \"a\" {\n command = [\"true\"]\n}\nmodule \"m\" {\n"+attributes+"\n}"), language.Inputs{})

	// As it would be after a way through the state.
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}

	var stored pipeline.Pipeline
	if err := json.Unmarshal(b, &stored); err != nil {
		t.Fatal(err)
	}

	stored.Scope.RunID, stored.Scope.RunNumber, stored.Scope.RunTick = "r", 12, "2026-11-30T03:00:00+01:00"

	return language.Evaluate(context.Background(), newEvaluator(t), &stored, stored.Module("m"), deps)
}

func TestEvaluate_values(t *testing.T) {
	const result = `{"passed": 3, "name": "n", "ok": true, "list": [1, "b"], "deep": {"k": 1.5}, "none": null, "big": 9007199254740993}`
	for elements, want := range map[string]string{
		`module.a.status, module.a.exit_code, module.a.duration, module.a.cached`: "succeeded|0|1.5|false",
		`module.a.result.passed, module.a.result["name"], module.a.result.ok`:     "3|n|true",
		`module.a.result.list[1], module.a.result.deep.k, module.a.result.big`:    "b|1.5|9007199254740993",
		`module["a"].outputs[1], join(",", module.a.outputs)`:                     "y/z|x,y/z",
		`"n${run.number}", run.id, pipeline.name, git.sha, run.submitter`:         "n12|r|p||",
		`formatdate("YYYY-MM-DD", run.tick), run.tick != null ? "yes" : "no"`:     "2026-11-30|yes",
		`local.known, local.deferred, local.later, local.list[0], var.v`:          "k|3!|3!!|3|V",
		`try(module.a.result.missing, "none")`:                                    "none",
		`module.a.result.none == null ? "null" : "x"`:                             "null",
		`jsonencode(local)`:                         `{"deferred":"3!","known":"k","later":"3!!","list":[3]}`,
		`[for x in module.a.outputs : upper(x)][0]`: "X",
		`"$${x}${module.a.result.passed}"`:          "${x}3",
	} {
		pre := "variable \"v\" {\n default = \"V\"\n}\nlocals {\n known = \"k\"\n later = \"${local.deferred}!\"\n deferred = \"${module.a.result.passed}!\"\n list = [module.a.result.passed]\n}"
		got, err := evaluate(t, pre, "command = [\"x\", "+elements+"]", upstreams(result))
		if err != nil {
			t.Errorf("%s: %v", elements, err)
			continue
		}
		if text := strings.Join(got.Command[1:], "|"); text != want {
			t.Errorf("%s: got %q, want %q", elements, text, want)
		}
	}
}

func TestEvaluate_states(t *testing.T) {
	const attributes = "command = [\"x\", module.a.status, \"${module.a.cached}\", \"${module.a.duration}\", jsonencode(module.a.result), jsonencode(module.a.exit_code)]"
	for _, row := range []struct {
		in   pipeline.UpstreamResult
		want string
	}{
		{pipeline.UpstreamResult{Status: pipeline.ModuleCached, Duration: 2 * time.Second}, "succeeded|true|2|{}|null"},
		{pipeline.UpstreamResult{Status: pipeline.ModuleSucceeded, Cached: true}, "succeeded|true|0|{}|null"},
		{pipeline.UpstreamResult{Status: pipeline.ModuleFailed, ExitCode: intPtr(7)}, "failed|false|0|{}|7"},
		{pipeline.UpstreamResult{Status: pipeline.ModuleSkipped}, "skipped|false|0|{}|null"},
	} {
		got, err := evaluate(t, "", attributes, map[string]pipeline.UpstreamResult{"a": row.in})
		if err != nil {
			t.Error(err)
			continue
		}
		if text := strings.Join(got.Command[1:], "|"); text != row.want {
			t.Errorf("got %q, want %q", text, row.want)
		}
	}
}

func TestEvaluate_attributes(t *testing.T) {
	got, err := evaluate(t, "env = {\n P = \"${run.number}\"\n Q = \"${run.number}\"\n R = \"r\"\n}", `
  script = <<-SH
    echo ${module.a.result.n}
      deeper
  SH
  env = { A = module.a.result.n, B = "b", Q = "mine" }`, upstreams(`{"n":1}`))
	if err != nil {
		t.Fatal(err)
	}

	want := &pipeline.Evaluated{Script: "echo 1\n  deeper\n", Env: map[string]string{"A": "1", "P": "12"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	got, err = evaluate(t, "env = {\n P = \"${run.number}\"\n}", `
  command = ["x"]
  env     = merge({ A = "a" }, module.a.result)`, upstreams(`{"n":1,"P":"own"}`))
	if err != nil {
		t.Fatal(err)
	}

	if d := cmp.Diff(&pipeline.Evaluated{Env: map[string]string{"A": "a", "n": "1", "P": "own"}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	got, err = evaluate(t, "", `command = ["x"]`, nil)
	if err != nil || cmp.Diff(&pipeline.Evaluated{}, got) != "" {
		t.Errorf("nothing deferred: %v, %v", got, err)
	}

	got, err = evaluate(t, "", `command = concat(["x"], module.a.outputs)`, upstreams("{}"))
	if err != nil || strings.Join(got.Command, " ") != "x x y/z" {
		t.Errorf("whole command: %v, %v", got, err)
	}
}

func TestEvaluate_mistakes(t *testing.T) {
	deep := `{"x":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`
	for _, row := range []struct{ attributes, result, want string }{
		{`command = ["x", module.a.result.missing]`, `{}`,
			`p.hcl:7:32: command: unsupported attribute (This object does not have an attribute named "missing".)`},
		{"command = [\"x\",\n  module.a.result.missing]", `{}`,
			`p.hcl:8:18: command: unsupported attribute (This object does not have an attribute named "missing".)`},
		{`command = ["x", module.a.result]`, `{}`, `p.hcl:7:17: command[1]: expected a string, got an object`},
		{`command = ["x", module.a.result.n]`, `{"n":null}`, `p.hcl:7:17: command[1]: value is null (leave the attribute out, or give a value)`},
		{`command = [module.a.result.n]`, `{"n":""}`, `p.hcl:7:12: command[0]: empty text (the first element is the program)`},
		{`command = module.a.result.n`, `{"n":"x"}`, `p.hcl:7:11: command: expected a list, got a string (write ["x"])`},
		{`script = module.a.result.n`, `{"n":""}`, `p.hcl:7:10: script: empty text (write script = "…", or command = […])`},
		{"command=[\"x\"]\nenv = { A = module.a.result.n }", `{"n":"\u0000"}`, `p.hcl:8:13: env.A: NUL character in the value (no argument, script or variable of a process can hold one)`},
		{"command=[\"x\"]\nenv = { A = module.a.result.n, B = module.a.result.n }", `{}`,
			`p.hcl:8:28: env.A: unsupported attribute (This object does not have an attribute named "n".); p.hcl:8:51: env.B: unsupported attribute (This object does not have an attribute named "n".)`},
		{"command=[\"x\"]\nenv = merge(module.a.result, {})", `{"PIPELINED_X":"n"}`,
			`p.hcl:8:7: env: reserved name of an environment variable "PIPELINED_X" (names that begin with PIPELINED_ are set by the worker)`},
		{`command = ["x", module.a.result.n]`, `[1]`, `p.hcl:7:17: command: module.a.result: not a JSON object`},
		{`command = ["x", module.a.result.n]`, `{"n":1} x`, `p.hcl:7:17: command: module.a.result: not one JSON object`},
		{`command = ["x", module.a.result.n]`, `{`, `p.hcl:7:17: command: module.a.result: not JSON`},
		{`command = ["x", module.a.result.n]`, `{"n":1e999999999}`, `p.hcl:7:17: command: module.a.result: number "1e999999999" is out of range`},
		{`command = ["x", module.a.result.n]`, deep, `p.hcl:7:17: command: module.a.result: nested too deep`},
		{`command = ["x", local.l]`, `{}`, `p.hcl:3:24: local.l: unsupported attribute (This object does not have an attribute named "gone".)`},
		{`command = ["x", upper(module.a.result.n)]`, `{"n":[1]}`,
			`p.hcl:7:23: command: invalid function argument (Invalid value for "str" parameter: string required, but have tuple.)`},
	} {
		p := compile(t, body("locals {\n l = \"${module.a.result.gone}\"\n}\nmodule \"a\" { command = [\"true\"] }\nmodule \"m\" {\n"+row.attributes+"\n}"), language.Inputs{})
		_, err := language.Evaluate(context.Background(), newEvaluator(t), p, p.Module("m"), upstreams(row.result))
		if err == nil || err.Error() != row.want || pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%s with %.40s:\n got %v\nwant %s", row.attributes, row.result, err, row.want)
		}
	}
}

func TestEvaluate_incomplete(t *testing.T) {
	p := compile(t, body("module \"a\" {\n command = [\"true\"]\n}\nmodule \"m\" {\n command = [\"${module.a.status}\", \"${run.number}\"]\n}"), language.Inputs{})
	_, err := language.Evaluate(context.Background(), nil, p, p.Module("x"), nil)
	if pipeline.KindOf(err) != pipeline.NotFound {
		t.Error(err)
	}

	_, err = language.Evaluate(context.Background(), nil, p, p.Module("m"), nil)
	if err == nil || !strings.Contains(err.Error(), "module.a is not known here") {
		t.Error(err)
	}

	_, err = language.Evaluate(context.Background(), nil, p, p.Module("m"), upstreams("{}"))
	if err == nil || !strings.Contains(err.Error(), "value is not known") {
		t.Errorf("without a run number: %v", err)
	}

	m := p.Module("m")
	for _, source := range []string{strings.Repeat("[", 100000), "[", strings.Repeat("x", 300<<10), "local.a", "[local.c1]"} {
		m.Deferred = map[string]pipeline.DeferredExpr{"command": {Source: source, Line: 1, Column: 1}}
		p.Scope.DeferredLocals = map[string]pipeline.DeferredExpr{"c1": {Source: "local.c2"}, "c2": {Source: "local.c1"}}
		p.Scope.Variables = map[string]string{"v": strings.Repeat("[", 100000)}
		if _, err = language.Evaluate(context.Background(), nil, p, p.Module("m"), upstreams("{}")); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%.20s: %v", source, err)
		}
	}

	if errors.Is(err, language.ErrTooExpensive) {
		t.Error("a cycle is not expensive")
	}
}

// A module's Expensive follows the locals that its deferred expressions name.
func TestFile_Compile_expensive(t *testing.T) {
	p := compile(t, body(`locals {
  cheap    = "${module.a.status}"
  dear     = upper(module.a.status)
  dearer   = "${local.dear}"
  known    = upper("x")
}
module "a" {
  command = [local.known]
}
module "b" {
  command = [local.cheap, local.known]
}
module "c" {
  command = [local.dearer]
}
module "d" {
  command = ["%{if module.a.cached}x%{endif}"]
}`), language.Inputs{})

	for name, want := range map[string]bool{"a": false, "b": false, "c": true, "d": true} {
		if got := p.Module(name).Expensive; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}

	if d := cmp.Diff(map[string]string{"known": `{"value":"X","type":"string"}`}, p.Scope.Locals); d != "" {
		t.Error(d)
	}
}
