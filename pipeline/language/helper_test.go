package language_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// expensiveExpressions would take minutes or gigabytes.
var expensiveExpressions = map[string]string{
	"nested for":        `length([for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): 1]]]])`,
	"time without size": `length([for a in range(1000): length([for b in range(1000): length([for c in range(1000): 1])])])`,
	"for over strings":  `join("", [for a in range(1000): join("", [for b in range(1000): join("", [for c in range(1000): "xxxxxxxxxx"])])])`,
	"set product":       `length(setproduct(range(1000), range(1000), range(1000)))`,
	"template for":      `"%{for a in range(1000)}%{for b in range(1000)}%{for c in range(1000)}x%{endfor}%{endfor}%{endfor}"`,
	"replace":           `length(replace(replace(replace(replace(format("%1000s", "a"), " ", format("%1000s", "b")), " ", format("%1000s", "c")), " ", format("%1000s", "c")), " ", "x"))`,
}

func TestCompile_tooExpensive(t *testing.T) {
	for name, expr := range expensiveExpressions {
		t.Run(name, func(t *testing.T) {
			src := body("locals {\n x = " + expr + "\n}\nmodule \"m\" {\n command = [\"echo\", local.x]\n}")
			before := memory()
			start := processorTime()
			got := mistakes(t, src, language.Inputs{})
			if took := processorTime() - start; took > 10*time.Second*raceFactor {
				t.Errorf("it took %v of the processor", took)
			} else {
				t.Logf("%v: %v", took, got)
			}

			if len(got) != 1 || !strings.Contains(got[0], "expression too expensive") || !strings.HasPrefix(got[0], "3:6 ") {
				t.Errorf("got %v", got)
			}

			if more := int64(memory()) - int64(before); more > 16<<20 {
				t.Errorf("this process took %d MiB", more>>20)
			}
		})
	}
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestEvaluate_tooExpensive(t *testing.T) {
	for _, name := range []string{"nested for", "set product", "template for"} {
		expr := expensiveExpressions[name]
		t.Run(name, func(t *testing.T) {
			src := body("module \"a\" {\n command = [\"true\"]\n}\nmodule \"m\" {\n command = [\"echo\", module.a.status, " + expr + "]\n}")
			p := compile(t, src, language.Inputs{})
			if !p.Module("m").Expensive {
				t.Fatal("the module is not marked expensive")
			}

			start := processorTime()
			_, err := language.Evaluate(context.Background(), newEvaluator(t), p, p.Module("m"), map[string]pipeline.UpstreamResult{"a": {Status: pipeline.ModuleSucceeded}})
			if took := processorTime() - start; took > 10*time.Second*raceFactor {
				t.Errorf("it took %v of the processor", took)
			}

			if !errors.Is(err, language.ErrTooExpensive) || pipeline.KindOf(err) != pipeline.Invalid || !strings.HasPrefix(err.Error(), "p.hcl:6:12: command") {
				t.Errorf("got %v (%v)", err, pipeline.KindOf(err))
			}
		})
	}
}

// Templates alone can double a text again and again: they are evaluated in the
// process that asks, and must be refused before they have any size.
func TestCompile_doubling(t *testing.T) {
	var b strings.Builder
	b.WriteString("locals {\n x0 = \"0123456789\"\n")

	for i := range 40 {
		fmt.Fprintf(&b, " x%d = \"${local.x%d}${local.x%d}\"\n", i+1, i, i)
	}

	b.WriteString("}\nmodule \"m\" {\n command = [local.x40]\n}")

	lists := strings.ReplaceAll(strings.ReplaceAll(b.String(), `"${local.`, `[local.`), `}"`, `]`)
	lists = strings.ReplaceAll(lists, "}${", ", ")
	for name, src := range map[string]string{"texts": b.String(), "lists": lists} {
		t.Run(name, func(t *testing.T) {
			before := memory()
			start := processorTime()
			f := parse(t, body(src))
			_, diags := f.Compile(context.Background(), language.Inputs{})
			if len(diags) == 0 || !strings.Contains(diags[0].Summary, "expression too expensive") {
				t.Errorf("got %v", diags)
			}
			if took, more := processorTime()-start, int64(memory())-int64(before); took > time.Second*raceFactor || more > 16<<20 {
				t.Errorf("it took %v of the processor and %d MiB", took, more>>20)
			}
		})
	}
}

func TestEvaluate_doubling(t *testing.T) {
	var b strings.Builder
	b.WriteString("module \"a\" {\n command = [\"true\"]\n}\nlocals {\n x0 = module.a.result.x\n")
	for i := range 40 {
		fmt.Fprintf(&b, " x%d = \"${local.x%d}${local.x%d}\"\n", i+1, i, i)
	}
	b.WriteString("}\nmodule \"m\" {\n command = [local.x40]\n}")
	p := compile(t, body(b.String()), language.Inputs{})
	deps := map[string]pipeline.UpstreamResult{"a": {Result: json.RawMessage(`{"x":"0123456789"}`)}}
	_, err := language.Evaluate(context.Background(), nil, p, p.Module("m"), deps)
	if !errors.Is(err, language.ErrTooExpensive) {
		t.Errorf("got %v", err)
	}
}

// The answer of a helper is far larger than the source; its limits of time and memory
// must leave room for the most instances of a long script.
func TestCompile_manyInstances(t *testing.T) {
	script := "# " + strings.Repeat("x", 8000)
	p := compile(t, body(fmt.Sprintf("module \"m\" {\n matrix = { a = range(64), b = range(%d) }\n script = %q\n}", 64/raceFactor, script)), language.Inputs{})
	if got, want := len(p.Modules), 64*(64/raceFactor); got != want {
		t.Fatalf("got %d modules, want %d", got, want)
	}
	last := p.Modules[len(p.Modules)-1]
	if want := fmt.Sprintf("m[63,%d]", 64/raceFactor-1); last.Name != want || last.Script != script || len(last.Matrix) != 2 {
		t.Errorf("the last one is %s with matrix %v and a script of %d bytes, want %s", last.Name, last.Matrix, len(last.Script), want)
	}
}

func TestCompile_withoutEvaluator(t *testing.T) {
	f := parse(t, body("locals {\n x = upper(\"a\")\n}\nmodule \"m\" {\n command = [local.x]\n}"))
	_, diags := f.Compile(context.Background(), language.Inputs{})
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "cannot be evaluated here") {
		t.Errorf("got %v", diags)
	}
}

