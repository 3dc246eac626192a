package language_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func thousand() string {
	var b strings.Builder
	b.WriteString("pipeline \"p\" {\nvariable \"v\" {\n default = \"x\"\n}\nlocals {\n l = \"${var.v}y\"\n}\nenv = { A = \"1\" }\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "module \"module-%d\" {\n command = [\"echo\", \"hello\", local.l]\n timeout = \"10m\"\n inputs = [\"src/**\"]\n", i)
		if i > 0 {
			fmt.Fprintf(&b, " depends_on = [module.module-%d]\n", i-1)
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func BenchmarkParseCompile_1000(b *testing.B) {
	src := []byte(thousand())
	b.ReportAllocs()
	for b.Loop() {
		f, diags := language.Parse("p.hcl", src)
		if len(diags) > 0 {
			b.Fatal(diags)
		}
		if _, diags := f.Compile(context.Background(), language.Inputs{}); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

// The most instances of a long script, made by a helper: its limit is 1 s.
func BenchmarkCompile_matrix(b *testing.B) {
	src := body(fmt.Sprintf("module \"m\" {\n matrix = { a = range(64), b = range(64) }\n script = \"# %s\"\n}", strings.Repeat("x", 8000)))
	f, e := parse(b, src), newEvaluator(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, diags := f.Compile(context.Background(), language.Inputs{Evaluator: e}); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

func deferredModule(tb testing.TB) *pipeline.Pipeline {
	return compile(tb, body("module \"a\" {\n command = [\"x\"]\n}\nmodule \"m\" {\n command = [\"echo\", \"passed ${module.a.result.passed} of ${module.a.result.all}\"]\n}"), language.Inputs{})
}

func BenchmarkEvaluate_template(b *testing.B) {
	p := deferredModule(b)
	deps := upstreams(`{"passed": 3, "all": 4}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := language.Evaluate(context.Background(), nil, p, p.Module("m"), deps); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate_helper(b *testing.B) {
	p := compile(b, body("module \"a\" {\n command = [\"x\"]\n}\nmodule \"m\" {\n command = [upper(module.a.status)]\n}"), language.Inputs{})
	e, deps := newEvaluator(b), upstreams(`{}`)
	for b.Loop() {
		if _, err := language.Evaluate(context.Background(), e, p, p.Module("m"), deps); err != nil {
			b.Fatal(err)
		}
	}
}
