package scaffold_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/scaffold"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline/language"
)

func look(t *testing.T, files map[string]string) *scaffold.Project {
	t.Helper()
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, files)
	p, err := scaffold.Look(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Each kind of project, alone and together, has the modules that fit it.
func TestLook(t *testing.T) {
	const program = "package main\nfunc main() {}\n"
	for name, c := range map[string]struct {
		files   map[string]string
		modules string
		has     []string
		hasNot  string
	}{
		"nothing":           {map[string]string{"README": ""}, "hello", []string{"echo"}, "env ="},
		"go":                {map[string]string{"go.mod": "", "a.go": "package a"}, "vet test build", []string{`"go", "build", "./..."`, "GOMODCACHE"}, "outputs"},
		"program":           {map[string]string{"go.mod": "", "cmd/a/a.go": program, "web/go.mod": ""}, "vet test build", []string{`outputs = ["bin/*"]`}, "web"},
		"program of others": {map[string]string{"go.mod": "", "vendor/x/x.go": program, "tools/go.mod": "", "tools/t.go": program, "gen.go": "//go:build ignore\n\n" + program}, "vet test build", nil, "outputs"},
		"npm":               {map[string]string{"package.json": `{"scripts":{"test":"a","build":"b","start":"c"}}`, "package-lock.json": "{}"}, "test build", []string{"npm ci", "npm run test", "npm_config_cache"}, "start"},
		"no lock":           {map[string]string{"package.json": `{"scripts":{"test":"a"}}`}, "test", []string{`script = "npm run test"`}, "install"},
		"dependencies":      {map[string]string{"package.json": `{"scripts":{"test":"a"},"devDependencies":{"x":"1"}}`}, "test", []string{"npm install"}, "npm ci"},
		"pnpm":              {map[string]string{"package.json": `{"scripts":{"lint":"a"}}`, "pnpm-lock.yaml": ""}, "lint", []string{"pnpm run lint", `tools = ["pnpm"]`}, "npm ci"},
		"turbo":             {map[string]string{"package.json": `{"scripts":{"build":"turbo run build"},"workspaces":["a"]}`, "package-lock.json": "{}", "turbo.json": "{}", "a/package.json": `{"scripts":{"test":"x"}}`}, "test build", []string{"TURBO_CACHE_DIR", "TURBO_API", `["**/dist/**", "!**/node_modules/**"]`, "npm run test --workspaces --if-present"}, "working_dir"},
		"yarn":              {map[string]string{"package.json": `{"scripts":{"test":"a"}}`, "yarn.lock": ""}, "test", []string{"YARN_CACHE_FOLDER", "YARN_GLOBAL_FOLDER", "yarn run test", "YARN_NPM_REGISTRY_SERVER"}, "npm run"},
		"bun of before 1.2": {map[string]string{"package.json": `{"scripts":{"test":"a"}}`, "bun.lockb": ""}, "test", []string{"bun run test"}, "npm run"},
		"packages of pnpm":  {map[string]string{"package.json": `{"scripts":{"build":"a"}}`, "pnpm-lock.yaml": "", "pnpm-workspace.yaml": "", "p/a/package.json": `{"scripts":{"test":"x"}}`}, "build", []string{"pnpm run build", "pnpm_config_store_dir", "pnpm_config_registry", `["**/dist/**", "!**/node_modules/**"]`}, "working_dir"},
		"poetry":            {map[string]string{"pyproject.toml": "", "poetry.lock": ""}, "test", []string{"poetry install", "POETRY_VIRTUALENVS_IN_PROJECT"}, "venv/bin"},
		"no tests":          {map[string]string{"package.json": `{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}`}, "hello", nil, "npm"},
		"not JSON":          {map[string]string{"package.json": `{`}, "hello", nil, "npm"},
		"pip":               {map[string]string{"pyproject.toml": "[project]\n[project.optional-dependencies]\ndev = [\"x\"]\n", "tests/test_a.py": ""}, "test", []string{"pip install --quiet '.[dev]'", "python -m pytest", "PIP_CACHE_DIR"}, "compileall"},
		"uv":                {map[string]string{"pyproject.toml": "", "uv.lock": ""}, "test", []string{"uv sync --frozen", "UV_CACHE_DIR"}, "venv/bin"},
		"rust":              {map[string]string{"Cargo.toml": "", "Cargo.lock": ""}, "test build", []string{`"cargo", "test", "--locked"`, "CARGO_HOME"}, ""},
		"make":              {map[string]string{"Makefile": "X := 1\nall: build\nbuild: a b\n\tx\ntest:\n.PHONY: test\n"}, "test build", []string{`["make", "test"]`}, `"all"`},
		"default goal":      {map[string]string{"makefile": "thing:\n"}, "make", []string{`command  = ["make"]`}[:0], "thing"},
		"monorepo": {map[string]string{"api/go.mod": "", "web/package.json": `{"scripts":{"test":"a"}}`, "lib/rs/Cargo.toml": "", "a/b/c/d/go.mod": "", "web/node_modules/x/package.json": `{"scripts":{"test":"a"}}`},
			"api-vet api-test api-build web-test lib-rs-test lib-rs-build", []string{`working_dir = "lib/rs"`}, "node_modules/x"},
		"several": {map[string]string{"go.mod": "", "package.json": `{"scripts":{"test":"a"}}`, "Makefile": "test:\n", "Dockerfile": "", ".github/workflows/ci.yml": ""},
			"go-vet go-test go-build node-test image", []string{`variable "image"`, "when = var.image", "depends_on = [module.go-vet, "}, `["make"`},
		"digits":     {map[string]string{"1-intro/go.mod": "", "Dockerfile": ""}, "1-intro-vet 1-intro-test 1-intro-build image", []string{`depends_on = [module["1-intro-vet"], `}, ""},
		"same names": {map[string]string{"a/b/go.mod": "", "a-b/go.mod": ""}, "a-b-vet a-b-test a-b-build a-b-vet-2 a-b-test-2 a-b-build-2", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := look(t, c.files)
			text := p.Pipeline()
			names := p.ModuleNames()
			want := strings.Fields(c.modules)
			if name == "same names" {
				slices.Sort(names)
				slices.Sort(want)
			}
			if !slices.Equal(names, want) {
				t.Errorf("modules %q, want %q\n%s", names, want, text)
			}
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("want %q in\n%s", want, text)
				}
			}
			if c.hasNot != "" && strings.Contains(text, c.hasNot) {
				t.Errorf("%q is in\n%s", c.hasNot, text)
			}
			if _, diags := language.Parse("pipeline.hcl", []byte(text)); diags != nil {
				t.Errorf("it is wrong: %v\n%s", diags, text)
			}
			if len(p.Found) == 0 {
				t.Error("does not say what was found")
			}
		})
	}
}