func TestCompile_oneHelper(t *testing.T) {
	e := &countingEvaluator{Evaluator: newEvaluator(t)}
	p := compile(t, body("locals {\n x = upper(\"a\")\n y = lower(\"B\")\n}\nmodule \"m\" {\n command = [local.x, local.y, max(1, 2)]\n}"), language.Inputs{Evaluator: e})
	if got := strings.Join(p.Modules[0].Command, " "); got != "A b 2" {
		t.Errorf("got %q", got)
	}
	if e.n != 1 {
		t.Errorf("%d helpers", e.n)
	}
	compile(t, body("module \"m\" {\n command = [\"a\", \"${1}\"]\n}"), language.Inputs{Evaluator: e})
	if e.n != 1 {
		t.Errorf("a cheap pipeline took a helper")
	}
}

type countingEvaluator struct {
	language.Evaluator
	n int
}

func (e *countingEvaluator) Do(ctx context.Context, request func() ([]byte, error)) ([]byte, error) {
	e.n++
	return e.Evaluator.Do(ctx, request)
}

func TestEvaluator_broken(t *testing.T) {
	p := compile(t, body("module \"a\" {\n command = [\"true\"]\n}\nmodule \"m\" {\n command = [upper(module.a.status)]\n}"), language.Inputs{})
	deps := map[string]pipeline.UpstreamResult{"a": {Status: pipeline.ModuleSucceeded}}
	noHelper := filepath.Join(t.TempDir(), "none")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho broken >&2\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{noHelper, script} {
		_, err := language.Evaluate(context.Background(), bounded.New(path).For(""), p, p.Module("m"), deps)
		if pipeline.KindOf(err) != pipeline.Unavailable {
			t.Errorf("%s: %v (%v)", path, err, pipeline.KindOf(err))
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	if _, err := language.Evaluate(ctx, newEvaluator(t), p, p.Module("m"), deps); pipeline.KindOf(err) != pipeline.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}

	if _, err := language.Evaluate(context.Background(), nil, p, p.Module("m"), deps); pipeline.KindOf(err) != pipeline.Internal {
		t.Errorf("no evaluator: %v", err)
	}

	// Whatever the stored pipeline says of itself.
	p.Module("m").Expensive = false
	if _, err := language.Evaluate(context.Background(), nil, p, p.Module("m"), deps); !errors.Is(err, language.ErrTooExpensive) {
		t.Errorf("not marked: %v", err)
	}
}
