package language_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// A pattern takes no credential; one that is named exactly is sensitive, in every
// module that names it, and only there.
func TestCompile_envFromCredentials(t *testing.T) {
	const source = `env_from = ["GITHUB_*", "SIGNING_KEY"]
env = { TOP_TOKEN = "own", LATER_TOKEN = run.id }
module "a" {
 env_from = ["*_TOKEN", "GITHUB_TOKEN", "TOP_TOKEN", "LATER_TOKEN"]
 command = ["true"]
}
module "b" {
 command = ["true"]
 env = { SIGNING_KEY = "own", ALL = jsonencode(run) }
}
module "c" {
 script = "echo ${jsonencode(var)} ${run.number}"
}`
	in := language.Inputs{Env: map[string]string{"GITHUB_SHA": "abc", "GITHUB_TOKEN": "hidden-1", "NPM_TOKEN": "hidden-2", "SIGNING_KEY": "hidden-3",
		"TOP_TOKEN": "hidden-4", "LATER_TOKEN": "hidden-5", "GITHUB_OLD_PASSWORD": "hidden-6"}}
	p := compile(t, body(source), in)
	if got, want := language.SensitiveValues(&p.Scope), []string{"hidden-1", "hidden-3"}; !slices.Equal(got, want) {
		t.Errorf("masked %q, want %q", got, want)
	}

	open := p.Scope.Variables
	p.Scope.Variables = nil
	if kept := encoded(t, p); strings.Contains(kept, "hidden-") {
		t.Errorf("a value is kept: %s", kept)
	}

	p.Scope.Variables, p.Scope.RunID, p.Scope.RunNumber = open, "r1", 7
	want := map[string]map[string]string{
		"a": {"GITHUB_SHA": "abc", "GITHUB_TOKEN": "hidden-1", "SIGNING_KEY": "hidden-3", "TOP_TOKEN": "own", "LATER_TOKEN": "r1"},
		"b": {"GITHUB_SHA": "abc", "SIGNING_KEY": "own", "TOP_TOKEN": "own", "LATER_TOKEN": "r1", "ALL": `{"id":"r1","number":7,"submitter":"","tick":null}`},
		"c": {"GITHUB_SHA": "abc", "SIGNING_KEY": "hidden-3", "TOP_TOKEN": "own", "LATER_TOKEN": "r1"},
	}
	for i := range p.Modules {
		m := &p.Modules[i]
		e, err := language.Evaluate(t.Context(), newEvaluator(t), p, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := maps.Clone(m.Env)
		maps.Copy(got, e.Env)
		if !maps.Equal(got, want[m.Name]) {
			t.Errorf("%s: got %v, want %v", m.Name, got, want[m.Name])
		}
		if sensitive := slices.Contains(slices.Collect(maps.Values(got)), "hidden-3"); m.Sensitive != sensitive {
			t.Errorf("%s: sensitive %v", m.Name, m.Sensitive)
		}
		if m.Name == "c" && e.Script != "echo {} 7" {
			t.Errorf("var as a whole shows %q", e.Script)
		}
	}
}

// A credential reaches the instances of a for_each that is known only later, and no
// expression can name it.
func TestCompile_envFromLater(t *testing.T) {
	in := language.Inputs{Env: map[string]string{"NPM_TOKEN": "hidden-1"}}
	p := compile(t, body(`env_from = ["NPM_TOKEN"]
module "list" { command = ["true"] }
module "each" {
 for_each = jsondecode(module.list.result.x)
 command = ["echo", each.key]
}`), in)
	each := p.Module("each")
	if d := each.Deferred["env.NPM_TOKEN"]; !each.Dynamic || !d.Sensitive || !each.Sensitive {
		t.Errorf("got %+v", each)
	}
	if raw, err := json.Marshal(p.Modules); err != nil || strings.Contains(string(raw), "hidden") {
		t.Errorf("a value is kept: %s, %v", raw, err)
	}

	if _, diags := language.Parse("p.hcl", []byte(body("env_from = [\"NPM_TOKEN\"]\nmodule \"m\" {\n command = [var[\"env.NPM_TOKEN\"]]\n}"))); len(diags) == 0 {
		t.Error("an expression names a credential")
	}
}

func TestMatchesEnv(t *testing.T) {
	patterns := []string{"GITHUB_*", "NPM_TOKEN", "*_KEY", "EXACT"}
	for name, want := range map[string][2]bool{ // taken, withheld
		"GITHUB_SHA": {true, false}, "GITHUB_TOKEN": {false, true}, "github_sha": {false, false}, "NPM_TOKEN": {true, false},
		"DEPLOY_KEY": {false, true}, "EXACT": {true, false}, "OTHER_SECRET": {false, false},
	} {
		if taken, withheld := language.MatchesEnv(patterns, name), language.WithholdsEnv(patterns, name); taken != want[0] || withheld != want[1] {
			t.Errorf("%s: taken %v, withheld %v", name, taken, withheld)
		}
	}
}
