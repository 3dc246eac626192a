package language_test

import (
	"slices"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// What the values of variables change of a module's work is named.
func TestChanged(t *testing.T) {
	const variables = `variable "v" { default = "1" }
variable "s" {
  default   = "1"
  sensitive = true
}
variable "os" { default = ["a"] }
variable "b" {
  type    = bool
  default = true
}
locals {
  known    = "x${var.v}"
  deferred = "${module.dep.result.n}${local.known}"
  twice    = "${local.deferred}${local.deferred}"
}
module "dep" { command = ["true"] }
`
	given := []language.VariableInput{{Name: "v", Text: "2"}, {Name: "s", Text: "2"}, {Name: "b", Text: "false"}}
	for what, tc := range map[string]struct {
		module string
		want   []string
	}{
		"nothing":                  {`command = ["true"]`, nil},
		"a value":                  {`command = ["echo", var.v]`, []string{"command"}},
		"two attributes":           {`script = "echo" ` + "\n" + ` env = { X = var.v } ` + "\n" + ` outputs = [var.v] ` + "\n" + ` working_dir = var.v`, []string{"env", "outputs", "working_dir"}},
		"inputs":                   {`command = ["true"] ` + "\n" + ` inputs = [var.v]`, []string{"inputs"}},
		"a condition":              {`command = ["true"] ` + "\n" + ` when = var.b`, []string{"when"}},
		"a sensitive value":        {`command = ["echo", var.s]`, []string{"var.s"}},
		"a deferred value":         {`command = ["echo", "${module.dep.result.n}${var.v}"]`, []string{"var.v"}},
		"all variables":            {`command = ["echo", "${module.dep.result.n}${jsonencode(var)}"]`, []string{"var.b", "var.s", "var.v"}},
		"a local":                  {`command = ["echo", "${module.dep.result.n}${local.known}"]`, []string{"local.known"}},
		"a deferred local":         {`command = ["echo", local.twice]`, []string{"local.known"}},
		"a deferred result":        {`command = ["echo", module.dep.result.n]`, nil},
		"a cache key":              {`command = ["true"] ` + "\n" + ` cache = true ` + "\n" + ` cache_key = [var.v]`, []string{"cache_key"}},
		"the run's id":             {`command = ["echo", run.id]`, []string{"command"}},
		"the run's id, deferred":   {`command = ["echo", "${module.dep.result.n}${run.id}"]`, []string{"run.id"}},
		"the run's number":         {`command = ["echo", "${run.number}"]`, []string{"run.number"}},
		"the run's tick":           {`command = ["echo", coalesce(run.tick, "none")]`, nil},
		"the submitter":            {`command = ["echo", run.submitter]`, []string{"command"}},
		"the submitter, deferred":  {`command = ["echo", "${module.dep.result.n}${run.submitter}"]`, []string{"run.submitter"}},
		"what is no work":          {`command = ["true"] ` + "\n" + ` timeout = "${var.v}m" ` + "\n" + ` description = var.v ` + "\n" + ` priority = var.v`, nil},
		"a name of an environment": {`command = ["true"] ` + "\n" + ` env = { X = "${module.dep.result.n}${var.v}" }`, []string{"var.v"}},
	} {
		src := body(variables + "module \"m\" {\n " + tc.module + "\n}")
		was := compile(t, src, language.Inputs{RunID: "r1", Submitter: "ann"})
		now := compile(t, src, language.Inputs{RunID: "r2", Submitter: "bob", Variables: given})
		if got := language.Changed(was, now, "m"); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", what, got, tc.want)
		}
		if got := language.Changed(was, now, "dep"); len(got) > 0 {
			t.Errorf("%s: dep: %v", what, got)
		}
	}
}

// A module that one of the pipelines does not have, and an expression that cannot be
// read, are changed.
func TestChanged_unreadable(t *testing.T) {
	p := compile(t, body(`module "m" { command = ["echo", run.id] }`), language.Inputs{RunID: "r1"})
	if got := language.Changed(&pipeline.Pipeline{}, p, "m"); !slices.Equal(got, []string{"module"}) {
		t.Errorf("a new module: %v", got)
	}
	broken := *p
	broken.Modules = slices.Clone(p.Modules)
	broken.Modules[0].Deferred = map[string]pipeline.DeferredExpr{"command": {Source: "[["}}
	if got := language.Changed(&broken, &broken, "m"); !slices.Equal(got, []string{"expression"}) {
		t.Errorf("unreadable: %v", got)
	}
}
