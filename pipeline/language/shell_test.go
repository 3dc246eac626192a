package language_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// The shell is the module's, else the pipeline's; hooks of the pipeline have that one.
func TestCompile_shell(t *testing.T) {
	const modules = `
hooks { after = "true" }
template "t" { shell = "bash" }
module "own" {
 shell  = "bash"
 script = "true"
}
module "other" {
 shell   = "sh"
 command = ["true"]
}
module "none" { script = "true" }
module "template" {
 use    = template.t
 script = "true"
}`
	for set, want := range map[string]map[string]string{
		"":               {"own": "bash", "other": "", "none": "", "template": "bash", "hooks[after]": ""},
		`shell = "bash"`: {"own": "bash", "other": "", "none": "bash", "template": "bash", "hooks[after]": "bash"},
		`shell = "sh"`:   {"own": "bash", "other": "", "none": "", "template": "bash", "hooks[after]": ""},
	} {
		p := compile(t, body(set+modules), language.Inputs{})
		if len(p.Modules) != len(want) {
			t.Fatalf("%d modules", len(p.Modules))
		}
		for i := range p.Modules {
			if m := &p.Modules[i]; m.Shell != want[m.Name] {
				t.Errorf("%s: %s has the shell %q, want %q", set, m.Name, m.Shell, want[m.Name])
			}
		}
	}

	_, diags := language.Parse("p.hcl", []byte(moduleWith("script = \"true\"\nshell = \"zsh\"")))
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "shell: invalid value") {
		t.Errorf("zsh: %v", diags)
	}
}

// What sh ignores, by the command that fails; "" for none.
func TestFile_Warnings(t *testing.T) {
	for script, want := range map[string]string{
		"go test ./... | tee report.txt":                        "go test ./...",
		"set -x\nif true; then\n  make test 2>&1 | tee log\nfi": "make test 2>&1",
		"a && make |\n  tee log":                                "make",
		"CI=1 make | tee log":                                   "make",
		"find . | while read f; do echo $f; done":               "find .",
		"(cd x && make | tee log)":                              "make",
		"cat <<EOF | sort\na | b\nEOF\nmake | tee x":            "cat <<EOF",
		"make test|tee log":                                     "make test",
		"printf x | make | tee log":                             "make",
		"echo hi | tee log":                                     "",
		"make || true":                                          "",
		"make | tee log || true":                                "",
		"if make | grep -q x; then echo; fi":                    "",
		"! make | grep -q x":                                    "",
		"echo 'make | tee' \"a | $(b | c)\" # make | tee":       "",
		"x=$(make | tail -1)":                                   "",
		"case $1 in a|b) echo;; c | d) echo;; esac":             "",
		"cat > x <<'EOF'\nmake | tee\nEOF\necho":                "",
		"echo a >| x":                                           "",
		"set -o pipefail\nmake | tee log":                       "",
		"#!/bin/bash\nmake | tee log":                           "",
		"echo \\| x":                                            "",
		"":                                                      "",
	} {
		source := moduleWith("script = <<-SH\n" + strings.ReplaceAll(script, "${", "$${") + "\necho end\nSH")
		got := parse(t, source).Warnings()
		if (len(got) == 1) != (want != "") || len(got) == 1 && !strings.Contains(got[0].Summary, `"`+want+`"`) {
			t.Errorf("%q: got %v, want %q", script, got, want)
		}
	}

	for _, source := range []string{
		body("shell = \"bash\"\nmodule \"m\" { script = \"make | tee log\" }"),
		moduleWith("shell = \"bash\"\nscript = \"make | tee log\""),
		moduleWith("command = [\"sh\", \"-c\", \"make | tee log\"]"),
	} {
		if got := parse(t, source).Warnings(); len(got) != 0 {
			t.Errorf("%s: %v", source, got)
		}
	}

	hooks := `hooks {
 before     = "true"
 on_success = "make | tee log"
 after      = <<-SH
   echo hi | tee log
 SH
}
module "m" {
 command = ["true"]
 hooks {
  on_failure = "set -x; ${var.x} | tee log"
 }
}
variable "x" { default = "make" }`
	for set, want := range map[string][]string{
		"":               {`5 hooks.on_success: sh ignores a failure of "make" before |`, `13 module "m": hooks.on_failure: sh ignores a failure of "x" before |`},
		`shell = "bash"`: nil,
	} {
		var got []string
		for _, d := range parse(t, body(set+"\n"+hooks)).Warnings() {
			got = append(got, fmt.Sprint(d.Line, " ", d.Summary))
		}
		if !slices.Equal(got, want) {
			t.Errorf("hooks with %q: got %q, want %q", set, got, want)
		}
	}

	got := parse(t, body("variable \"x\" { default = \"make\" }\nmodule \"m\" {\n script = \"${var.x} all | tee log\"\n}")).Warnings()
	if len(got) != 1 || got[0].Line != 4 || !strings.Contains(got[0].Summary, `"x all"`) {
		t.Errorf("a template: %v", got)
	}
}

// A command line in one text is likely a mistake, a path with a space is not.
func TestFile_Warnings_oneText(t *testing.T) {
	for command, want := range map[string]string{
		`["go build ./..."]`:           `write ["go", "build", "./..."]`,
		`["make all | tee log"]`:       "there is no shell: write each argument as an element of its own, or use script",
		`["echo ${pipeline.name} hi"]`: "there is no shell: write each argument as an element of its own, or use script",
		`["./my tool"]`:                "",
		`["/opt/My App/run"]`:          "",
		`["go", "build ./..."]`:        "",
		`["${pipeline.name}"]`:         "",
	} {
		got := parse(t, moduleWith("command = "+command)).Warnings()
		if (len(got) == 1) != (want != "") || len(got) == 1 && (got[0].Detail != want || got[0].Line != 3) {
			t.Errorf("%s: got %v, want %q", command, got, want)
		}
	}
}
