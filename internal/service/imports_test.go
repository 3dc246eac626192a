package service_test

import (
	"errors"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/pipeline"
)

// Any node compiles a source whose imports came along; it reads no file of its own.
func TestRuns_Submit_imports(t *testing.T) {
	r := newRig(t)
	in := source(`  imports = ["lib/go.hcl"]
  module "a" {
    use     = template.go
    command = ["echo", local.greeting]
  }`)
	_, err := r.runs.Submit(t.Context(), sam, "", in)
	wantError(t, "without the imports", err, pipeline.Invalid, `import "lib/go.hcl": the file did not come along with the source`)

	in.Imports = map[string]string{"lib/go.hcl": "template \"go\" {}\nlocals {\n greeting = var.who\n}"}
	_, err = r.runs.Submit(t.Context(), sam, "", in)
	var mistakes *api.SourceError
	if !errors.As(err, &mistakes) || len(mistakes.Diagnostics) != 1 || mistakes.Diagnostics[0].File != "lib/go.hcl" || mistakes.Diagnostics[0].Line != 3 {
		t.Errorf("a mistake in an import: %v", err)
	}

	in.Imports["lib/go.hcl"] += "\nvariable \"who\" { default = \"me\" }\nimports = [\"other.hcl\"]"
	in.Imports["lib/other.hcl"] = ""
	made, err := r.runs.Submit(t.Context(), sam, "key", in)
	if err != nil {
		t.Fatal(err)
	}
	if run := r.read(made.ID); len(run.Modules) != 1 || run.Variables["who"] != "me" {
		t.Errorf("got %+v", run)
	}

	// The same key with another import is another request.
	in.Imports["lib/other.hcl"] = "locals {}"
	_, err = r.runs.Submit(t.Context(), sam, "key", in)
	wantError(t, "another import", err, pipeline.Conflict, `idempotency key "key"`)
}
