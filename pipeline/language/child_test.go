package language_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

var nested = map[string]string{
	"deploy/site.hcl": `pipeline "site" {
  imports = ["../lib/words.hcl", "local.hcl"]
  variable "version" { type = number }
  variable "hosts" {
    type    = list(string)
    default = ["a"]
  }
  module "push" {
    command = ["push", "${var.version}", local.word, local.near]
  }
  module "inner" {
    pipeline  = "more/inner.hcl"
    variables = { x = module.push.result.x }
  }
  module "each" {
    for_each = var.hosts
    command  = ["echo", each.value]
  }
}`,
	"deploy/local.hcl":      "locals {\n  near = \"near\"\n}\n",
	"deploy/more/inner.hcl": "pipeline \"inner\" {\n  imports = [\"../../lib/words.hcl\"]\n  variable \"x\" {}\n  module \"m\" { command = [\"echo\", var.x, local.word] }\n}\n",
	"lib/words.hcl":         "locals {\n  word = \"hello\"\n}\n",
}

const parentText = `pipeline "p" {
  module "first" { command = ["true"] }
  module "deploy" {
    pipeline  = "deploy/site.hcl"
    variables = { version = module.first.result.v, hosts = ["x", "y"] }
  }
}`

func parsed(t *testing.T, name, text string, texts map[string]string) *language.File {
	t.Helper()
	f, diags := language.ParseWith(name, []byte(text), files(texts))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return f
}

// compileChild is what makes a run of a module.
func compileChild(ctx context.Context, p *pipeline.Pipeline, m *pipeline.Module, values map[string]string, in language.Inputs) (*pipeline.Pipeline, error) {
	f, err := language.ParseChild(p, m)
	if err != nil {
		return nil, err
	}
	return f.CompileChild(ctx, m, values, in)
}

// A child is compiled of what the definition of its parent has, with values of results, and
// so is a child of the child.
func TestCompileChild(t *testing.T) {
	ctx := context.Background()
	f := parsed(t, "ci/p.hcl", parentText, nested)
	if got := slices.Sorted(maps.Keys(f.Imports())); !slices.Equal(got, slices.Sorted(maps.Keys(nested))) {
		t.Fatalf("what goes along is %v", got)
	}
	f, diags := language.ParseWith("ci/p.hcl", []byte(parentText), language.Imported(f.Imports())) // as another node does
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	p, diags := f.Compile(ctx, language.Inputs{Git: pipeline.Git{SHA: "abc"}})
	if len(diags) > 0 {
		t.Fatal(diags)
	}

	m := p.Module("deploy")
	want := &pipeline.Child{Name: "site", File: "deploy/site.hcl", Modules: []string{"push", "inner", "each"}, Variables: map[string]string{"hosts": `{"value":["x","y"],"type":["tuple",["string","string"]]}`}}
	if diff := cmp.Diff(want, m.Child); diff != "" || !slices.Equal(m.DependsOn, []string{"first"}) || m.Timeout != 0 {
		t.Fatalf("module %+v: %s", m, diff)
	}
	e, err := language.Evaluate(ctx, nil, p, m, map[string]pipeline.UpstreamResult{"first": {Status: pipeline.ModuleSucceeded, Result: []byte(`{"v": 7}`)}})
	if err != nil {
		t.Fatal(err)
	}

	child, err := compileChild(ctx, p, m, e.Variables, language.Inputs{RunID: "c", Git: p.Scope.Git, Submitter: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if got := child.Module("push").Command; !slices.Equal(got, []string{"push", "7", "hello", "near"}) || child.Module("each[1]") == nil ||
		child.Scope.Git.SHA != "abc" || child.Scope.RunID != "c" || child.Scope.Submitter != "ann" || child.File != "deploy/site.hcl" {
		t.Errorf("child %+v with the command %q", child, got)
	}
	inner, err := compileChild(ctx, child, child.Module("inner"), map[string]string{"x": `{"value":"deep","type":"string"}`}, language.Inputs{RunID: "cc"})
	if err != nil {
		t.Fatal(err)
	}
	if got := inner.Module("m").Command; !slices.Equal(got, []string{"echo", "deep", "hello"}) || len(inner.Sources) != 0 {
		t.Errorf("inner %q", got)
	}

	// A mistake of a value has the place and its origin.
	_, err = compileChild(ctx, p, m, map[string]string{"version": `{"value":"x","type":"string"}`}, language.Inputs{RunID: "c"})
	if pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), `variables of module "deploy": variable "version": wrong type`) {
		t.Errorf("got %v", err)
	}
}

