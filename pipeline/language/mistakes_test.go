package language_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline/language"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// Every file in testdata/mistakes has its expected messages beside it.
func TestParse_mistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}

	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}

			f, diags := language.Parse(filepath.Base(file), src)
			if len(diags) == 0 {
				_, diags = f.Compile(context.Background(), language.Inputs{})
			}

			if len(diags) == 0 {
				t.Fatal("no mistakes")
			}

			got := diags.Error() + "\n"
			golden := strings.TrimSuffix(file, ".hcl") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}

			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}

			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// One mistake each: its message and its position.
func TestParse_oneMistake(t *testing.T) {
	type row struct{ src, want string }
	rows := []row{
		{"", `1:1 the file has no pipeline | write pipeline "NAME" { … }`},
		{"a = 1\npipeline \"p\" {\nmodule \"m\" {\n command=[\"a\"]\n}\n}", `1:1 attribute "a" outside the pipeline | everything stands inside a block: pipeline "NAME" { … }`},
		{"pipelin \"p\" {\n}", `1:1 block "pipelin" outside the pipeline | did you mean "pipeline"?; 1:1 the file has no pipeline | write pipeline "NAME" { … }`},
		{"pipeline {\nmodule \"m\" {\n command=[\"a\"]\n}\n}", `1:1 pipeline without a name | write pipeline "NAME" { … }`},
		{"pipeline \"a b\" {\nmodule \"m\" {\n command=[\"a\"]\n}\n}", `1:10 pipeline: invalid name "a b" | a name has letters, digits, _ and -, begins with no -, and has at most 63 of them`},
		{"pipeline \"a\" \"b\" {\nmodule \"m\" {\n command=[\"a\"]\n}\n}", `1:14 pipeline with more than one name | write pipeline "NAME" { … }`},
		{body(""), `1:1 the pipeline has no module | write module "NAME" { command = […] }`},
		{body("module \"m\" {\n command=[\"a\"]\n}") + body("module \"m\" {\n command=[\"a\"]\n}"), `6:1 second pipeline in the file | a file holds exactly one; the first is at p.hcl:1:1`},
		{moduleWith(``), `2:1 module "m" has neither command nor script | write command = ["program", "argument"] or script = "…"`},
		{moduleWith("command = [\"a\"]\nscript = \"a\""), `4:1 module "m" has both command and script | keep one of them: command is a list and runs without a shell, script is run by sh`},
		{moduleWith(`comand = ["a"]`), `2:1 module "m" has neither command nor script | write command = ["program", "argument"] or script = "…"; 3:1 unknown attribute "comand" in module | did you mean "command"?`},
		{moduleWith("command = []"), `3:11 command is empty | write command = ["program", "argument"]`},
		{moduleWith("command = \"go build\""), `3:11 command: expected a list, got a string | write ["go", "build"]`},
		{moduleWith("command = \"go build | tee x\""), `3:11 command: expected a list, got a string | there is no shell: write each argument as an element of its own, or use script`},
		{body("module \"a\" {\n for_each = 5\n command = [\"a\"]\n comand = 1\n}\nmodule \"b\" {\n matrix = { x = \"y\" }\n command = [\"a\"]\n}\nmodule \"c\" {\n matrix = [\"y\"]\n command = [\"a\"]\n}"),
			`3:13 for_each: expected a list or an object, got a number | write for_each = ["a", "b"] or for_each = { NAME = value }; 5:2 unknown attribute "comand" in module | did you mean "command"?; 8:11 matrix.x: expected a list, got a string | write ["y"]; 12:11 matrix: expected an object of lists, got a list | write matrix = { NAME = [ … ] }`},
		{moduleWith("secrets = [\"KEY\"]\nscript = \"echo ${secret.KEY}\""), `4:18 unknown variable "secret" | expressions see no secrets: write secrets = ["KEY"] in the module; its script reads $KEY`},
		{moduleWith("command = [\"a\", secrets.KEY]"), `3:17 unknown variable "secrets" | expressions see no secrets: write secrets = ["KEY"] in the module; its script reads $KEY`},
		{moduleWith("command = [\"a\", env.HOME]"), `3:17 unknown variable "env" | expressions see no environment: a script reads $HOME; env_from = ["HOME"] takes it from where the run is submitted`},
		{moduleWith("command = [\"a\"]\nwhen = \"run.submitter == 1\""), `4:8 when: expected true or false, got a string | write it without quotes: when = run.submitter == 1`},
		{moduleWith("command = [\"a\"]\nwhen = \"${run.submitter} == 1\""), `4:8 when: expected true or false, got a string | write the condition without quotes: when = var.NAME == "value"`},
		{moduleWith("command = [\"a\"]\nwhen = \"yes\""), `4:8 when: expected true or false, got a string | write the condition without quotes: when = var.NAME == "value"`},
		{moduleWith("command = [\"a\", null]"), `3:17 command[1]: value is null | leave the attribute out, or give a value`},
		{moduleWith("command = [\"a\", [\"b\"]]"), `3:17 command[1]: expected a string, got a list`},
		{moduleWith("command = [\"\"]"), `3:12 command[0]: empty text | the first element is the program`},
		{moduleWith("command = [\"a\", \"\\u0000\"]"), `3:17 command[1]: NUL character in the value | no argument, script or variable of a process can hold one`},
		{moduleWith("command = [go, \"build\"]"), `3:12 unknown variable "go" | text goes in quotes; expressions see var, local, run, git, pipeline, module, matrix, each, cache`},
		{moduleWith("command = [\"echo\", \"${HOME}\"]"), `3:23 unknown variable "HOME" | a shell's ${…} must be written $${…} in HCL (and %{ as %%{)`},
		{moduleWith("script = \"echo ${HOME}\""), `3:18 unknown variable "HOME" | a shell's ${…} must be written $${…} in HCL (and %{ as %%{)`},
		{moduleWith("script = \"\""), `3:10 script: empty text | write script = "…", or command = […]`},
		{moduleWith("command=[\"a\"]\ntimeout = \"10\""), `4:11 timeout: duration "10" has no unit | did you mean "10s"? write a number and a unit, such as "90s", "10m" or "1h30m"`},
		{moduleWith("command=[\"a\"]\ntimeout = 10"), `4:11 timeout: duration "10" has no unit | did you mean "10s"? write a number and a unit, such as "90s", "10m" or "1h30m"`},
		{moduleWith("command=[\"a\"]\ntimeout = \"-5s\""), `4:11 timeout: negative duration "-5s" | write a number and a unit, such as "90s", "10m" or "1h30m"; "0" is no timeout`},
		{moduleWith("command=[\"a\"]\ntimeout = \"9999999h\""), `4:11 timeout: invalid duration "9999999h" | write a number and a unit, such as "90s", "10m" or "1h30m"`},
		{moduleWith("command=[\"a\"]\ntimeout = \"8761h\""), `4:11 timeout: duration "8761h" is too long | the most is "8760h", a year; "0" is no timeout`},
		{moduleWith("command=[\"a\"]\ngrace = \"0\""), `4:9 grace: duration "0" is none | write a duration above zero, such as "1s"`},
		{moduleWith("command=[\"a\"]\ninputs = [\"../a\"]"), `4:11 inputs[0]: path "../a" leaves the directory | write a path inside the directory, relative to it, such as "dir/file"`},
		{moduleWith("command=[\"a\"]\ninputs = [\"a\", \"/a\"]"), `4:16 inputs[1]: absolute path "/a" | write a path inside the directory, relative to it, such as "dir/file"`},
		{moduleWith("command=[\"a\"]\noutputs = [\"a\\\\b\"]"), `4:12 outputs[0]: backslash in path "a\\b" | directories are separated by /`},
		{moduleWith("command=[\"a\"]\noutputs = [\"~/a\"]"), `4:12 outputs[0]: path "~/a" begins with ~ | a path is relative to the directory, and ~ has no meaning in it; write ./~ for a file of that name`},
		{moduleWith("command=[\"a\"]\noutputs = [\"[a\"]"), `4:12 outputs[0]: invalid pattern "[a" | *, **, ?, [a-z] and {a,b} are what a pattern may have, and each bracket needs its end`},
		{moduleWith("command=[\"a\"]\noutputs = [\"!a\"]"), `4:12 outputs: pattern "!a" begins with ! and is the first: it takes away what those before it match | name before it what is wanted: ["**", "!a"]; a file whose name begins with ! is "./!a"`},
		{moduleWith("command=[\"a\"]\ninputs = [\"!a\", \"b\"]"), `4:11 inputs: pattern "!a" begins with ! and is the first: it takes away what those before it match | name before it what is wanted: ["**", "!a"]; a file whose name begins with ! is "./!a"`},
		{moduleWith("command=[\"a\"]\noutputs_optional = [\"!a\", \"!b\"]"), `4:21 outputs_optional: all patterns begin with !, and there is nothing that they could take away from | name before it what is wanted: ["**", "!a"]`},
		{moduleWith("command=[\"a\"]\noutputs = [\"a\", \"!\"]"), `4:17 outputs[1]: pattern "!" matches nothing | write what it takes away behind the !, such as "!**/*.tmp"`},
		{moduleWith("command=[\"a\"]\noutputs = [\"a\", \"!/b\"]"), `4:17 outputs[1]: absolute path "/b" | write a path inside the directory, relative to it, such as "dir/file"`},
		{moduleWith("command=[\"a\"]\noutputs = [\"a\", \"!../c\"]"), `4:17 outputs[1]: path "../c" leaves the directory | write a path inside the directory, relative to it, such as "dir/file"`},
		{body("workspace {\n include = [\"a\"]\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:2 unknown attribute "include" in workspace | to send only some files, write exclude = ["**", "!path/**"]`},
		{moduleWith("command=[\"a\"]\noutputs = \"a\""), `4:11 outputs: expected a list, got a string | write ["a"]`},
		{moduleWith("command=[\"a\"]\nworking_dir = \"a/../../b\""), `4:15 working_dir: path "a/../../b" leaves the directory | write a path inside the directory, relative to it, such as "dir/file"`},
		{moduleWith("command=[\"a\"]\nlayout = \"by_module\""), `4:10 layout: invalid value "by_module" | did you mean "by-module"?`},
		{moduleWith("command=[\"a\"]\ncaches = [\"a/b\"]"), `4:11 caches[0]: invalid name "a/b" | a name has letters, digits, _ and -, begins with no -, and has at most 63 of them`},
		{moduleWith("command=[\"a\"]\nenv = { PIPELINED_X = 1 }"), `4:9 env: reserved name of an environment variable "PIPELINED_X" | names that begin with PIPELINED_ are set by the worker`},
		{moduleWith("command=[\"a\"]\nenv = { \"A=B\" = 1 }"), `4:9 env: invalid name of an environment variable "A=B" | it holds no =, no space and no control character`},
		{moduleWith("command=[\"a\"]\nenv = { \"1A\" = 1 }"), `4:9 env: invalid name of an environment variable "1A" | it begins with a letter or _`},
		{moduleWith("command=[\"a\"]\nenv = { PIPELINED_X = null }"), `4:9 env: reserved name of an environment variable "PIPELINED_X" | names that begin with PIPELINED_ are set by the worker`},
		{moduleWith("command=[\"a\"]\nenv = null"), `4:7 env: expected an object, got null | write env = { NAME = value }`},
		{moduleWith("command=[\"a\"]\ntimeout = \"1s\"\ntimeout = \"2s\""), `5:1 second attribute "timeout" | the first is at p.hcl:4; keep one of them`},
		{moduleWith("command=[\"a\"]\nenv = { A = 1, A = 2 }"), `4:16 second "A" in env | the first is at p.hcl:4:9`},
		{moduleWith("command=[\"a\"]\nenv {\n A = 1\n}"), `4:1 env is an attribute, not a block | write env = { … }`},
		{moduleWith("command=[\"a\"]\nretry = { attempts = 3 }"), `4:1 retry is a block | write retry { attempts = … } without =`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts = 0\n}"), `5:13 attempts: number out of range | write a whole number from 1 to 1000`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts = 2.5\n}"), `5:13 attempts: number out of range | write a whole number from 1 to 1000`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts = \"two\"\n}"), `5:13 attempts: expected a number, got a string | write a whole number from 1 to 1000`},
		{moduleWith("command=[\"a\"]\nretry {\n backoff = \"1s\"\n}"), `4:1 retry without attempts | write how many tries there are in all: attempts = 3`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts = 2\n backoff = \"1h\"\n max_backoff=\"1m\"\n}"), `4:1 max_backoff 1m0s is below backoff 1h0m0s | backoff 1h0m0s grows up to max_backoff`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts = 2\n exit_codes=[0,300]\n}"), `6:14 exit_codes[0]: number out of range | write a whole number from 1 to 255; 6:16 exit_codes[1]: number out of range | write a whole number from 1 to 255`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts=1\n}\nretry {\n attempts=1\n}"), `7:1 second retry block | the first is at p.hcl:4:1`},
		{moduleWith("command=[\"a\"]\nretry {\n attempts=1\n delay=1\n}"), `6:2 unknown attribute "delay" in retry | retry has attempts, backoff, exit_codes, max_backoff`},
		{moduleWith("command=[\"a\"]\nrequires = { os = \"\" }"), `4:19 requires.os: invalid word "" | it has from 1 to 128 characters, and no space or comma`},
		{moduleWith("command=[\"a\"]\nrequires = { tool = [\"go\"] }"), `4:14 unknown attribute "tool" in requires | did you mean "tools"?`},
		{moduleWith("command=[\"a\"]\nrequires = \"linux\""), `4:12 requires is an object that is written out | write requires = { os = "linux", tools = ["go"] }`},
		{moduleWith("command=[\"a\"]\ndepends_on = [b]"), `4:15 depends_on[…]: "b" is no module | write module.b`},
		{moduleWith("command=[\"a\"]\ndepends_on = module.b"), `4:14 depends_on is a list of modules that is written out | write depends_on = [module.NAME, …]`},
		{moduleWith("command=[\"a\"]\ndepends_on = [module.b.status]"), `4:15 depends_on names modules, not what they leave | write module.b`},
		{moduleWith("command=[\"a\"]\ndepends_on = [module.1-a, module.2]"), `4:15 depends_on names modules only, written out | a name that begins with a digit is written module["1-build"]; 4:27 depends_on names modules only | a name that begins with a digit is written module["1-build"]`},
		{moduleWith("command=[\"a\"]\ndepends_on = [\"n\"]"), `4:15 unknown module "n" | the pipeline has: m`},
		{moduleWith("command=[\"a\"]\n}\nmodule \"n\" {\ncommand=[\"a\"]\ndepends_on = [module.m[\"k\"]]"), `7:15 module "m" has neither matrix nor for_each, and so no instance "k" | write module.m`},
		{moduleWith("command=[\"a\"]\nmatrix={a=[1]}\n}\nmodule \"n\" {\ncommand=[\"a\"]\ndepends_on = [\"m[2]\"]"), `8:15 module "m" has no instance "2" | did you mean "m[1]"?`},
		{moduleWith("command=[\"a\"]\nmatrix={a=[1]}\ndepends_on = [module.m[1]]"), `5:15 module "m" depends on itself`},
		{moduleWith("command=[\"a\"]\ndepends_on = [module.m]"), `4:15 module "m" depends on itself`},
		{moduleWith("command=[module.m.status]"), `3:10 module "m" depends on itself`},
		{moduleWith("command=[module.x.status]"), `3:10 unknown module "x" | the pipeline has: m`},
		{moduleWith("command=[var.x]"), `3:10 unknown variable "x" | declare it: variable "x" { type = string }`},
		{moduleWith("command=[local.x]"), `3:10 unknown local "x" | declare it: locals { x = … }`},
		{moduleWith("command=[git.shaa]"), `3:10 unknown name git.shaa | did you mean "sha"?`},
		{moduleWith("command=[run.x]"), `3:10 unknown name run.x | run has id, number, submitter, tick`},
		{moduleWith("command=[module]"), `3:10 module needs the name of one | write module.NAME, or module["NAME"]`},
		{moduleWith("command=[matrix.os]"), `3:10 module "m" has no matrix | write matrix = { NAME = [ … ] }`},
		{moduleWith("command=[uper(\"a\")]"), `3:10 unknown function "uper" | did you mean "upper"?`},
		{moduleWith("command=[upper()]"), `3:10 function upper does not take 0 arguments | write upper(str)`},
		{moduleWith("command=[lookup(1)]"), `3:10 function lookup does not take 1 arguments | write lookup(map, key, default…)`},
		{moduleWith("command=[uuid()]"), `3:10 there is no function "uuid" | an expression has the same value whenever it is evaluated: use run.id, or let the module make it`},
		{moduleWith("command=[file(\"a\")]"), `3:10 there is no function "file" | expressions read no files and no environment: let the module read it, or pass it as a variable`},
		{moduleWith("command=[\"a\"]\ntimeout = run.id"), `4:11 timeout must be known at submission and cannot name run.id | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{moduleWith("command=[\"a\"]\nwhen = 1"), `4:8 when: expected true or false, got a number | write true or false`},
		{moduleWith("command=[\"a\"]\nmatrix = { os = [\"x\", \"x\"] }"), `4:10 matrix gives two instances the key "x" | each instance has a name of its own`},
		{moduleWith("command=[matrix.arch]\nmatrix = { os = [\"x\"] }"), `3:10 unknown name matrix.arch | the matrix has os`},
		{moduleWith("command=[each.key]"), `3:10 module "m" has no for_each | write for_each = [ … ]`},
		{moduleWith("command=[\"a\"]\nfor_each = 3"), `4:12 for_each: expected a list or an object, got a number | write for_each = ["a", "b"] or for_each = { NAME = value }`},
		{moduleWith("command=[\"a\"]\nfor_each = [1]\nmatrix = { a = [1] }"), `5:1 module "m" has both matrix and for_each | keep one of them`},
		{moduleWith("command=[\"a\"]\nnot_in_parallel = [\"k\"]\non_disconnect = \"keep\""), `5:1 on_disconnect = "keep" cannot stand beside not_in_parallel | leave it out: a module with not_in_parallel is stopped where its worker has lost the cluster`},
		{moduleWith("command=[\"a\"]\non_lost = \"again\""), `4:11 on_lost: invalid value "again" | write "rerun" or "fail"`},
		{moduleWith("command=[\"a\"]\nuse = template.x"), `4:7 unknown template "x" | declare it: template "x" { … }`},
		{moduleWith("command=[\"a\"]\nenv_from = [\"*\"]"), `4:13 env_from[0]: pattern "*" takes every variable | name what is wanted, such as "GITHUB_*"`},
		{moduleWith("command=[\"a\"]\noptional_depends_on = [module.x]"), `4:24 unknown module "x" | the pipeline has: m`},
		{body("locals {\n a = each.key\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:6 local.a is the same for all modules: matrix and each are of one | use them in the modules themselves`},
		{body("requirement \"x\" {\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:1 requirement "x" has no command | write command = ["program", "argument"]`},
		{body("template \"t\" {\n comand = 1\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:2 unknown attribute "comand" in template | did you mean "command"?`},
		{moduleWith("command=[\"a\"]\non_failure = \"continue\""), `4:1 unknown attribute "on_failure" in module | in the pipeline, on_failure = "continue" runs what does not depend on a failure; here, ignore_failure = true does not count this module's, and hooks { on_failure = SCRIPT } runs a script after it`},
		{moduleWith("command=[\"a\"]\nworkspace = \"a\""), `4:1 unknown attribute "workspace" in module | write it in the pipeline, outside of its modules`},
		{moduleWith("command=[\"a\"]\nmax_parallel = 2"), `4:1 max_parallel bounds the instances of a module, and module "m" has neither matrix nor for_each | give it a matrix or for_each, or bound all modules of the run with max_parallel of the pipeline`},
		{moduleWith("command=[\"a\"]\nvariable \"x\" {\n}"), `4:1 unknown block "variable" in module | write it in the pipeline, outside of its modules`},
		{moduleWith("command=[\"a\"]\nmemory = \"1GiB\""), `4:1 unknown attribute "memory" in module | write resources = { memory = … }`},
		{moduleWith("command=[\"a\"]\nbefore = \"x\""), `4:1 unknown attribute "before" in module | write hooks { before = … }`},
		{moduleWith("command=[\"a\"]\nexclude = [\"x\"]"), `4:1 unknown attribute "exclude" in module | write workspace { exclude = … } in the pipeline`},
		{moduleWith("command=[\"a\"]\nnothing = 1"), `4:1 unknown attribute "nothing" in module | pipelined schema module lists what module has`},
		{body("outputs = [\"x\"]\nretry {\n attempts = 1\n}\nvalidation {\n}\nbackoff = 1\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:1 unknown attribute "outputs" in pipeline | write it in the modules that need it; ` +
			`3:1 unknown block "retry" in pipeline | write it in the modules that need it; 6:1 unknown block "validation" in pipeline | write it in variable "NAME" { … }; 8:1 unknown attribute "backoff" in pipeline | write retry { backoff = … } in a module`},
		{moduleWith("command=[\"a\"]\ncache = [\"go\"]"), `4:9 cache: expected true or false, got a list | cache = true takes the recorded result of the same work; caches = ["go"] keeps directories between runs, below $PIPELINED_CACHE`},
		{moduleWith("command=[\"a\"]\ncaches = true"), `4:10 caches: expected a list, got true or false | cache = true takes the recorded result of the same work; caches = ["go"] keeps directories between runs, below $PIPELINED_CACHE`},
		{moduleWith("command=[\"a\"]\nnot_in_parallel = true"), `4:19 not_in_parallel: expected a list, got true or false | write a list: [ … ]`},
		{moduleWith("command=[\"a\"]\nwhen = \"always\""), `4:8 when: expected true or false, got a string | write always_run = true for a module that runs whatever became of those that it depends on`},
		{moduleWith("command=[\"a\", \"b\" + \"c\"]"), `3:15 invalid operand | Unsuitable value for left operand: a number is required. | texts are joined in one: "${a}${b}"; 3:21 invalid operand | Unsuitable value for right operand: a number is required. | texts are joined in one: "${a}${b}"`},
		{moduleWith("command=[\"a\"]\nhooks = 1"), `4:1 hooks is a block | write hooks { after = … } without =`},
		{moduleWith("command=[\"a\"]\nhooks {\n afer = \"x\"\n}"), `5:2 unknown attribute "afer" in hooks | did you mean "after"?`},
		{moduleWith("command=[\"a\"]\nhooks {\n after = \"\"\n}"), `5:10 hooks.after: empty text | write a script, or leave the attribute out`},
		{moduleWith("command=[\"a\"]\nresources = 2"), `4:13 resources is an object that is written out | write resources = { cpu = 2, memory = "1GiB" }`},
		{moduleWith("command=[\"a\"]\nresources = { cpus = 2 }"), `4:15 unknown attribute "cpus" in resources | did you mean "cpu"?`},
		{moduleWith("command=[\"a\"]\nresources = { cpu = 0 }"), `4:21 resources.cpu: number of processors out of range | write a number from 0.001 to 100000`},
		{moduleWith("command=[\"a\"]\nresources = { cpu = \"two\" }"), `4:21 resources.cpu: invalid number of processors "two" | write how many processors, such as 2 or 0.5`},
		{moduleWith("command=[\"a\"]\nresources = { memory = 1024 }"), `4:24 resources.memory: size "1024" has no unit | write a number and a unit, such as "512MiB" or "2GiB"`},
		{moduleWith("command=[\"a\"]\nresources = { memory = \"much\" }"), `4:24 resources.memory: invalid size "much" | write a number and a unit, such as "512MiB" or "2GiB"`},
		{body("hooks {\n}\nhooks {\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `4:1 second hooks block | the first is at p.hcl:2:1`},
		{body("hooks {\n after = \"true\"\n}\nmodule \"hooks\" {\n command=[\"a\"]\n}"), `1:10 a module cannot be named hooks beside the pipeline's hooks block | name the module differently`},
		{body("secrets = [\"A\"]\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:1 secrets are given to modules, not to a whole pipeline | write secrets = ["NAME"] in the modules that need them, or in a template that they use`},
		{moduleWith("command=[\"a\"]\nsecrets = [\"A-B\"]"), `4:12 secrets[0]: invalid name of a secret "A-B" | a name has letters, digits and _, begins with no digit, and is not one that the worker sets`},
		{moduleWith("command=[\"a\"]\nsecrets = [\"PATH\"]"), `4:12 secrets[0]: reserved name of a secret "PATH" | a name has letters, digits and _, begins with no digit, and is not one that the worker sets`},
		{moduleWith("command=[\"a\"]\nsecrets = \"KEY\""), `4:11 secrets: expected a list, got a string | write ["KEY"]`},
		{sensitive("module \"m\" {\n command=[\"a\"]\n outputs=[local.l]\n}"), `12:10 outputs cannot name local.l, which holds a sensitive variable | its value is stored and shown: give it in env to the modules that need it`},
		{sensitive("module \"m\" {\n command=[\"a\"]\n matrix={ a = [var.s] }\n}"), `12:9 matrix cannot name var.s, which is sensitive | its value is stored and shown: give it in env to the modules that need it`},
		{sensitive("module \"m\" {\n command=[\"a\"]\n for_each=[var.s]\n}"), `12:11 for_each cannot name var.s, which is sensitive | its value is stored and shown: give it in env to the modules that need it`},
		{sensitive("module \"m\" {\n command=[var.s, []]\n}"), `11:18 command[1]: expected a string, got a list`},
		{body("on_failure = \"go on\"\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:14 on_failure: invalid value "go on" | write "stop" or "cancel" or "continue"`},
		{body("max_parallel = 0\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:16 max_parallel: number out of range | write a whole number from 1 to 1000000`},
		{body("schedule {\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:1 schedule without cron | write cron = "0 3 * * *"`},
		{body("modul \"m\" {\n command=[\"a\"]\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:1 unknown block "modul" in pipeline | did you mean "module"?`},
		{body("workspace {\n root = \"/a\"\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:9 root: absolute path "/a" | root is relative to the pipeline's file: ".", "dir", or ".." and "../.." for directories above`},
		{body("variable \"v\" {\n}\nworkspace {\n root = var.v\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `5:9 workspace.root is read before variables have values and can name none | write the value itself`},
		{body("env = { A = module.m.status }\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:13 env.A of the pipeline is for every module and can name none | set it in the modules that need it`},
		{body("variable \"1v\" {\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `2:10 variable: invalid name "1v" | it has letters, digits, _ and -, begins with a letter or _, and has at most 63 of them`},
		{body("variable \"v\" {\n type = strin\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:9 invalid type specification | The keyword "strin" is not a valid type specification. | a type is string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) or object({ name = T })`},
		{body("variable \"v\" {\n type = number\n default = \"x\"\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `4:12 default: wrong type: a number is required | expected number`},
		{body("variable \"v\" {\n validation {\n  condition = true\n }\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:2 validation needs a condition and an error_message | write condition = … and error_message = "…"`},
		{body("variable \"v\" {\n validation {\n  condition = git.dirty\n  error_message = \"x\"\n }\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `4:15 a validation sees var only | variables are checked before anything else has a value`},
		{body("locals {\n a = local.b\n b = local.a\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `3:6 cycle of locals: local.a -> local.b -> local.a | remove one of these`},
		{body("locals {\n a = module.m.status\n}\nmodule \"m\" {\n command=[\"a\"]\n tags = [local.a]\n}"), `7:9 tags must be known at submission and cannot name local.a, which waits for it | an expression that needs results or the run's id may stand in command, script, when, for_each, a module's env and an approval's message`},
		{body("module \"m\" {\n command=[\"a\"]\n}\nmodule \"m\" {\n command=[\"a\"]\n}"), `5:8 second module "m" | the first is at p.hcl:2:8`},
		{"pipeline \"p\" {\n # \x00\n}", `2:4 NUL byte in the source | a pipeline is a text in UTF-8`},
		{"pipeline \"p\" {\n # \xff\n}", `2:4 byte 0xff is not UTF-8 | a pipeline is a text in UTF-8`},
		{"pipeline \"p\" {\n # \u202e\n}", `2:4 bidirectional control character U+202E | it makes the text look other than it is; where a value needs it, write the escape "\u202e"`},
		{moduleWith("script = \"echo ${HOME:-/root}\""), `3:22 unexpected ":" in ${…} | a shell's ${…} must be written $${…} in HCL (and %{ as %%{)`},
	}

	for _, row := range rows {
		got := strings.Join(mistakes(t, row.src, language.Inputs{}), "; ")
		if got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.src, got, row.want)
		}
	}
}

func TestParse_cycle(t *testing.T) {
	src := body(`module "a" {
  command = ["x", module.b.status]
}
module "b" {
  depends_on = [module.c]
  command = ["x"]
}
locals {
  s = "${module.a.status}"
}
module "c" {
  command = ["x", local.s]
}
module "d" {
  depends_on = [module.a, "d"]
  command = ["x"]
}`)

	want := []string{
		`3:19 dependency cycle: a -> b -> c -> a | remove one of these`,
		`16:27 module "d" depends on itself`,
	}

	if d := cmp.Diff(want, mistakes(t, src, language.Inputs{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestParse_manyModules(t *testing.T) {
	src := "pipeline \"p\" {\n" + strings.Repeat("module a{\n}\n", 10_001) + "}\n"
	got := mistakes(t, src, language.Inputs{})
	if !strings.Contains(strings.Join(got, "\n"), "and ") || len(got) != 101 {
		t.Errorf("got %d: %v", len(got), got[len(got)-1])
	}

	var b strings.Builder
	b.WriteString("pipeline \"p\" {\n")

	for i := range 10_001 {
		fmt.Fprintf(&b, "module m%x{script=\":\"}\n", i)
	}

	b.WriteString("}\n")
	if b.Len() > language.MaxSourceBytes {
		t.Fatalf("%d bytes", b.Len())
	}

	want := []string{"10002:8 10001 modules are more than the limit of 10000"}
	if d := cmp.Diff(want, mistakes(t, b.String(), language.Inputs{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Short sources can name very many dependencies.
func TestParse_manyNeeds(t *testing.T) {
	var b strings.Builder
	b.WriteString("pipeline \"p\" {\nlocals {\n all = [")

	const n = 1500
	for i := range n {
		fmt.Fprintf(&b, "module.m%d.status, ", i)
	}

	b.WriteString("]\n}\n")

	for i := range n {
		fmt.Fprintf(&b, "module m%d {\n script = \":\"\n}\nmodule x%d {\n command = local.all\n}\n", i, i)
	}

	b.WriteString("}\n")

	got := mistakes(t, b.String(), language.Inputs{})
	if len(got) != 1 || !strings.Contains(got[0], "more than 200000 dependencies") || !strings.Contains(got[0], "one module between") {
		t.Errorf("got %v", got)
	}
}

// A byte order mark and the line ends of Windows are taken, and scripts get
// those of Unix.
func TestParse_windows(t *testing.T) {
	src := "\ufeff" + strings.ReplaceAll(moduleWith("script = <<-SH\n  a\n  b\nSH"), "\n", "\r\n")
	if got, want := compile(t, src, language.Inputs{}).Modules[0].Script, "a\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := mistakes(t, "\ufeff"+strings.ReplaceAll(moduleWith("comand = 1\ncommand=[\"a\"]"), "\n", "\r\n"), language.Inputs{})
	if len(got) != 1 || !strings.HasPrefix(got[0], "3:1 ") {
		t.Errorf("got %v", got)
	}
}
