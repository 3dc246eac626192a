package submission

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
	"github.com/pipelined/pipelined/storage/workspace"
)

// A file that was not read because it was remembered, and changes before a node
// asks for it, is sent as it is then.
func TestWorkspace_sendChanged(t *testing.T) {
	n, at := newBlobNode(t)
	dir := t.TempDir()
	writeMany(t, dir)
	elsewhere, spool := newSpool(t), newSpool(t)
	var warned []string
	w := &fileSet{root: dir, blobs: spool, rules: workspace.Options{Warn: func(s string) { warned = append(warned, s) }}}
	var err error
	if w.tree, err = workspace.Snapshot(t.Context(), dir, elsewhere, w.rules); err != nil {
		t.Fatal(err)
	}
	if w.digest, err = tree.Put(t.Context(), spool, w.tree); err != nil {
		t.Fatal(err)
	}
	was := w.digest
	writeFile(t, dir, "src/03/3", "TEXT 3")
	if err := os.Remove(filepath.Join(dir, "src/04/4")); err != nil {
		t.Fatal(err)
	}
	j := &Job{workspace: w, request: wire.SubmitRequest{Workspace: was}}
	if err := j.send(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if j.request.Workspace == was || len(warned) != 1 || !strings.Contains(warned[0], "src/03/3, src/04/4") {
		t.Errorf("warned %q", warned)
	}
	tree, err := tree.NewCache(n.blobs).Read(j.request.Workspace)
	if err != nil {
		t.Fatal(err)
	}
	if missing := n.blobs.Missing(tree.Digests()); len(missing) > 0 || len(tree) != fewFiles+9 {
		t.Errorf("%d files, of which %d did not go along", len(tree), len(missing))
	}
	if e := tree.Find("src/03/3"); e == nil || e.Digest != blob.DigestOf([]byte("TEXT 3")) {
		t.Errorf("the changed file went along as %+v", e)
	}
}

// TestWorkspace_send sends a workspace once.
func TestWorkspace_send(t *testing.T) {
	n, at := newBlobNode(t)

	dir := t.TempDir()
	writeFile(t, dir, "p.hcl", "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n")
	writeMany(t, dir)

	o := &Options{File: filepath.Join(dir, "p.hcl"), ReadFile: os.ReadFile, Warn: func(s string) { t.Error(s) }}
	j, err := o.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.TakeFiles(t.Context()); err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if err := j.send(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}

	sent := n.bundles
	tree, err := tree.NewCache(n.blobs).Read(j.request.Workspace)
	if err != nil || len(tree) != fewFiles+11 || len(n.blobs.Missing(tree.Digests())) > 0 {
		t.Errorf("%d files, %v", len(tree), err)
	}
	if err := j.send(t.Context(), at); err != nil || n.bundles != sent {
		t.Errorf("sent again: %d bundles, %v", n.bundles-sent, err)
	}
}

// TestOptions_invalid wants errors of kind Invalid that name what is wrong.
func TestOptions_invalid(t *testing.T) {
	dir := t.TempDir()
	good := writeFile(t, dir, "p.hcl", `pipeline "p" {
  variable "who" {}
  module "m" { command = ["echo", var.who] }
}
`)
	broken := writeFile(t, dir, "broken.hcl", "pipeline \"p\" {\n  modul \"m\" {}\n}\n")

	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"no file", Options{File: filepath.Join(dir, "none.hcl")}, "read pipeline: "},
		{"no value", Options{File: good}, "who"},
		{"bad -var", Options{File: good, Vars: []string{"who"}}, `-var "who": expected NAME=VALUE`},
		{"no -var-file", Options{File: good, VarFiles: []string{filepath.Join(dir, "none")}}, "-var-file: "},
		{"mistakes", Options{File: broken}, "modul"},
		{"unknown target", Options{File: good, Vars: []string{"who=x"}, Targets: []string{"x"}}, "x"},
	} {
		tc.o.ReadFile, tc.o.Warn = os.ReadFile, func(string) {}

		_, err := tc.o.Check(t.Context())
		var source *wire.SourceError
		if err == nil || pipeline.KindOf(err) != pipeline.Invalid && !errors.As(err, &source) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
}

