package language_test

import (
	"context"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// files reads imports from a map, as from a disk.
func files(texts map[string]string) language.ReadImport {
	return func(_, _, name string) ([]byte, error) {
		if text, ok := texts[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
}

const importing = `pipeline "p" {
  imports = ["lib/go.hcl"]
  module "m" {
    use     = template.go
    command = ["echo", local.greeting, local.late]
  }
  module "first" { command = ["true"] }
}`

var library = map[string]string{
	"lib/go.hcl": `imports = ["../words.hcl", "also.hcl"]
template "go" {
  timeout = "1m"
  env     = { WHO = var.who, UP = upper(var.who) }
}
`,
	"words.hcl": `variable "who" { default = "me" }
locals {
  greeting = "hello ${var.who}"
}
`,
	"lib/also.hcl": "imports = [\"../words.hcl\"]\nlocals {\n  late = \"${module.first.result.x.y}\"\n}\n",
}

func TestParseWith_imports(t *testing.T) {
	f, diags := language.ParseWith("ci/p.hcl", []byte(importing), files(library))
	if len(diags) > 0 {
		t.Fatal(diags)
	}

	// What one node read is all that another one needs.
	if diff := cmp.Diff(library, f.Imports()); diff != "" {
		t.Fatal(diff)
	}
	f, diags = language.ParseWith("ci/p.hcl", []byte(importing), language.Imported(f.Imports()))
	if len(diags) > 0 {
		t.Fatal(diags)
	}

	p, diags := f.Compile(context.Background(), language.Inputs{Evaluator: newEvaluator(t), Variables: []language.VariableInput{{Name: "who", Text: "you"}}})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	m := p.Module("m")
	if m.Timeout.String() != "1m0s" || m.Env["WHO"] != "you" || m.Env["UP"] != "YOU" {
		t.Errorf("got %+v", m)
	}

	// A mistake that shows late has its place in the imported file.
	_, err := language.Evaluate(context.Background(), nil, p, m, map[string]pipeline.UpstreamResult{"first": {Status: pipeline.ModuleSucceeded, Result: []byte(`{"x": 1}`)}})
	if err == nil || !strings.HasPrefix(err.Error(), "ci/lib/also.hcl:3:") {
		t.Errorf("got %v", err)
	}
}

func TestParseWith_importMistakes(t *testing.T) {
	within := func(imports, more string) string {
		return "pipeline \"p\" {\n  imports = [" + imports + "]\n" + more + "  module \"m\" { command = [\"true\"] }\n}\n"
	}
	for name, c := range map[string]struct {
		main  string
		files map[string]string
		want  []string
	}{
		"missing": {within(`"lib/x.hcl"`, ""), nil, []string{`ci/p.hcl:2:14: import "lib/x.hcl": there is no file ci/lib/x.hcl`}},
		"several": {within(`"https://example.org/x.hcl", "lib/a.hcl", "/etc/x.hcl", "q.hcl"`, "  template \"t\" {\n    use = template.x\n  }\n"), map[string]string{"lib/a.hcl": `imports = ["git@x.org:y.hcl", "r.hcl"]`},
			[]string{`ci/p.hcl:2:14: imports[0]: "https://example.org/x.hcl" is no file`, `2:56: imports[2]: absolute path "/etc/x.hcl"`, `2:70: import "q.hcl": there is no file ci/q.hcl`,
				`ci/lib/a.hcl:1:12: imports[0]: "git@x.org:y.hcl" is no file`, `1:31: import "r.hcl": there is no file ci/lib/r.hcl`}},
		"network":  {within(`"https://example.org/x.hcl"`, ""), nil, []string{`ci/p.hcl:2:14: imports[0]: "https://example.org/x.hcl" is no file of the workspace`, "there are no network imports"}},
		"module":   {within(`"github.com/a/b"`, ""), nil, []string{`"github.com/a/b" is not the name of an HCL file`, "there are no network imports"}},
		"absolute": {within(`"/etc/x.hcl"`, ""), nil, []string{`absolute path "/etc/x.hcl"`}},
		"outside": {within(`"a.hcl", "../b.hcl"`, ""), map[string]string{"a.hcl": "locals {}", "../b.hcl": "locals {}"},
			[]string{`ci/p.hcl:2:23: import "../b.hcl" is outside of the workspace root`, `set root in the workspace block, which is "." here`}},
		"outside by way of a library": {within(`"lib/a.hcl"`, ""), map[string]string{"lib/a.hcl": `imports = ["../../b.hcl"]`, "../b.hcl": "locals {}"},
			[]string{`ci/lib/a.hcl:1:12: import "../../b.hcl" is outside of the workspace root`}},
		"outside of an inner root": {within(`"a.hcl"`, "  workspace { root = \"src\" }\n"), map[string]string{"a.hcl": ""},
			[]string{`import "a.hcl" is outside of the workspace root`}},
		"above the root": {within(`"../../b.hcl"`, "  workspace { root = \"..\" }\n"), nil, []string{`import "../../b.hcl" is outside of the workspace root`}},
		"cycle": {within(`"a.hcl"`, ""), map[string]string{"a.hcl": `imports = ["b.hcl"]`, "b.hcl": "imports = [\n  \"a.hcl\"]"},
			[]string{"ci/b.hcl:2:3: import cycle: a.hcl -> b.hcl -> a.hcl", `   2 |   "a.hcl"]`}},
		"cycle with itself": {within(`"a.hcl"`, ""), map[string]string{"a.hcl": `imports = ["p.hcl"]`},
			[]string{"ci/a.hcl:1:12: import cycle: p.hcl -> a.hcl -> p.hcl"}},
		"twice": {within(`"a.hcl", "b.hcl"`, "  variable \"v\" { default = \"\" }\n"),
			map[string]string{"a.hcl": "template \"t\" {}\nlocals {\n x = 1\n}", "b.hcl": "template \"t\" {}\nlocals {\n x = 2\n}\nvariable \"v\" {}"},
			[]string{`ci/b.hcl:1:10: second template "t"`, "the first is at ci/a.hcl:1:10", `ci/b.hcl:3:2: second local "x"`, "the first is at ci/a.hcl:3:2",
				`ci/b.hcl:5:10: second variable "v"`, "the first is at ci/p.hcl:3:12"}},
		"blocks": {within(`"a.hcl"`, ""), map[string]string{"a.hcl": "module \"x\" {}\ntemplat \"t\" {}\nenv = {}\npipeline \"q\" {}"},
			[]string{`ci/a.hcl:1:1: block "module" in an imported file`, `ci/a.hcl:2:1: block "templat" in an imported file`, `did you mean "template"?`,
				`ci/a.hcl:3:1: attribute "env" in an imported file`, `ci/a.hcl:4:1: block "pipeline" in an imported file`}},
		"syntax": {within(`"a.hcl"`, ""), map[string]string{"a.hcl": "locals {\n  x = \"é\" 1\n  y = [\n}"},
			[]string{"ci/a.hcl:2:11: ", `   2 |   x = "é" 1`, "ci/a.hcl:4:1: "}},
		"inside": {within(`"a.hcl"`, "  locals {\n  z = local.nothing\n  }\n"), map[string]string{"a.hcl": "# é\nlocals {\n  y = var.nothing\n}\ntemplate \"t\" {\n  timout = \"\"\n}"},
			[]string{"ci/p.hcl:4:7: unknown local \"nothing\"", `ci/a.hcl:3:7: unknown variable "nothing"`, "   3 |   y = var.nothing\n     |       ^^^^^^^^^^^", "ci/a.hcl:6:3: unknown attribute \"timout\" in template"}},
		"too large": {within(`"a.hcl", "b.hcl"`, ""), map[string]string{"a.hcl": strings.Repeat("# 3456\n", 20<<10), "b.hcl": strings.Repeat("# 3456\n", 20<<10)},
			[]string{`with import "b.hcl" the source has 281 KiB, more than the limit of 256 KiB`}},
		"no list":    {strings.Replace(within("", ""), "[]", `"a.hcl"`, 1), nil, []string{`imports: expected a list, got a string`}},
		"a name":     {within(`var.x`, ""), nil, []string{`imports is read before variables have values and can name none`}},
		"as a block": {"pipeline \"p\" {\n  imports {}\n  module \"m\" { command = [\"true\"] }\n}", nil, []string{"imports is an attribute, not a block"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, diags := language.ParseWith("ci/p.hcl", []byte(c.main), files(c.files))
			if f != nil || len(diags) == 0 {
				t.Fatal("no mistakes")
			}
			all := diags.Error()
			rest := all
			for _, want := range c.want { // in this order
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("%s\nlacks, or has not in its turn: %s", all, want)
					continue
				}
				rest = after
			}
		})
	}
}

// Other spellings of a path name the same file.
func TestParseWith_spellings(t *testing.T) {
	main := "pipeline \"p\" {\n  imports = [\"a.hcl\", \"./a.hcl\", \"lib/../a.hcl\", \"lib/b.hcl\"]\n  module \"m\" { command = [local.x] }\n}\n"
	texts := map[string]string{"a.hcl": "locals {\n  x = \"y\"\n}\n", "lib/b.hcl": "imports = [\"../a.hcl\", \"../lib/../a.hcl\"]\n"}
	f, diags := language.ParseWith("p.hcl", []byte(main), files(texts))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if diff := cmp.Diff(texts, f.Imports()); diff != "" {
		t.Error(diff)
	}
}

// A wide or deep net of imports is read once per file and has an end.
func TestParseWith_manyImports(t *testing.T) {
	main := "pipeline \"p\" {\n  imports = [\"0/a.hcl\"]\n  module \"m\" { command = [\"true\"] }\n}\n"
	reads := 0
	_, diags := language.ParseWith("p.hcl", []byte(main), func(_, _, name string) ([]byte, error) {
		reads++
		return []byte(`imports = ["` + strings.Repeat("x", 1+reads%7) + "/" + path.Base(name) + `", "b.hcl"]`), nil
	})
	if got := diags.Error(); !strings.Contains(got, "more than 100 imported files") || reads != 100 {
		t.Errorf("after %d files: %.300s", reads, got)
	}

	if _, diags := language.Parse("p.hcl", []byte(main)); !strings.Contains(diags.Error(), "cannot be read here") {
		t.Errorf("got %v", diags)
	}
}

// FuzzParseWith imports any text, which may import itself under other names.
func FuzzParseWith(f *testing.F) {
	for _, text := range library {
		f.Add([]byte(text))
	}
	f.Add([]byte("imports = [\"a.hcl\", \"x/b.hcl\", \"../c.hcl\"]\nlocals {\n  x = \"é${module.m.result.y}\"\n}"))
	for _, b := range bombs {
		f.Add([]byte("locals {\n x = " + b.source(400) + "\n}"))
	}

	main := "pipeline \"p\" {\n  imports = [\"lib.hcl\"]\n  module \"m\" { command = [\"echo\", jsonencode(local)] }\n}\n"
	f.Fuzz(func(t *testing.T, text []byte) {
		file, diags := language.ParseWith("p.hcl", []byte(main), func(_, _, _ string) ([]byte, error) { return text, nil })
		if (file == nil) != (len(diags) > 0) {
			t.Fatalf("a file and mistakes, or neither: %v", diags)
		}

		checkDiagnostics(t, diags)
		if file == nil {
			return
		}

		if file.Imports()["lib.hcl"] != string(text) {
			t.Error("the import is not kept as it is")
		}
		p, diags := file.Compile(context.Background(), language.Inputs{})
		if (p == nil) != (len(diags) > 0) {
			t.Fatalf("a pipeline and mistakes, or neither: %v", diags)
		}
		checkDiagnostics(t, diags)
	})
}
