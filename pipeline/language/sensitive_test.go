package language_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// hiddenValue is longer than what a message shows of a value.
const hiddenValue = "0123456789-hidden-0123456789-hidden-0123456789-hidden-0123456789-hidden"

// sensitive wraps lines into a pipeline with a sensitive variable and locals
// that hold it; they begin at line 10.
func sensitive(lines string) string {
	return body("variable \"s\" {\n sensitive = true\n default = \"" + hiddenValue + "\"\n}\nlocals {\n l = \"<${local.k}>\"\n k = var.s\n}\n" + lines)
}

// What expressions make of a sensitive variable is listed, to be masked like it, and
// nothing else that they come to.
func TestEvaluate_derived(t *testing.T) {
	source := body(`variable "sa" {
 sensitive = true
 default   = "{\"private_key\":\"key of robot\",\"login\":\"robot:s3cr3tpart2x\",\"kind\":\"service_account\"}"
}
locals { sa = jsondecode(var.sa) }
module "m" {
 command = ["deploy", "--login=${split(":", local.sa.login)[1]}", local.sa.login != "" ? "with login" : "without"]

 env     = {
  KEY   = local.sa.private_key
  ALL   = join(",", ["prefix", base64encode(local.sa.private_key)])
  PLAIN = "plain text"
  SHORT = substr(local.sa.login, 0, 5)
 }
}
module "s" {
 script = "deploy the thing with ${title(local.sa.private_key)}"
}`)
	p := compile(t, source, language.Inputs{RunID: "r1"})
	for i, want := range [][]string{
		{"a2V5IG9mIHJvYm90", "key of robot", "prefix,a2V5IG9mIHJvYm90", "robot:s3cr3tpart2x", "s3cr3tpart2x"},
		{"Key Of Robot", "key of robot"},
	} {
		e, err := language.Evaluate(t.Context(), newEvaluator(t), p, &p.Modules[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.Derived, want) {
			t.Errorf("%s: %q, want %q", p.Modules[i].Name, e.Derived, want)
		}
	}
}

// An expression that names a sensitive variable is kept as its source; its
// value is the same as without "sensitive".
func TestCompile_sensitive(t *testing.T) {
	source := sensitive(`env = { TOP = var.s, PLAIN = "x" }
module "m" {
 command = ["echo", local.l]
 env     = { A = upper(local.l), B = "b" }
 when    = var.s != ""
}
module "n" {
 command = ["true"]
 env     = merge({ WHOLE = var.s }, { MORE = "1" })
 when    = local.l == ""
}
module "o" {
 script = "echo ${var["s"]} ${jsonencode(var)}"
}`)

	p := compile(t, source, language.Inputs{RunID: "r1"})
	scope := p.Scope
	scope.Variables = nil
	kept, err := json.Marshal(struct {
		Modules []pipeline.Module
		Scope   pipeline.Scope
	}{p.Modules, scope})
	if err != nil || strings.Contains(strings.ToLower(string(kept)), "hidden") {
		t.Errorf("%v: the value is kept in %s", err, kept)
	}

	if !slices.Equal(p.Scope.Sensitive, []string{"s"}) || !slices.Equal(language.SensitiveValues(&p.Scope), []string{hiddenValue}) {
		t.Errorf("sensitive %v: %v", p.Scope.Sensitive, language.SensitiveValues(&p.Scope))
	}

	if skip := p.Modules[1].Skip; !strings.Contains(skip, `local.l == ""`) || p.Modules[0].Skip != "" {
		t.Errorf("skipped for %q and %q", p.Modules[0].Skip, skip)
	}

	want := []pipeline.Evaluated{
		{Command: []string{"echo", "<" + hiddenValue + ">"}, Env: map[string]string{"A": strings.ToUpper("<" + hiddenValue + ">"), "TOP": hiddenValue},
			Derived: []string{strings.ToUpper("<" + hiddenValue + ">")}},
		{Env: map[string]string{"WHOLE": hiddenValue, "MORE": "1", "TOP": hiddenValue}},
		{Script: "echo " + hiddenValue + ` {"s":"` + hiddenValue + `"}`, Env: map[string]string{"TOP": hiddenValue}},
	}

	for i := range p.Modules {
		m := &p.Modules[i]
		if !m.Sensitive {
			t.Errorf("%s is not marked", m.Name)
		}
		e, err := language.Evaluate(t.Context(), newEvaluator(t), p, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := encoded(t, e), encoded(t, want[i]); got != want {
			t.Errorf("%s: %s, want %s", m.Name, got, want)
		}
	}

	if env := p.Modules[0].Env; env["PLAIN"] != "x" || env["B"] != "b" || len(env) != 2 {
		t.Errorf("env %v", env)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// No message shows the value, or a part of it.
func TestCompile_sensitiveMessages(t *testing.T) {
	list := func(typ string) string {
		return body("variable \"s\" {\n type = " + typ + "\n sensitive = true\n validation {\n condition = false\n error_message = \"got ${jsonencode(var.s)}\"\n }\n}\nmodule \"m\" {\n command = [regex(\"[\", jsonencode(var.s))]\n env = { A = [var.s] }\n}")
	}

	for _, c := range []struct{ source, given string }{
		{list("string"), hiddenValue},
		{list("number"), hiddenValue},
		{list("bool"), hiddenValue},
		{list("list(number)"), `["` + hiddenValue + `"]`},
		{list("map(string)"), `{"a": "` + hiddenValue + `"`},
		{list("map(string)"), `{"a": "` + hiddenValue + `"}`},
		{list("object({a = list(string)})"), `{"a": ["x", "` + hiddenValue + `"]}`},
		{sensitive("module \"m\" {\n command = [1 + var.s]\n env = { A = parseint(var.s, 10) }\n}"), hiddenValue},
		{sensitive("module \"m\" {\n command = var.s\n script = lookup({}, var.s)\n}"), hiddenValue},
	} {
		f, diags := language.Parse("p.hcl", []byte(c.source))
		if f != nil {
			_, diags = f.Compile(t.Context(), language.Inputs{Evaluator: newEvaluator(t), Variables: []language.VariableInput{{Name: "s", Text: c.given, Origin: "-var"}}})
		}
		if text := diags.Error(); len(diags) == 0 || strings.Contains(text, hiddenValue[:20]) {
			t.Errorf("%s\n%s", c.source, text)
		}
	}
}

func TestVariables_sensitive(t *testing.T) {
	f, diags := language.Parse("p.hcl", []byte(sensitive("module \"m\" {\n command = [\"true\"]\n}")))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if v := f.Variables()[0]; !v.Sensitive || v.Required || *v.Default != "***" {
		t.Errorf("%+v, default %v", v, *v.Default)
	}
}

// Every place that names a fact of git is a mistake for a submission without them.
func TestFile_MissingGit(t *testing.T) {
	file, diags := language.Parse("p.hcl", []byte(`pipeline "p" {
 locals { v = git.sha }
 template "t" { env = { B = git.branch } }
 module "m" {
  use     = template.t
  command = ["echo", local.v]
  hooks { before = "echo ${git.tag}" }
 }
}`))
	if len(diags) > 0 {
		t.Fatal(diags)
	}

	var got []string
	for _, d := range file.MissingGit("git does not read the repository /x: no", "do this") {
		got = append(got, d.Summary)
	}
	for _, name := range []string{"git.sha", "git.branch", "git.tag"} {
		if !slices.Contains(got, name+" has no value: git does not read the repository /x: no") {
			t.Errorf("%s is missing in %q", name, got)
		}
	}

	file, diags = language.Parse("p.hcl", []byte("pipeline \"p\" {\n module \"m\" { command = [\"true\"] }\n}"))
	if len(diags) > 0 || len(file.MissingGit("no", "")) > 0 {
		t.Errorf("%v, %v", diags, file.MissingGit("no", ""))
	}
}

// What is to be hidden and too short to be masked is named: not what stands in the
// source, nor what is not hidden.
func TestFile_Unmasked(t *testing.T) {
	f, diags := language.Parse("p.hcl", []byte(`pipeline "p" {
  variable "pin"   { sensitive = true }
  variable "pins" {
    sensitive = true
    type      = list(string)
  }
  variable "long"  { sensitive = true }
  variable "empty" { sensitive = true }
  variable "file" {
    sensitive = true
    default   = "abc"
  }
  variable "open" {}
  module "m" { script = "true" }
}
`))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	in := language.Inputs{Env: map[string]string{"A_TOKEN": "abc", "B_TOKEN": "abcdef", "NAME": "abc"}}
	for name, text := range map[string]string{"pin": "1234", "pins": `["123456", "1234"]`, "long": "123456", "empty": "", "open": "1234"} {
		in.Variables = append(in.Variables, language.VariableInput{Name: name, Text: text})
	}
	if got, want := f.Unmasked(in), []string{"A_TOKEN", "variable pin", "variable pins"}; !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}

	// Of several values the last counts.
	in.Variables = append(in.Variables, language.VariableInput{Name: "pin", Text: "12345678"})
	if got, want := f.Unmasked(in), []string{"A_TOKEN", "variable pins"}; !slices.Equal(got, want) {
		t.Errorf("got %q, expected %q", got, want)
	}
}
