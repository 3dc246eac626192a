package language_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// Null takes a variable away that the pipeline, a template or env_from gives, and a value
// over it gives it back. It may become known late, and may come of a sensitive variable.
func TestCompile_unset(t *testing.T) {
	const source = `env = { TOP = "1", GONE = null, LATE = run.id }
env_from = ["OUTSIDE_*"]
variable "none" {
 type = string
 default = null
}
variable "hidden" {
 sensitive = true
 default = "hidden value"
}
template "t" {
 env = { SHARED = "t", BACK = null }
}
module "a" {
 command = ["true"]
}
module "m" {
 use = template.t
 command = ["true"]
 env = {
  TOP = var.none, SHARED = null, BACK = "m", GONE = "m", OUTSIDE_A = null
  LATE = module.a.result.x, SEALED = var.hidden == "x" ? "y" : null
 }
}
module "whole" {
 command = ["true"]
 env = merge({ TOP = null }, { OWN = module.a.result.x })
}`
	p := compile(t, body(source), language.Inputs{Env: map[string]string{"OUTSIDE_A": "a", "OUTSIDE_B": "b"}})
	p.Scope.RunID, p.Scope.RunNumber = "r1", 7
	const none = pipeline.EnvUnset
	want := map[string]map[string]string{
		"a":     {"TOP": "1", "GONE": none, "LATE": "r1", "OUTSIDE_A": "a", "OUTSIDE_B": "b"},
		"m":     {"TOP": none, "GONE": "m", "LATE": none, "OUTSIDE_A": none, "OUTSIDE_B": "b", "SHARED": none, "BACK": "m", "SEALED": none},
		"whole": {"TOP": none, "GONE": none, "LATE": "r1", "OUTSIDE_A": "a", "OUTSIDE_B": "b", "OWN": none},
	}
	deps := map[string]pipeline.UpstreamResult{"a": {Status: pipeline.ModuleSucceeded, Result: json.RawMessage(`{"x": null}`)}}
	for i := range p.Modules {
		m := &p.Modules[i]
		e, err := language.Evaluate(t.Context(), newEvaluator(t), p, m, deps)
		if err != nil {
			t.Fatal(err)
		}
		got := maps.Clone(m.Env)
		maps.Copy(got, e.Env)
		if !maps.Equal(got, want[m.Name]) {
			t.Errorf("%s: got %q, want %q", m.Name, got, want[m.Name])
		}
	}
}
