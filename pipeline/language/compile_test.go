package language_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func TestFile_Compile_whole(t *testing.T) {
	src := string(readTestdata(t, "first.hcl"))
	f := parse(t, src)
	if f.Name() != "release" {
		t.Errorf("name %q", f.Name())
	}

	if d := cmp.Diff(language.Workspace{Root: ".", Exclude: []string{"dist/**"}, Declared: true}, f.Workspace()); d != "" {
		t.Error(d)
	}

	def := "dev"
	if d := cmp.Diff([]language.VariableInfo{{Name: "version", Type: "string", Description: "Version stamped into the binary", Default: &def}}, f.Variables()); d != "" {
		t.Error(d)
	}

	git := pipeline.Git{SHA: "abc", Dirty: true}
	got := compile(t, src, language.Inputs{Git: git, RunID: "r1", Submitter: "ann",
		Variables: []language.VariableInput{{Name: "version", Text: "1"}, {Name: "version", Text: "2"}}})
	build := pipeline.DeferredExpr{Source: `"${run.number}"`, Line: 21, Column: 19}
	want := &pipeline.Pipeline{
		Name: "release", Description: "Build, test and package the app", Tags: []string{"ci"}, File: "p.hcl", MaxParallel: 16, OnFailure: "stop",
		Modules: []pipeline.Module{
			{
				Name: "build", Command: []string{"go", "build", "-trimpath", "-o", "bin/app-2"},
				Env: map[string]string{"CGO_ENABLED": "0", "GOOS": "linux"}, Deferred: map[string]pipeline.DeferredExpr{"env.BUILD": build},
				Inputs: []string{"go.*", "cmd/**", "internal/**"}, Outputs: []string{"bin/*"},
				Timeout: 10 * time.Minute, Grace: 10 * time.Second,
				Retry:    pipeline.Retry{Attempts: 3, Backoff: time.Second, MaxBackoff: time.Minute, ExitCodes: []int{75}},
				Requires: pipeline.Requires{OS: "linux", Tools: []string{"go"}, Tags: []string{"big"}}, Line: 29,
			},
			{
				Name: "test", DependsOn: []string{"build"}, InputsAll: true, Env: map[string]string{"CGO_ENABLED": "0", "BUILD": "5"},
				Deferred: map[string]pipeline.DeferredExpr{
					"env.N":  {Source: "module.build.result.n", Line: 51, Column: 17},
					"script": {Source: got.Modules[1].Deferred["script"].Source, Line: 46, Column: 18},
				},
				Outputs: []string{"report.json"}, Grace: 10 * time.Second, Line: 44,
			},
			{
				Name: "notify", DependsOn: []string{"build", "test"}, InputsAll: true, Env: map[string]string{"CGO_ENABLED": "0"},
				Deferred: map[string]pipeline.DeferredExpr{"env.BUILD": build, "command": {Source: `["./notify.sh", module.build.status]`, Line: 58, Column: 18}},
				Timeout:  30 * time.Minute, Grace: 10 * time.Second, Line: 56,
			},
		},
		Scope: pipeline.Scope{
			Variables:      map[string]string{"version": `{"value":"2","type":"string"}`},
			DeferredLocals: map[string]pipeline.DeferredExpr{"count": {Source: `"passed: ${module.build.result.passed}"`, Line: 16, Column: 13}},
			Git:            git, RunID: "r1", Submitter: "ann",
		},
	}

	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// commandOf compiles a module with a command and gives it.
func commandWith(t *testing.T, preamble, elements string, in language.Inputs) string {
	t.Helper()
	p := compile(t, body(preamble+"\nmodule \"m\" {\n command = ["+elements+"]\n}"), in)
	return strings.Join(p.Modules[0].Command, "|")
}

func TestFile_Compile_scope(t *testing.T) {
	in := language.Inputs{Git: pipeline.Git{SHA: "s", Branch: "b", Tag: "t", Dirty: true}, RunID: "id", Submitter: "me"}
	for elements, want := range map[string]string{
		`git.sha, git.branch, git.tag, git.dirty`:   "s|b|t|true",
		`run.id, run.submitter, pipeline.name`:      "id|me|p",
		`var.v, "${var["v"]}-x", local.a`:           "V|V-x|a/V",
		`1, 2.5, -3, true, "a\tb"`:                  "1|2.5|-3|true|a\tb",
		`local.o.k, local.o["k"], local.l[0]`:       "1|1|x",
		`local.l[local.i]`:                          "y",
		`"$${HOME} %%{x} $HOME $(x)"`:               "${HOME} %{x} $HOME $(x)",
		`jsonencode(var)`:                           `{"v":"V"}`,
		`var.v == "V" ? "yes" : "no"`:               "yes",
		`[for x in local.l : upper(x)][1]`:          "Y",
		`"%{if var.v == "V"}in%{else}out%{endif}"`:  "in",
		`can(local.o.missing), try(local.o.m, "d")`: "false|d",
		`(local.o).k`:                               "1",
	} {
		pre := "variable \"v\" {\n default = \"V\"\n}\nlocals {\n a = \"a/${var.v}\"\n o = { k = 1 }\n i = 1\n}\nlocals {\n l = [\"x\", \"y\"]\n}"
		if got := commandWith(t, pre, elements, in); got != want {
			t.Errorf("%s: got %q, want %q", elements, got, want)
		}
	}
}

func TestFile_Compile_runID(t *testing.T) {
	src := moduleWith("command = [run.id]\nenv = { N = \"${run.number}\" }")
	p := compile(t, src, language.Inputs{})
	if _, deferred := p.Modules[0].Deferred["command"]; !deferred {
		t.Error("an unknown run id is not deferred")
	}
	p = compile(t, src, language.Inputs{RunID: "r", RunNumber: 3})
	if got := p.Modules[0].Command; len(got) != 1 || got[0] != "r" {
		t.Errorf("got %v", got)
	}
	if _, deferred := p.Modules[0].Deferred["env.N"]; !deferred {
		t.Error("the run's number is not deferred")
	}
}

// The tick of a run is known with its id: there is none unless a schedule made the run.
func TestFile_Compile_runTick(t *testing.T) {
	src := moduleWith("command = [run.tick]\nenv = { N = \"${run.submitter}\" }")
	p := compile(t, src, language.Inputs{})
	if _, deferred := p.Modules[0].Deferred["command"]; !deferred {
		t.Error("an unknown tick is not deferred")
	}
	if m := compile(t, moduleWith("command = [run.tick == null ? \"none\" : run.tick]"), language.Inputs{RunID: "r"}).Modules[0]; len(m.Command) != 1 || m.Command[0] != "none" {
		t.Errorf("got %v", m.Command)
	}
	for src, want := range map[string]string{
		moduleWith("command = [\"a\"]\noutputs = [run.tick]"):   "outputs must be known at submission and cannot name run.tick",
		moduleWith("command = [\"at ${run.tick}\"]"):            "null",
		moduleWith("command = [\"a\"]\nenv = { A = run.tock }"): "unknown name run.tock",
	} {
		if got := mistakes(t, src, language.Inputs{RunID: "r"}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want %q", src, got, want)
		}
	}
}

func TestFile_Compile_patterns(t *testing.T) {
	p := compile(t, moduleWith("command=[\"a\"]\ninputs=[\"./a\", \"dir/\", \"a\", \"**/*.{c,h}\"]\noutputs=[\".\"]\nworking_dir=\"./x/\"\ncaches=[\"go\",\"go\"]\nlayout=\"by-module\""), language.Inputs{})
	m := p.Modules[0]
	if d := cmp.Diff([]string{"a", "dir/**", "**/*.{c,h}"}, m.Inputs); d != "" {
		t.Error(d)
	}

	if d := cmp.Diff([]string{"**"}, m.Outputs); d != "" {
		t.Error(d)
	}

	if m.WorkingDir != "x" || m.InputsAll || len(m.Caches) != 1 || m.Layout != "by-module" {
		t.Errorf("%+v", m)
	}

	p = compile(t, moduleWith("command=[\"a\"]\ninputs=[]"), language.Inputs{})
	if m := p.Modules[0]; m.InputsAll || len(m.Inputs) != 0 {
		t.Errorf("no inputs: %+v", m)
	}

	for root, want := range map[string]string{"..": "..", "../..": "../..", ".": ".", "src": "src", "../src": "../src"} {
		f := parse(t, body("workspace {\n root = \""+root+"\"\n}\nmodule \"m\" {\n command=[\"a\"]\n}"))
		if got := f.Workspace().Root; got != want {
			t.Errorf("root %q: %q", root, got)
		}
	}
}

func TestFile_Compile_variables(t *testing.T) {
	given := func(v ...string) (list []language.VariableInput) {
		for i := 0; i < len(v); i += 2 {
			list = append(list, language.VariableInput{Name: v[i], Text: v[i+1], Origin: "-var"})
		}
		return list
	}

	for _, row := range []struct {
		decl, use string
		in        []language.VariableInput
		want      string
	}{
		{"type = string", "var.v", given("v", "a ${b} 1"), "a ${b} 1"},
		{"", "var.v", given("v", "[x"), "[x"},
		{"type = number", "var.v", given("v", " 1.50 "), "1.5"},
		{"type = bool", "var.v", given("v", "true"), "true"},
		{"default = 3", "var.v", given("v", "4"), "4"},
		{"type = list(string)", `var.v[1]`, given("v", `["a", "b"]`), "b"},
		{"type = list(number)", `var.v[0]`, given("v", `["7"]`), "7"},
		{"type = map(string)", `var.v.k`, given("v", `{"k": "$${x}"}`), "${x}"},
		{"type = map(string)", `var.v.k`, given("v", `{ k = "x" }`), "x"},
		{"type = object({ a = string, b = optional(string, \"B\") })", `var.v.b`, given("v", `{ a = "x" }`), "B"},
		{"type = object({ a = string, b = optional(string, \"B\") })\ndefault = { a = 1 }", `"${var.v.a}${var.v.b}"`, nil, "1B"},
		{"type = any", `var.v.a[0]`, given("v", `{"a": [1]}`), "1"},
		{"type = any", `var.v`, given("v", `a b`), "a b"},
		{"type = set(string)", `length(var.v)`, given("v", `["a", "a"]`), "1"},
		{"default = null", `coalesce(var.v, "x")`, nil, "x"},
		{"type = string", "var.v", []language.VariableInput{{Name: "v", Text: "1"}, {Name: "other", Text: "2", Origin: "PIPELINED_VAR_other"}}, "1"},
	} {
		if got := commandWith(t, "variable \"v\" {\n"+row.decl+"\n}", row.use, language.Inputs{Variables: row.in}); got != row.want {
			t.Errorf("%s, %v: got %q, want %q", row.decl, row.in, got, row.want)
		}
	}
}

func TestFile_Compile_variableMistakes(t *testing.T) {
	for _, row := range []struct{ decl, name, text, want string }{
		{"type = number", "v", "x", `-var variable "v": wrong type: a number is required | expected number`},
		{"type = number", "v", "1e999999999", `-var variable "v": wrong type: "1e999999999" | expected number`},
		{"type = bool", "v", "yes", `-var variable "v": wrong type: a bool is required | expected bool`},
		{"type = list(string)", "v", "a", `-var variable "v": value is no literal | write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`},
		{"type = list(string)", "v", "[a]", `-var variable "v": value is no literal | write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`},
		{"type = list(string)", "v", "[upper(\"a\")]", `-var variable "v": value is no literal | write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`},
		{"type = list(string)", "v", "[", `-var variable "v": missing expression (at character 2) | write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`},
		{"type = list(string)", "v", strings.Repeat("[", 1000), `-var variable "v": nested more than 64 deep (at character 65) | write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`},
		{"type = list(string)", "v", "{}", `-var variable "v": wrong type: list of string required | expected list(string)`},
		{"type = object({a=string})", "v", "{}", `-var variable "v": wrong type: attribute "a" is required | expected object({a=string})`},
		{"type = string", "v", "a\x00", `-var variable "v": NUL character in the value | no argument, script or variable of a process can hold one`},
		{"type = string\ndefault = \"x\"", "w", "", `-var unknown variable "w" | the pipeline declares v`},
		{"type = string\ndefault = \"x\"", "quite_other", "", `-var unknown variable "quite_other" | the pipeline declares v`},
		{"type = string", "", "", `2:10 variable "v" has no value | give it: -var v=…, or PIPELINED_VAR_v in the environment, or a default`},
		{"type = string\nvalidation {\n condition = can(regex(\"^[a-z]+$\", var.v))\n error_message = \"only a-z, not ${upper(\"x\")}\"\n}", "v", "1", `5:14 variable "v": only a-z, not X | its value comes from -var`},
		{"type = string\nvalidation {\n condition = 1\n error_message = \"x\"\n}", "v", "1", `5:14 condition: expected true or false, got a number`},
	} {
		src := body("variable \"v\" {\n" + row.decl + "\n}\nmodule \"m\" {\n command=[var.v]\n}")
		in := language.Inputs{}
		if row.name != "" {
			in.Variables = []language.VariableInput{{Name: row.name, Text: row.text, Origin: "-var"}}
		}
		if got := strings.Join(mistakes(t, src, in), "; "); got != row.want {
			t.Errorf("%s = %.40q\n got %s\nwant %s", row.decl, row.text, got, row.want)
		}
	}
}

// Mistakes in variables and elsewhere are reported together, and the
// consequences of a missing value are not reported.
func TestFile_Compile_allMistakes(t *testing.T) {
	src := body(`variable "a" {
  type = number
}
variable "b" {
}
locals {
  d = "${var.b}s"
}
module "m" {
  command = [var.a, var.b, null]
  timeout = local.d
  grace   = "${git.sha}s"
  tags    = ["${git.branch}"]
}`)

	got := mistakes(t, src, language.Inputs{Git: pipeline.Git{SHA: "abc"}, Variables: []language.VariableInput{{Name: "a", Text: "x", Origin: "-var"}}})
	want := []string{
		`11:28 command[2]: value is null | leave the attribute out, or give a value`,
	}

	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	got = mistakes(t, strings.Replace(src, ", null", "", 1), language.Inputs{Git: pipeline.Git{SHA: "abc"}, Variables: []language.VariableInput{{Name: "a", Text: "x", Origin: "-var"}}})
	want = []string{
		`-var variable "a": wrong type: a number is required | expected number`,
		`5:10 variable "b" has no value | give it: -var b=…, or PIPELINED_VAR_b in the environment, or a default`,
		`13:13 grace: invalid duration "abcs" | write a number and a unit, such as "90s", "10m" or "1h30m"`,
		`14:14 tags[0]: invalid word "" | it has from 1 to 128 characters, and no space or comma`,
	}

	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestParseVarFile(t *testing.T) {
	list, diags := language.ParseVarFile("prod.vars", []byte("a = \"x ${\"y\"}\"\nb = 1.5\n# c\nl = [\"$${a}\", \"b\\n\\\"\", true, null]\no = { k = { n = -1 } }\n"))
	if len(diags) > 0 {
		t.Fatal(diags)
	}

	want := []language.VariableInput{
		{Name: "a", Text: "x y", Origin: "prod.vars:1"}, {Name: "b", Text: "1.5", Origin: "prod.vars:2"},
		{Name: "l", Text: `["\u0024{a}","b\u000a\"",true,null]`, Origin: "prod.vars:4"}, {Name: "o", Text: `{"k":{"n":-1}}`, Origin: "prod.vars:5"},
	}

	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}

	p := compile(t, body("variable \"l\" {\n type = any\n}\nmodule \"m\" {\n command = [var.l[0], var.l[1]]\n}"), language.Inputs{Variables: list[2:3]})
	if got := p.Modules[0].Command; got[0] != "${a}" || got[1] != "b\n\"" {
		t.Errorf("got %q", got)
	}

	for src, want := range map[string]string{
		"a = b":                           "1:5 the value of a is no literal",
		"a {\n}":                          "1:1 a file of values has no blocks",
		"a = upper(1)":                    "1:5 the value of a is no literal",
		"a = ":                            "1:5 missing value",
		"a = " + strings.Repeat("[", 100): "1:69 nested more than 64 deep",
	} {
		_, diags := language.ParseVarFile("f", []byte(src))
		if len(diags) == 0 || fmt.Sprintf("%d:%d %s", diags[0].Line, diags[0].Column, diags[0].Summary) != want {
			t.Errorf("%q: got %v, want %s", src, diags, want)
		}
	}
}

func TestParseVarFile_json(t *testing.T) {
	list, diags := language.ParseVarFile("prod.json", []byte(`{
  "a": "${x} \u00e9", "v": "1.20",
  "b": 1.5, "none": null,
  "o": {"k": [{"n": -1}, true]}
}
`))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := []language.VariableInput{
		{Name: "a", Text: "${x} é", Origin: "prod.json:2"}, {Name: "v", Text: "1.20", Origin: "prod.json:2"},
		{Name: "b", Text: "1.5", Origin: "prod.json:3"}, {Name: "none", Text: "null", Origin: "prod.json:3"},
		{Name: "o", Text: `{"k":[{"n":-1},true]}`, Origin: "prod.json:4"},
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}

	for src, want := range map[string]string{
		``:                        "1:1 invalid JSON: unexpected end of JSON input",
		`["a"]`:                   "1:1 a file of values that ends in .json is one JSON object",
		`a = 1`:                   "1:1 invalid JSON: character 'a' looking for beginning of value",
		`{"a": 1`:                 "1:7 invalid JSON: unexpected end of JSON input",
		`{"a": `:                  "1:7 invalid JSON: unexpected end of JSON input",
		"{\n  \"a\": x}":          "2:8 invalid JSON: character 'x' looking for beginning of value",
		`{"a": 1, "a": 2}`:        "1:10 second value of a",
		`{"a": 1} {}`:             "1:10 invalid JSON: character '{' after top-level value",
		`{"a": 1,}`:               "1:9 invalid JSON: character '}' looking for beginning of object key string",
		`{a: 1}`:                  "1:2 invalid JSON: character 'a' looking for beginning of object key string",
		`{"a": 1e999999999}`:      `1:2 the value of a: number "1e999999999" is out of range`,
		strings.Repeat("[", 1000): "1:1 nested more than 64 deep",
	} {
		_, diags := language.ParseVarFile("f.json", []byte(src))
		if len(diags) == 0 || fmt.Sprintf("%d:%d %s", diags[0].Line, diags[0].Column, diags[0].Summary) != want {
			t.Errorf("%.40q: got %v, want %s", src, diags, want)
		}
	}
}

func TestFile_Compile_total(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	src := "pipeline \"p\" {\nenv = { BIG = \"" + big + "\" }\n"
	for i := range 200 {
		src += fmt.Sprintf("module m%d {\n script = \":\"\n env = { A = 1 }\n}\n", i)
	}
	_, diags := parse(t, src+"}\n").Compile(context.Background(), language.Inputs{})
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "expression too expensive") {
		t.Errorf("got %v", diags)
	}
}