// TestOptions_precedence wants flags over files over the environment, and only
// declared variables sent.
func TestOptions_precedence(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "p.hcl", `pipeline "p" {
  variable "who" {}
  env_from = ["KEEP_*"]
  module "m" { command = ["echo", var.who] }
}
`)
	values := writeFile(t, dir, "values", "who = \"file\"\n")
	environ := []string{"PIPELINED_VAR_who=env", "PIPELINED_VAR_other=x", "KEEP_A=1", "DROP=2"}

	for want, o := range map[string]Options{
		"env":  {},
		"file": {VarFiles: []string{values}},
		"flag": {VarFiles: []string{values}, Vars: []string{"who=flag"}},
	} {
		o.File, o.Environ, o.ReadFile, o.Warn = file, environ, os.ReadFile, func(string) {}

		j, err := o.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()

		if got := j.request.Variables; len(got) != 1 || got["who"] != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if got := j.request.Env; len(got) != 1 || got["KEEP_A"] != "1" {
			t.Errorf("got the environment %v", got)
		}
	}
}

// A value of the environment is for the variable of its name, else for the one that is
// this in capitals; one for none is named.
func TestOptions_environment(t *testing.T) {
	file := writeFile(t, t.TempDir(), "p.hcl", `pipeline "p" {
  variable "version" { default = "none" }
  variable "go-arch" { default = "none" }
  variable "Both" { default = "none" }
  variable "both" { default = "none" }
  module "m" { command = ["echo", var.version] }
}
`)
	for _, tc := range []struct {
		environ string
		flags   []string
		name    string
		want    string
		warned  string
	}{
		{environ: "VERSION=1", name: "version", want: "1"},
		{environ: "version=1", name: "version", want: "1"},
		{environ: "VERSION=1 version=2", name: "version", want: "2"},
		{environ: "VERSION=1", flags: []string{"version=3"}, name: "version", want: "3"},
		{environ: "GO_ARCH=arm64", name: "go-arch", want: "arm64"},
		{environ: "Both=1", name: "Both", want: "1"},
		{environ: "Both=1", name: "both"},
		{environ: "BOTH=1", name: "both", warned: "PIPELINED_VAR_BOTH: left out: it may be for Both or both: write the name as the pipeline does"},
		{environ: "VERSOIN=1", name: "version", warned: `PIPELINED_VAR_VERSOIN: the pipeline has no variable "VERSOIN": did you mean PIPELINED_VAR_version?`},
		{environ: "other=1", name: "version", warned: `PIPELINED_VAR_other: the pipeline has no variable "other": it declares version, go-arch, Both, both`},
	} {
		var warned []string
		o := &Options{File: file, Vars: tc.flags, ReadFile: os.ReadFile, Warn: func(s string) { warned = append(warned, s) }}
		for _, kv := range strings.Fields(tc.environ) {
			o.Environ = append(o.Environ, VariablePrefix+kv)
		}

		s, err := o.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.git(); err != nil {
			t.Fatal(err)
		}

		if got := s.variables()[tc.name]; got != tc.want || strings.Join(warned, "; ") != tc.warned {
			t.Errorf("%s: got %q, want %q; warned %q", tc.environ, got, tc.want, warned)
		}
	}
}

// What looks like a credential stays here unless env_from names it exactly; a warning
// names it, not its value.
func TestOptions_credentials(t *testing.T) {
	file := writeFile(t, t.TempDir(), "p.hcl", `pipeline "p" {
  env_from = ["CI_*", "NPM_TOKEN"]
  module "m" { command = ["true"] }
}
`)
	var warned []string
	o := &Options{File: file, ReadFile: os.ReadFile, Warn: func(s string) { warned = append(warned, s) },
		Environ: []string{"PATH=" + os.Getenv("PATH"), "CI_JOB=7", "CI_TOKEN=hidden-1", "CI_DB_PASSWORD=hidden-2", "NPM_TOKEN=hidden-3", "GH_TOKEN=hidden-4"}}

	j, err := o.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()

	if got := j.request.Env; len(got) != 2 || got["CI_JOB"] != "7" || got["NPM_TOKEN"] != "hidden-3" {
		t.Errorf("went along: %v", got)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "left out CI_DB_PASSWORD, CI_TOKEN:") || strings.Contains(warned[0], "hidden") {
		t.Errorf("warned %q", warned)
	}
}
