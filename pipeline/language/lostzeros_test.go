package language_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// A number is warned of where it becomes text, at the place where it is written, once.
func TestFile_LostZeros(t *testing.T) {
	const source = `variable "text" {
 type    = string
 default = 1.20
}
variable "many" {
 type    = object({ go = list(string), cpu = number })
 default = { go = [1.30, 1.31], cpu = 1.50 }
}
variable "used" { default = 1.40 }
variable "number" { default = 2.50 }
locals {
 go    = { old = 1.60, new = "1.70" }
 share = 3.50
}
env = { TOP = 1.80 }
tags = [1.90]
template "t" { env = { T = 4.10 } }
module "a" {
 use       = template.t
 matrix    = { go = [5.10, 5.11], cpu = [0.50, 1.00], only = [6.0] }
 command   = ["echo", "v${local.go.old}", local.go.new, var.used, true ? 7.10 : "x", "${8.10}"]
 resources = { cpu = matrix.cpu, memory = "1GiB" }
 when      = matrix.cpu < 9.90 && local.share > 1.0
 hooks { after = "echo ${matrix.go} ${var.number > 1.0 ? 1 : 2}" }
}
module "b" {
 use       = template.t
 resources = { cpu = 0.50 }
 priority  = 1.0
 for_each  = [{ go = 10.10, n = 11.10 }, { go = 10.2, n = 1 }]
 script    = "echo ${each.value.go} ${join(",", [12.10, 1.5])} ${max(13.10, 1)} 14.10 ${each.value.n + 1}"
 env       = { URL = "http://x/1.20", E = 1.20e1, N = 15.5 }
 retry { attempts = 2.0 }
}`
	f := parse(t, body(source))
	want := map[int][]string{ // by line: of what the number is, and the number
		4:  {`default of variable "text": the number 1.20 becomes the text "1.2"`},
		8:  {`default of variable "many": the number 1.30 becomes the text "1.3"`},
		10: {`module "a": command: the number 1.40 becomes the text "1.4"`},
		13: {`module "a": command: the number 1.60 becomes the text "1.6"`},
		16: {`env.TOP: the number 1.80 becomes the text "1.8"`},
		17: {`tags: the number 1.90 becomes the text "1.9"`},
		18: {`module "a": env.T: the number 4.10 becomes the text "4.1"`},
		21: {`module "a": hooks.after: the number 5.10 becomes the text "5.1"`, `module "a": matrix.only: the number 6.0 becomes the text "6"`},
		22: {`module "a": command: the number 7.10 becomes the text "7.1"`, `module "a": command: the number 8.10 becomes the text "8.1"`},
		31: {`module "b": script: the number 10.10 becomes the text "10.1"`},
		32: {`module "b": script: the number 12.10 becomes the text "12.1"`},
	}
	got := map[int][]string{}
	for _, d := range f.LostZeros() {
		got[d.Line] = append(got[d.Line], d.Summary)
		if d.File != "p.hcl" || d.Column == 0 || d.Detail[:7] != `write "` {
			t.Errorf("got %+v", d)
		}
	}
	for line := range 40 {
		if !slices.Equal(got[line], want[line]) {
			t.Errorf("line %d: got %q, want %q", line, got[line], want[line])
		}
	}
	if list := f.Warnings(); len(list) != len(f.LostZeros()) {
		t.Errorf("warnings %v", list)
	}
}

// A file of values gives a number as it is written: text keeps all of it.
func TestParseVarFile_numbers(t *testing.T) {
	for name, source := range map[string]string{"v.vars": "go = 1.20\ncpu = 2.50", "v.json": `{"go": 1.20, "cpu": 2.50}`} {
		list, diags := language.ParseVarFile(name, []byte(source))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		in := language.Inputs{Variables: list}
		p := compile(t, body("variable \"go\" { type = string }\nvariable \"cpu\" { type = number }\n"+
			"module \"m\" {\n command = [var.go, var.cpu]\n}"), in)
		if got := fmt.Sprint(p.Modules[0].Command); got != "[1.20 2.5]" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

// Numbers of imported files have their own places, behind those of the pipeline's file.
func TestFile_LostZeros_imports(t *testing.T) {
	f, diags := language.ParseWith("p.hcl", []byte(body("imports = [\"lib.hcl\"]\n\n\nmodule \"m\" {\n use = template.go\n command = [\"echo\", local.go, 1.10]\n}")),
		files(map[string]string{"lib.hcl": "locals { go = 1.20 }\ntemplate \"go\" { env = { V = 1.30 } }\n"}))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	var got []string
	for _, d := range f.LostZeros() {
		got = append(got, fmt.Sprintf("%s:%d %s", d.File, d.Line, d.Summary))
	}
	want := []string{`p.hcl:7 module "m": command: the number 1.10 becomes the text "1.1"`, `lib.hcl:1 module "m": command: the number 1.20 becomes the text "1.2"`,
		`lib.hcl:2 module "m": env.V: the number 1.30 becomes the text "1.3"`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if list := f.Warnings(); len(list) != 3 || list[0].File != "p.hcl" {
		t.Errorf("warnings %v", list)
	}
}
