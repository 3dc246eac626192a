package service_test

import (
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// parentOf submits a pipeline whose module a runs another one, with the head and the
// definition of its run.
func parentOf(t *testing.T, r *rig, own, inner string) (run pipeline.Run, def *pipeline.Pipeline) {
	t.Helper()
	in := source(own + "  module \"a\" {\n    pipeline  = \"lib/inner.hcl\"\n    variables = { word = \"hello\" }\n  }\n")
	in.Imports = map[string]string{"lib/inner.hcl": inner}
	made, err := r.runs.Submit(t.Context(), sam, "", in)
	if err != nil {
		t.Fatal(err)
	}
	err = r.state.View(func(v *fsm.View) (err error) {
		run, _ = v.Run(made.ID)
		def, err = v.Definition(made.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(def.Sources) > 0 || len(def.SealedSources) == 0 {
		t.Errorf("the state has the sources %v", def.Sources)
	}
	if def.Given.Source != "" || len(def.Given.Imports) > 0 || len(def.Given.Sealed) == 0 {
		t.Errorf("the state has what was given: %v", def.Given)
	}
	return run, def
}

const innerText = `pipeline "inner" {
  variable "word" {}
  variable "key" {
    default   = "the-key-itself"
    sensitive = true
  }
  concurrency { group = "g-${var.word}" }
  module "m" { command = ["echo", var.word] }
}`

// Who asks about a module learns why the run of its pipeline waits.
func TestChildren_waits(t *testing.T) {
	r := newRig(t)
	children := service.NewChildren(service.ChildrenConfig{State: r.state, Compiler: r.compiler, Vault: r.vault})
	first, err := r.runs.Submit(t.Context(), sam, "", source("  concurrency {\n    group = \"g-hello\"\n  }\n  module \"b\" {\n    command = [\"true\"]\n  }\n"))
	if err != nil {
		t.Fatal(err)
	}
	parent, def := parentOf(t, r, "", innerText)
	child, raw, err := children.Prepare(t.Context(), parent, def, def.Module("a"), nil)
	if err == nil {
		_, err = r.state.Propose(t.Context(), &fsm.Command{At: at, Spawn: &fsm.Spawn{Run: parent.ID, Module: "a", Number: 1, Child: child, Definition: raw}})
	}
	if err != nil {
		t.Fatal(err)
	}
	id := string(child.ID)
	wantFacts(t, "a child in a queue", why(r, parent.ID, "a"), "its pipeline inner is run 3 ("+id+"), which is waiting", "running: runs as run 3 ("+id+")",
		"run 3 waits for run "+string(first.ID)+`, which holds the concurrency group "g-hello"`)
}

// A child is what its file says, sealed as every definition, and parent and child are shown
// with each other.
func TestChildren_Prepare(t *testing.T) {
	r := newRig(t)
	children := service.NewChildren(service.ChildrenConfig{State: r.state, Compiler: r.compiler, Vault: r.vault})
	parent, def := parentOf(t, r, "", innerText)
	child, raw, err := children.Prepare(t.Context(), parent, def, def.Module("a"), nil)
	if err != nil || child.Pipeline != "inner" || child.Modules != 1 || child.Group != "g-hello" || child.ID == "" {
		t.Fatalf("%+v, %v", child, err)
	}
	made, err := r.state.Propose(t.Context(), &fsm.Command{At: at, Spawn: &fsm.Spawn{Run: parent.ID, Module: "a", Number: 1, Child: child, Definition: raw}})
	if err != nil {
		t.Fatal(err)
	}

	r.wantNowhere("the-key-itself")

	run := r.read(parent.ID)
	m := run.Modules[0]
	if c := m.Child(); m.Pipeline != "inner" || c == nil || c.Run != child.ID || c.State != pipeline.RunWaiting || m.State != pipeline.ModuleRunning || m.Reason != "runs as run 2 ("+string(child.ID)+")" {
		t.Errorf("module %+v", m)
	}
	inner := r.read(child.ID)
	if inner.Parent == nil || *inner.Parent != (pipeline.Parent{Run: parent.ID, Number: 1, Module: "a"}) || inner.Variables["word"] != "hello" || inner.Submitter != sam.Name {
		t.Errorf("child %+v", inner)
	}
	wantFacts(t, "a child", why(r, parent.ID, "a"), "its pipeline inner is run 2 ("+string(child.ID)+"), which is waiting", "running: "+m.Reason)

	// A group of the parents would be waited for in vain.
	_, _, err = children.Prepare(t.Context(), made.Run, def, def.Module("a"), nil)
	wantError(t, "a child in the group of its parent", err, pipeline.Invalid, `its concurrency group "g-hello" is that of run 2, which waits for it`)
	made.Run.Group, made.Run.Parent = "other", pipeline.Parent{Run: child.ID}
	_, _, err = children.Prepare(t.Context(), made.Run, def, def.Module("a"), nil)
	wantError(t, "a child in the group of a parent's parent", err, pipeline.Invalid, `is that of run 2`)
}