func TestLook_many(t *testing.T) {
	files := map[string]string{}
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		files[string(c)+"/Cargo.toml"] = ""
	}
	if p := look(t, files); len(p.ModuleNames()) != 40 || !strings.Contains(strings.Join(p.Notes, ";"), "more projects") {
		t.Errorf("%d modules, %q", len(p.ModuleNames()), p.Notes)
	}
}

func TestLook_found(t *testing.T) {
	p := look(t, map[string]string{"GNUmakefile": "test:\n", "package.json": `{"scripts": [1]}`})
	if got := strings.Join(p.Found, "; "); got != "GNUmakefile: test" {
		t.Errorf("found %s", got)
	}
	if got := strings.Join(p.Notes, "; "); got != "package.json is not what npm reads, and was not used" {
		t.Errorf("notes %s", got)
	}
}

// A directory may be reached by a link.
func TestLook_link(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"real/in/go.mod": ""})
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	p, err := scaffold.Look(filepath.Join(dir, "link"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.ModuleNames(), " "); got != "in-vet in-test in-build" || p.Name != "link" {
		t.Errorf("got %s of %s", got, p.Name)
	}
}

func TestLook_nowhere(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"file": ""})
	for _, name := range []string{"none", "file"} {
		if _, err := scaffold.Look(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
