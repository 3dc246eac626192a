package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPlan_unmatchedInputs warns of inputs that match no file, without a cluster.
func TestPlan_unmatchedInputs(t *testing.T) {
	file := write(t, t.TempDir(), "p.hcl", `pipeline "p" {
  module "m" {
    command = ["true"]
    inputs  = ["p.hcl", "srcc/**"]
    cache   = true
  }
}
`)
	const want = `p.hcl:2: module "m": inputs[1]: "srcc/**" matches no file of the workspace`
	code, _, stderr := newCommand(t, nil).exec("plan", file)
	if code != exitOK || strings.Count(stderr, want) != 1 {
		t.Errorf("exit %d: %s", code, stderr)
	}

	code, stdout, stderr := newCommand(t, nil).exec("plan", "-json", file)
	var plan runPlan
	if err := json.Unmarshal([]byte(stdout), &plan); code != exitOK || err != nil || strings.Contains(stderr, "srcc") {
		t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	if len(plan.Warnings) != 1 || plan.Warnings[0].Line != 2 || !strings.Contains(plan.Warnings[0].Detail, "srcc") {
		t.Errorf("%+v", plan.Warnings)
	}
}

// TestPlan_images names what a worker needs for a container.
func TestPlan_images(t *testing.T) {
	file := write(t, t.TempDir(), "p.hcl", `pipeline "p" {
  module "m" {
    image   = "golang:1.26"
    command = ["true"]
    service "db" { image = "postgres:18" }
  }
}
`)
	code, stdout, stderr := newCommand(t, nil).exec("plan", file)
	if want := "needs a container engine for golang:1.26, postgres:18\n"; code != exitOK || !strings.Contains(stdout, want) {
		t.Errorf("exit %d, want %q: %s%s", code, want, stdout, stderr)
	}
}

// A module that runs a pipeline names it, with its modules.
func TestPlan_child(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "inner.hcl", "pipeline \"inner\" {\n  module \"x\" { command = [\"true\"] }\n  module \"y\" { command = [\"true\"] }\n}\n")
	file := write(t, dir, "p.hcl", "pipeline \"p\" {\n  module \"first\" { command = [\"true\"] }\n  module \"m\" {\n    pipeline   = \"inner.hcl\"\n    depends_on = [module.first]\n  }\n}\n")
	code, stdout, stderr := newCommand(t, nil).exec("plan", file)
	if code != exitOK || !strings.Contains(stdout, "  m: pipeline inner in inner.hcl, a run of its own\n      2 modules: x, y\n") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	for form, want := range map[string]string{"text": "m <- first (pipeline inner: x, y)\n", "dot": "\"m\" [label=\"m\\ninner\" peripheries=2]", "mermaid": "[\"m (inner)\"]", "svg": ">m (inner)<"} {
		if code, stdout, stderr := newCommand(t, nil).exec("graph", "-o", form, file); code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit %d: %s%s", form, code, stdout, stderr)
		}
	}
}
