package docs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// compile compiles a source as a submission would. Variables without a default
// get the text "x".
func compile(t *testing.T, name string, src []byte) *pipeline.Pipeline {
	t.Helper()
	f, diags := language.Parse(name, src)
	if f == nil || len(diags) > 0 {
		t.Errorf("%s: %v", name, diags)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in := language.Inputs{RunID: "example", RunNumber: 1, Evaluator: bounded.New(self)}
	for _, v := range f.Variables() {
		if v.Required {
			in.Variables = append(in.Variables, language.VariableInput{Name: v.Name, Text: "x"})
		}
	}
	p, diags := f.Compile(context.Background(), in)
	if p == nil || len(diags) > 0 {
		t.Errorf("%s: %v", name, diags)
	}
	return p
}

// TestExamples_compile wants every example to be right as it stands, with the
// files that it names.
func TestExamples_compile(t *testing.T) {
	var files []string
	for _, glob := range []string{"examples/*.hcl", "examples/*/*.hcl"} {
		m, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, m...)
	}
	for _, want := range []string{"hello.hcl", "selfbuild.hcl", "wordcount.hcl"} {
		if !slices.ContainsFunc(files, func(f string) bool { return filepath.Base(f) == want }) {
			t.Errorf("examples/%s is missing", want)
		}
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if p := compile(t, file, src); p != nil && len(p.Modules) < 2 {
			t.Errorf("%s has %d modules", file, len(p.Modules))
		}
	}
}

// TestPages_pipelinesCompile compiles what pages show of the language: whole
// pipelines as they are, modules and other parts inside of one.
func TestPages_pipelinesCompile(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		if b.info != "hcl" {
			continue
		}
		n++
		src := b.text
		if !strings.Contains(src, "pipeline \"") {
			src = "pipeline \"example\" {\n" + src + "\n}\n"
		}
		compile(t, b.page+" (block)", []byte(src))
	}
	if n == 0 {
		t.Error("no page shows a pipeline")
	}
}