// An expensive child is compiled by the helper alone, also for its parent.
func TestCompile_expensiveChild(t *testing.T) {
	texts := map[string]string{"c.hcl": "pipeline \"c\" {\n  variable \"n\" { type = number }\n  module \"m\" { command = [\"echo\", upper(\"a\")] }\n  module \"n\" { command = [\"echo\", \"${var.n + 1}\"] }\n}"}
	f := parsed(t, "p.hcl", "pipeline \"p\" {\n  module \"m\" {\n    pipeline  = \"c.hcl\"\n    variables = { n = 1 }\n  }\n}", texts)
	if _, diags := f.Compile(context.Background(), language.Inputs{}); !strings.Contains(diags.Error(), "expression cannot be evaluated here") {
		t.Errorf("without a helper: %v", diags)
	}
	p, diags := f.Compile(context.Background(), language.Inputs{Evaluator: newEvaluator(t)})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if _, err := compileChild(context.Background(), p, &p.Modules[0], nil, language.Inputs{RunID: "c"}); err == nil {
		t.Error("compiled without a helper")
	}
	child, err := compileChild(context.Background(), p, &p.Modules[0], nil, language.Inputs{RunID: "c", Evaluator: newEvaluator(t)})
	if err != nil || child.Module("n").Command[1] != "2" {
		t.Errorf("child %+v, %v", child, err)
	}
}

