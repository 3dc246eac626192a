package language_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// Words of other tools are answered with what says the same here, and what is said is right.
func TestParse_foreignWords(t *testing.T) {
	const command = "command = [\"a\"]\n"
	for _, c := range []struct{ src, want string }{
		{moduleWith(command + "needs = [\"b\"]"), "depends_on = [module."},
		{moduleWith("run = \"make\""), "script = "},
		{moduleWith(command + "steps {\n}"), "one script"},
		{moduleWith(command + "artifacts {\n}"), "outputs = ["},
		{moduleWith(command + "runs-on = \"ubuntu-latest\""), "requires = {"},
		{moduleWith(command + "if = true"), "when = "},
		{moduleWith(command + "container = \"golang\""), "image = "},
		{moduleWith(command + "services = {}"), `service "NAME" {`},
		{moduleWith(command + "volumes = []"), "caches = ["},
		{moduleWith("call = \"x\""), "pipeline = "},
		{moduleWith(command + "image = \"a\"\nservice \"b\" {\n image = \"c\"\n ports = []\n}"), "all ports of a service, by its name"},
		{moduleWith(command + "image = \"a\"\nservice \"b\" {\n image = \"c\"\n healthcheck = \"d\"\n}"), "health = "},
		{body("notify \"a\" {\n script = \"b\"\n when = \"failure\"\n}"), "on = ["},
		{body("notify \"a\" {\n slack = \"https://x\"\n}"), "-format slack"},
		{body("notifications {\n}"), `notify "NAME" {`},
		{moduleWith(command + "cache {\n paths = [\"node_modules\"]\n}"), "caches = ["},
		{moduleWith("script = [\"make\", \"make test\"]"), "lines of one text; lines of text begin with <<-SH"},
		{moduleWith("script = \"echo ${{ github.sha }}\""), "${git.sha}"},
		{moduleWith("script = \"echo ${{ matrix.os }}\""), "${var.NAME}"},
		{moduleWith("script = \"echo ${{ secrets.TOKEN || 'x' }}\""), "${var.NAME}"},
		{moduleWith("script = <<-SH\n  echo ${{ github.sha }}\nSH\n"), "${git.sha}"},
		{moduleWith(command + "image: golang:1.26"), `image = "golang:1.26"`},
		{moduleWith(command + "image: var.image"), "write image = var.image"},
		{moduleWith(command + "cache: true"), "write cache = true"},
		{moduleWith(command + "timeout: 5m"), `write timeout = "5m"`},
		{moduleWith("script: make all"), `write script = "make all"`},
		{moduleWith(command + "allow_failure = true"), "ignore_failure = true"},
		{moduleWith(command + "timeout-minutes = 5"), `timeout = "10m"`},
		{moduleWith(command + "strategy {\n}"), "matrix = {"},
		{moduleWith(command + "uses = \"actions/checkout@v5\""), "use = template.NAME"},
		{moduleWith(command + "after_script = [\"a\"]"), "hooks {"},
		{moduleWith(command + "resource_group = \"a\""), "not_in_parallel = ["},
		{moduleWith(command + "name = \"x\""), `module "NAME"`},
		{moduleWith(command + "comand = [\"x\"]"), `did you mean "command"?`},
		{body("jobs {\n}"), `module "NAME"`},
		{body("stages = [\"build\", \"test\"]"), "depends_on = [module.NAME]"},
		{body("on = \"push\""), "schedule {"},
		{body("params {\n}"), `variable "NAME"`},
		{"job \"a\" {\n}", `module "NAME" { script = "…" } inside pipeline`},
		{moduleWith("command = [\"echo\", github.sha]"), "git.sha"},
		{moduleWith("command = [\"echo\", needs.build.outputs.x]"), "module.NAME.result.KEY"},
		{moduleWith("command = [\"echo\", \"${params.x}\"]"), "var.NAME"},
	} {
		_, diags := language.Parse("p.hcl", []byte(c.src))
		if text := diags.Error(); !strings.Contains(text, c.want) {
			t.Errorf("%s\n%s\nwant %q", c.src, text, c.want)
		}
	}
}

// compiled parses and compiles a source that has no mistakes.
func compiled(t *testing.T, src string) *pipeline.Pipeline {
	t.Helper()
	f, diags := language.Parse("p.hcl", []byte(src))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	p, diags := f.Compile(context.Background(), language.Inputs{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return p
}

// The env of a module with caches has a mark in the place of their directory; what has no
// caches does not get the pipeline's variables that name it.
func TestCompile_cacheDir(t *testing.T) {
	p := compiled(t, `pipeline "p" {
	env = { GOCACHE = "${cache.dir}/go", PLAIN = "1" }
	hooks {
		after = "true"
	}
	template "t" {
		caches = ["npm"]
		env    = { NPM = "${cache.dir}/npm" }
	}
	module "own" {
		command = ["a"]
		caches  = ["go"]
		env     = { DIR = cache.dir }
	}
	module "none" {
		command = ["a"]
	}
	module "shared" {
		use     = template.t
		command = ["a"]
		env     = { GOCACHE = "/elsewhere" }
	}
}`)
	got := map[string]map[string]string{}
	for i := range p.Modules {
		got[p.Modules[i].Name] = p.Modules[i].Env
	}
	want := map[string]map[string]string{
		"own":          {"GOCACHE": "${cache.dir}/go", "PLAIN": "1", "DIR": "${cache.dir}"},
		"none":         {"PLAIN": "1"},
		"shared":       {"GOCACHE": "/elsewhere", "PLAIN": "1", "NPM": "${cache.dir}/npm"},
		"hooks[after]": {"PLAIN": "1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestCompile_cacheDir_mistakes(t *testing.T) {
	for src, want := range map[string]string{
		"command = [\"a\", cache.dir]":                                               "command cannot name cache.dir",
		"script = \"ls ${cache.dir}\"":                                               "script cannot name cache.dir",
		"command = [\"a\"]\ncaches = [\"go\"]\nenv = { A = upper(cache.dir) }":       "env.A cannot name cache.dir",
		"command = [\"a\"]\ncaches = [\"go\"]\nenv = merge({ A = cache.dir }, {})":   "env cannot name cache.dir",
		"command = [\"a\"]\ncaches = [\"go\"]\nenv = { A = cache.go }":               `unknown name cache.go`,
		"command = [\"a\"]\ncaches = [\"go\"]\nenv = { A = \"x${cache.dir == 1}\" }": "env.A cannot name cache.dir",
		"command = [\"a\"]\nenv = { A = \"${cache.dir}/go\" }":                       `module "m" has no caches, and its env.A names cache.dir`,
	} {
		f, diags := language.Parse("p.hcl", []byte(moduleWith(src)))
		if len(diags) == 0 {
			_, diags = f.Compile(context.Background(), language.Inputs{})
		}
		if text := diags.Error(); !strings.Contains(text, want) {
			t.Errorf("%s\n%s\nwant %q", src, text, want)
		}
	}
}
