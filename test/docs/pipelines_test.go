package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// compile compiles a source as a submission would. Variables without a default
// get the text "x".
func compile(t *testing.T, name string, src []byte, imports map[string]string) *pipeline.Pipeline {
	t.Helper()
	f, diags := language.ParseWith(name, src, language.Imported(imports))
	if f == nil || len(diags) > 0 {
		t.Errorf("%s: %v", name, diags)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in := language.Inputs{RunID: "example", RunNumber: 1, Evaluator: bounded.New(self).For("")}
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
	for _, want := range []string{"hello.hcl", "imports.hcl", "selfbuild.hcl", "wordcount.hcl"} {
		if !slices.ContainsFunc(files, func(f string) bool { return filepath.Base(f) == want }) {
			t.Errorf("examples/%s is missing", want)
		}
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		imports := map[string]string{}
		libs, err := filepath.Glob(filepath.Join(filepath.Dir(file), "lib/*.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, lib := range libs {
			text, err := os.ReadFile(lib)
			if err != nil {
				t.Fatal(err)
			}
			imports["lib/"+filepath.Base(lib)] = string(text)
		}
		if p := compile(t, file, src, imports); p != nil && len(p.Modules) < 2 {
			t.Errorf("%s has %d modules", file, len(p.Modules))
		}
	}
}

// importedInfo marks, before its name, a file that a block of the same page imports.
const importedInfo = "hcl imported "

// TestPages_pipelinesCompile compiles what pages show of the language: whole
// pipelines as they are, modules and other parts inside of one.
func TestPages_pipelinesCompile(t *testing.T) {
	n := 0
	all, imports := blocks(t), map[string]map[string]string{} // by page
	for _, b := range all {
		if name, ok := strings.CutPrefix(b.info, importedInfo); ok {
			if imports[b.page] == nil {
				imports[b.page] = map[string]string{}
			}
			imports[b.page][name] = b.text
		}
	}
	for _, b := range all {
		if b.info != "hcl" && !strings.HasPrefix(b.info, "hcl ") || strings.HasPrefix(b.info, importedInfo) {
			continue
		}
		n++
		compile(t, b.page+" (block)", b.pipeline(), imports[b.page])
	}
	if n == 0 {
		t.Error("no page shows a pipeline")
	}
}

// TestLanguage_examplesRun runs what the page of the language shows: each block
// that is marked `hcl` succeeds as it stands, in an empty directory. Those that need
// something first are marked `hcl check` and are compiled only.
func TestLanguage_examplesRun(t *testing.T) {
	env := append(environment(t), "PIPELINED_SECRET_DEPLOY_KEY=what the page's example asks for")
	n := 0
	for _, b := range blocks(t) {
		if b.info != "hcl" || b.page != "docs/language.md" {
			continue
		}
		n++
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), b.pipeline(), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		cmd := exec.CommandContext(ctx, filepath.Join(binary(t), "pipelined"), "run", "pipeline.hcl")
		cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, 10*time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.page, b.line, err, out)
		}
		cancel()
	}
	if n < 10 {
		t.Errorf("the page shows %d pipelines that run, want 10 at least", n)
	}
}