func TestParseWith_childMistakes(t *testing.T) {
	runs := func(file string) string {
		return "pipeline \"p\" {\n  module \"m\" { pipeline = \"" + file + "\" }\n}"
	}
	levels := map[string]string{"leaf.hcl": "pipeline \"leaf\" {\n  module \"m\" { command = [\"true\"] }\n}"}
	for i := range 4 {
		next := fmt.Sprintf("l%d.hcl", i+1)
		if i == 3 {
			next = "leaf.hcl"
		}
		levels[fmt.Sprintf("l%d.hcl", i)] = runs(next)
	}
	// What c.hcl runs was read for b.hcl before; its levels count by each path.
	known := "pipeline \"p\" {\n  module \"a\" { pipeline = \"b.hcl\" }\n  module \"b\" { pipeline = \"c.hcl\" }\n  module \"c\" { pipeline = \"f.hcl\" }\n}"
	knownFiles := map[string]string{"b.hcl": runs("d.hcl"), "c.hcl": runs("d.hcl"), "d.hcl": runs("leaf.hcl"), "leaf.hcl": levels["leaf.hcl"],
		"f.hcl": runs("g.hcl"), "g.hcl": runs("c.hcl")}
	for name, c := range map[string]struct {
		main  string
		files map[string]string
		want  []string
	}{
		"too deep":              {runs("l0.hcl"), levels, []string{"ci/l3.hcl:2:27: pipelines run pipelines more than 4 levels deep: p.hcl -> l0.hcl -> l1.hcl -> l2.hcl -> l3.hcl -> leaf.hcl"}},
		"too deep, known":       {"pipeline \"p\" {\n  module \"a\" { pipeline = \"l1.hcl\" }\n  module \"b\" { pipeline = \"l0.hcl\" }\n}", levels, []string{"more than 4 levels deep: p.hcl -> l0.hcl -> l1.hcl"}},
		"too deep, by another":  {known, knownFiles, []string{"more than 4 levels deep: p.hcl -> f.hcl -> g.hcl -> c.hcl"}},
		"itself":                {runs("p.hcl"), nil, []string{"ci/p.hcl:2:27: a pipeline cannot run itself: p.hcl -> p.hcl"}},
		"itself by another":     {runs("a/b.hcl"), map[string]string{"a/b.hcl": runs("../p.hcl")}, []string{"ci/a/b.hcl:2:27: a pipeline cannot run itself: p.hcl -> a/b.hcl -> p.hcl"}},
		"outside":               {runs("../x.hcl"), map[string]string{"../x.hcl": ""}, []string{`pipeline "../x.hcl" is outside of the workspace root`}},
		"outside from a child":  {runs("a/b.hcl"), map[string]string{"a/b.hcl": runs("../../x.hcl"), "../x.hcl": ""}, []string{`ci/a/b.hcl:2:27: pipeline "../../x.hcl" is outside of the workspace root`}},
		"an import from one":    {runs("a/b.hcl"), map[string]string{"a/b.hcl": "pipeline \"b\" {\n  imports = [\"../../x.hcl\"]\n  module \"m\" { command = [\"true\"] }\n}"}, []string{`ci/a/b.hcl:2:14: import "../../x.hcl" is outside of the workspace root`}},
		"a mistake in it":       {runs("a.hcl"), map[string]string{"a.hcl": "pipeline \"a\" {\n  module \"m\" { comand = [] }\n}"}, []string{`ci/a.hcl:2:16: unknown attribute "comand" in module`}},
		"no pipeline":           {runs("a.hcl"), map[string]string{"a.hcl": "locals {}"}, []string{"ci/a.hcl:1:1: the file has no pipeline, only what one can import"}},
		"too large":             {runs("a.hcl"), map[string]string{"a.hcl": strings.Repeat("# 3456\n", 37<<10) + runs("b.hcl"), "b.hcl": "# 3456789" + runs("c.hcl")}, []string{"more than the limit of 256 KiB"}},
		"takes the environment": {runs("a.hcl"), map[string]string{"a.hcl": "pipeline \"a\" {\n  env_from = [\"CI_*\"]\n  module \"m\" { command = [\"true\"] }\n}"}, []string{`"a.hcl" takes variables from the environment (env_from)`}},
		"a name":                {strings.Replace(runs("x"), `"x"`, "var.x", 1), nil, []string{"pipeline is read before variables have values and can name none"}},
		"an approval too":       {"pipeline \"p\" {\n  module \"m\" {\n    pipeline = \"leaf.hcl\"\n    approval {\n      message = \"go?\"\n    }\n  }\n}", levels, []string{`module "m" waits for an approval and runs nothing: pipeline has no meaning in it`}},
		"no object":             {"pipeline \"p\" {\n  module \"m\" {\n    pipeline = \"leaf.hcl\"\n    variables = [1]\n  }\n}", levels, []string{"variables is an object that is written out"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := language.ParseWith("ci/p.hcl", []byte(c.main), files(c.files))
			for _, want := range c.want {
				if !strings.Contains(diags.Error(), want) {
					t.Errorf("got:\n%v\nwant: %s", diags, want)
				}
			}
		})
	}

	// A root above the pipeline reaches its children, too; four levels are allowed.

	texts := map[string]string{"../lib/a.hcl": "pipeline \"a\" {\n  imports = [\"b.hcl\"]\n  module \"m\" { pipeline = \"../c.hcl\" }\n}", "../lib/b.hcl": "locals {\n  x = 1\n}", "../c.hcl": levels["leaf.hcl"]}
	parsed(t, "ci/p.hcl", "pipeline \"p\" {\n  workspace { root = \"..\" }\n  module \"m\" { pipeline = \"../lib/a.hcl\" }\n}", texts)
	parsed(t, "ci/p.hcl", levels["l0.hcl"], levels)
}

// What a module gives to a sensitive variable of its pipeline shows in no mistake.
func TestCompileChild_sensitive(t *testing.T) {
	texts := map[string]string{"c.hcl": "pipeline \"c\" {\n  variable \"s\" {\n    sensitive = true\n    validation {\n      condition     = var.s == \"\"\n      error_message = \"got ${var.s}\"\n    }\n  }\n" +
		"  module \"m\" { command = [\"true\"] }\n}"}
	f := parsed(t, "p.hcl", "pipeline \"p\" {\n  module \"a\" { command = [\"true\"] }\n  module \"m\" {\n    pipeline  = \"c.hcl\"\n    variables = { s = module.a.result.s }\n  }\n}", texts)
	p, diags := f.Compile(t.Context(), language.Inputs{Evaluator: newEvaluator(t)})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	_, err := compileChild(t.Context(), p, p.Module("m"), map[string]string{"s": `{"value":"` + hiddenValue + `","type":"string"}`}, language.Inputs{RunID: "c", Evaluator: newEvaluator(t)})
	if err == nil || !strings.Contains(err.Error(), "got ***") || strings.Contains(err.Error(), hiddenValue) {
		t.Errorf("got %v", err)
	}
}
