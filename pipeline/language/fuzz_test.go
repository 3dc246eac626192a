package language_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// FuzzParse looks for sources that panic, take long, or give a pipeline that
// breaks what the rest of the system relies on.
func FuzzParse(f *testing.F) {
	f.Add(readTestdata(f, "first.hcl"))

	for _, pattern := range []string{"testdata/mistakes/*.hcl"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}

	for _, b := range bombs {
		f.Add([]byte(b.source(400)))
		f.Add([]byte(moduleWith("script = 1\n" + b.source(200))))
	}

	f.Add([]byte(moduleWith("command = [\"${run.number}\", jsonencode(local)]\nenv = merge({}, {})")))
	f.Fuzz(func(t *testing.T, src []byte) {
		start := processorTime()
		before := language.Prescan("f.hcl", src)
		file, diags := language.Parse("f.hcl", src)
		if len(before) > 0 && len(diags) == 0 {
			t.Errorf("parsed what the prescan refused: %v", before)
		}

		if (file == nil) != (len(diags) > 0) {
			t.Fatalf("a file and mistakes, or neither: %v", diags)
		}

		checkDiagnostics(t, diags)
		if file == nil {
			return
		}

		p, diags := file.Compile(context.Background(), language.Inputs{Git: pipeline.Git{SHA: "s"}})
		if (p == nil) != (len(diags) > 0) {
			t.Fatalf("a pipeline and mistakes, or neither: %v", diags)
		}

		checkDiagnostics(t, diags)
		if p != nil {
			checkPipeline(t, p)
		}

		if took := processorTime() - start; took > 5*time.Second*raceFactor {
			t.Errorf("it took %v of the processor", took)
		}
	})
}

func checkDiagnostics(t *testing.T, diags language.Diagnostics) {
	t.Helper()
	if len(diags) > 0 && strings.ContainsAny(diags.Error(), "\x00\x1b\r") {
		t.Errorf("control characters in %q", diags.Error())
	}
	for _, d := range diags {
		if d.Summary == "" || (d.Line > 0 && (d.Column < 1 || d.EndColumn <= d.Column)) {
			t.Errorf("%+v", d)
		}
	}
}

// checkPipeline checks what the rest of the system relies on.
func checkPipeline(t *testing.T, p *pipeline.Pipeline) {
	t.Helper()
	if !pipeline.ValidName(p.Name) || len(p.Modules) == 0 {
		t.Errorf("pipeline %q with %d modules", p.Name, len(p.Modules))
	}

	position := map[string]int{}
	for i, m := range p.Modules {
		if _, twice := position[m.Name]; twice || !pipeline.ValidName(m.Name) {
			t.Errorf("module %q", m.Name)
		}

		position[m.Name] = i

		n := 0
		for _, given := range []bool{len(m.Command) > 0, m.Script != "", m.Deferred["command"].Source != "", m.Deferred["script"].Source != ""} {
			if given {
				n++
			}
		}

		if n != 1 {
			t.Errorf("module %q has %d commands and scripts", m.Name, n)
		}

		for name, value := range m.Env {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
				t.Errorf("env %q = %q", name, value)
			}
		}

		for name, deferred := range m.Deferred {
			if deferred.Source == "" || deferred.Line < 1 || deferred.Column < 1 {
				t.Errorf("deferred %s: %+v", name, deferred)
			}
		}
	}

	// Every dependency exists, and there is no cycle.
	state := map[string]int{}
	var visit func(name string) bool
	visit = func(name string) bool {
		i, exists := position[name]
		if !exists || state[name] == 1 {
			return false
		}

		if state[name] == 2 {
			return true
		}

		state[name] = 1

		for _, d := range p.Modules[i].DependsOn {
			if !visit(d) {
				return false
			}
		}

		state[name] = 2

		return true
	}

	for name := range position {
		if !visit(name) {
			t.Errorf("the dependencies of %q have a cycle, or do not exist", name)
		}
	}

	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}

	for i := range p.Modules {
		deps := map[string]pipeline.UpstreamResult{}
		for _, d := range p.Modules[i].DependsOn {
			deps[d] = pipeline.UpstreamResult{Status: pipeline.ModuleSucceeded, Result: json.RawMessage(`{"a":1}`)}
		}
		if i < 50 {
			checkEvaluated(t, p, p.Modules[i].Name, deps)
		}
	}
}

func checkEvaluated(t *testing.T, p *pipeline.Pipeline, module string, deps map[string]pipeline.UpstreamResult) {
	t.Helper()
	out, err := language.Evaluate(context.Background(), nil, p, p.Module(module), deps)
	if (out == nil) != (err != nil) {
		t.Fatalf("a value and an error, or neither: %v", err)
	}
	m := p.Module(module)
	if err == nil && m.Deferred["command"].Source != "" && len(out.Command) == 0 {
		t.Error("an empty command")
	}
	if err == nil && m.Deferred["script"].Source != "" && out.Script == "" {
		t.Error("an empty script")
	}
}

// FuzzEvaluate looks for deferred expressions and results that panic or take long:
// both come from outside, and the leader evaluates them.
func FuzzEvaluate(f *testing.F) {
	for _, source := range []string{`["x", module.a.result.b]`, `"${local.l}${module.a.status}"`, `{ A = module.a.outputs }`, `module.a.result["b"][0]`,
		`"${local.l}${local.k}${var.v}"`, `[local.k[var.n]]`, "<<A\n${module.a.result.b}\nA", `[for x in y: x]`, `upper("a")`, `var`, `local`, `module`, `1e400`, `-1`} {
		for _, result := range []string{`{"b":1}`, `{"b":["x",{"c":null}]}`, `{"b":1e400}`, `[`, ``, `{"b":"\u0000"}`} {
			f.Add(source, source, result, `{"value":1,"type":"number"}`)
		}
	}

	f.Fuzz(func(t *testing.T, source, local, result, variable string) {
		start := processorTime()
		for _, attribute := range []string{"command", "script", "env", "env.A"} {
			p := &pipeline.Pipeline{Name: "p", File: "f.hcl", Modules: []pipeline.Module{{Name: "a"}, {Name: "m", DependsOn: []string{"a"},
				Deferred: map[string]pipeline.DeferredExpr{attribute: {Source: source, Line: 3, Column: 9}}}},
				Scope: pipeline.Scope{Variables: map[string]string{"v": variable, "n": `{"value":0,"type":"number"}`},
					Locals:         map[string]string{"k": variable},
					DeferredLocals: map[string]pipeline.DeferredExpr{"l": {Source: local, Line: 2, Column: 2}}}}
			checkEvaluated(t, p, "m", map[string]pipeline.UpstreamResult{"a": {Status: pipeline.ModuleSucceeded, Result: json.RawMessage(result), Outputs: []string{"x"}}})
		}
		if took := processorTime() - start; took > 5*time.Second*raceFactor {
			t.Errorf("it took %v of the processor", took)
		}
	})
}
