package convert_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/convert"
	"github.com/pipelined/pipelined/pipeline/language"
)

var update = flag.Bool("update", false, "write the pipelines of testdata anew")

// source converts a file and checks that it is a pipeline.
func source(t *testing.T, name string, text []byte) (convert.Result, string) {
	t.Helper()
	format, err := convert.Detect(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := convert.Convert(format, name, text)
	if err != nil {
		t.Fatal(err)
	}
	formatted, diags := language.Format(name, []byte(r.Source))
	if len(diags) > 0 {
		t.Fatalf("%v in\n%s", diags, r.Source)
	}
	if _, diags := language.Parse(name, formatted); len(diags) > 0 {
		t.Fatalf("%v in\n%s", diags, formatted)
	}
	return r, string(formatted)
}

func TestConvert(t *testing.T) {
	for name, steps := range map[string][2]int{"ci.yml": {19, 21}, "etl.yaml": {4, 7}} {
		file := filepath.Join("testdata", name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, got := source(t, file, text)
		if r.Converted != steps[0] || r.Steps != steps[1] {
			t.Errorf("%s: converted %d of %d steps, want %v", name, r.Converted, r.Steps, steps)
		}
		if !slices.IsSortedFunc(r.Notes, func(a, b convert.Note) int { return a.Line - b.Line }) {
			t.Errorf("%s: the notes are in no order: %v", name, r.Notes)
		}
		golden := file + ".hcl"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-update writes it anew):\n%s", golden, diff)
		}
	}
}

// job is a workflow of one job.
func job(rest string) string {
	return "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n" + rest
}

func TestConvert_expressions(t *testing.T) {
	for expr, want := range map[string]string{
		"github.sha":                                  "${git.sha}",
		"github.event_name":                           "${var.github_event_name}",
		"vars.REGION":                                 "${var.REGION}",
		"secrets.deploy_key":                          "$DEPLOY_KEY",
		"env.Mode":                                    "$${Mode-}",
		"runner.temp":                                 "$TMPDIR",
		"format('{0}-{1}{{}}', 'a', 'b')":             `${"${"a"}-${"b"}{}"}`,
		"toJSON(github.actor)":                        "${jsonencode(run.submitter)}",
		"github.ref_name == 'main'":                   `${git.branch == "main"}`,
		"!(github.actor == 'x')":                      `${!(run.submitter == "x")}`,
		"'a' == github.actor && 'y' || ''":            `${(run.submitter == "a") ? "y" : ""}`,
		"contains(github.actor, 'bot')":               `${strcontains(run.submitter, "bot")}`,
		"contains(fromJSON('[\"a\"]'), github.actor)": `${contains(jsondecode("[\"a\"]"), run.submitter)}`,
		"join(fromJSON('[1]'), '+')":                  `${join("+", jsondecode("[1]"))}`,
		"github.run_id || 'none'":                     `${run.id != "" ? run.id : "none"}`,
	} {

		text := job("    steps:\n      - run: |\n          echo \"${{ " + expr + " }}\"\n")
		if _, got := source(t, "x.yml", []byte(text)); !strings.Contains(got, `echo "`+want+`"`) {
			t.Errorf("%s: want %s in\n%s", expr, want, got)
		}
	}
}

// What guards a job and cannot be converted must not let it run.
func TestConvert_guards(t *testing.T) {
	for text, want := range map[string]string{
		job("    if: github.event.action == 'opened'\n    steps: [{run: rm -rf x}]\n"):               "when   = false",
		job("    if: secrets.KEY != ''\n    steps: [{run: rm -rf x}]\n"):                             "when   = false",
		"on: push\njobs:\n  one:\n    runs-on: windows-latest\n    steps: [{run: rm -rf x}]\n":       "when   = false",
		job("    strategy: {matrix: \"${{ fromJSON(inputs.m) }}\"}\n    steps: [{run: rm -rf x}]\n"): "when   = false",
		"steps:\n  - name: a\n    command: rm -rf x\n    preconditions: [{condition: test -e y}]\n":  "when   = false",
		"steps:\n  - name: a\n    type: ssh\n    command: rm -rf x\n":                                "when    = false",
		"steps:\n  - name: a\n    run: other\n":                                                      "when    = false",
		job("    steps: [{if: \"github.event.action == 'opened'\", run: rm -rf x}, {run: echo}]\n"):  "# not converted (line 5): run: rm -rf x",
		"on: push\njobs:\n  a: {runs-on: x, strategy: {matrix: {v: [1, 2]}}, steps: [{run: echo}]}\n  one: {needs: a, runs-on: x, if: \"${{ !failure() && !cancelled() }}\", steps: [{run: echo}]}\n": "depends_on = [module.a] run_if = \"not_failed\" requires",
		"on: push\njobs:\n  one: {needs: [zz], runs-on: x, steps: [{run: echo}]}\n":                        "# not converted (line 3): needs: zz: there is no such job",
		job("    strategy: {matrix: {v: [1, 2]}}\n    steps: [{run: echo}]\n"):                             "on_failure = \"cancel\"",
		job("    strategy: {fail-fast: false, matrix: {v: [1, 2]}}\n    steps: [{run: echo}]\n"):           "pipeline \"x\" { module",
		job("    if: always()\n    steps: [{run: echo}]\n"):                                                "always_run = true",
		job("    if: \"!cancelled()\"\n    steps: [{run: echo}]\n"):                                        "always_run = true",
		job("    steps: [{if: \"inputs.x == 'y'\", run: echo 1}]\n"):                                       `if [ "${var.x == "y"}" = true ]; then`,
		job("    steps: [{run: \"echo $ID ${HOME} %{x}\"}]\n"):                                             "echo $ID $${HOME} %%{x}",
		job("    steps: [{run: \"echo $ID\"}]\n    name: |\n      a\n      b \" ${x}\n"):                   `description = "a b \" $${x}"`,
		"steps:\n  - name: a\n    command: echo ${X.y} \"${HOME}\"\n":                                      `echo $${X.y} "$${HOME}"`,
		"params: \"A=1 'B=2 3' four\"\nsteps:\n  - name: a\n    command: echo $1 $2 $A\n":                  "echo ${var.arg1} $2 $A",
		"steps:\n  a: {command: echo 1}\n  b: {command: echo 2}\n":                                         "depends_on = [module.a]",
		"steps:\n  - [echo a, echo b]\n  - echo c\n":                                                       "depends_on = [module.step1, module.step2]",
		"type: graph\nsteps:\n  - name: a\n    exec: {command: ls, args: [-l, x y]}\n    env: [\"B=1\"]\n": `command = ["ls", "-l", "x y"]`,
	} {
		_, got := source(t, "x.yml", []byte(text))
		if !strings.Contains(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("want %s of\n%s\ngot\n%s", want, text, got)
		}
	}
}

// What is converted does what it did at GitHub and in Dagu.
func TestConvert_meaning(t *testing.T) {
	two := func(step string) string { return job("    steps: [{run: echo}, " + step + "]\n") }
	jobs := func(list ...string) string { return "on: push\njobs:\n  " + strings.Join(list, "\n  ") + "\n" }
	for text, want := range map[string]string{
		// The variables of a step are no other step's.
		"env: {A: base}\n" + two("{run: echo $A, env: {A: step}}"):                       "echo ( export A=\"step\" echo $A )",
		"env: {A: base}\n" + job("    steps: [{run: echo $A, env: {A: step}}]\n"):        `env = { A = "step" }`,
		two("{uses: goreleaser/goreleaser-action@v6, env: {B: \"1\"}, with: {args: x}}"): "( export B=\"1\" goreleaser x )",
		// The directory of a step is not relative to that of the job.
		"defaults: {run: {working-directory: app}}\n" + two("{run: ls, working-directory: ./tools/}"): `cd "$PIPELINED_WORKSPACE/./tools"`,
		"defaults: {run: {working-directory: app}}\n" + two("{uses: pre-commit/action@v3}"):           `cd "$PIPELINED_WORKSPACE" pre-commit`,
		"defaults: {run: {working-directory: app}}\n" + two("{run: echo b, if: always()}"):            "hooks { after = <<-SH cd app echo b",
		two("{run: 'echo A=b >> $GITHUB_ENV'}"):                                                       "( echo A=b >> $GITHUB_ENV ) github_env",
		two("{run: ls, working-directory: tools}"):                                                    `cd "tools"`,
		// What runs after a failure.
		two("{run: echo b, if: success() || failure()}"):                  "hooks { after = <<-SH echo b",
		two("{run: echo b, if: failure() || success()}"):                  "hooks { after = <<-SH echo b",
		job("    if: success() || failure()\n    steps: [{run: echo}]\n"): "always_run = true",
		jobs("a: {runs-on: x, steps: [{run: echo}]}", "b: {needs: a, runs-on: x, strategy: {matrix: {v: [1]}}, steps: [{run: echo}]}", "c: {needs: b, runs-on: x, if: failure(), steps: [{run: echo}]}"): `when = contains(concat([module.a.status], [for m in module.b : m.status]), "failed") always_run = true`,
		jobs("a: {runs-on: x, steps: [{run: echo}]}", "c: {needs: a, runs-on: x, if: \"always() && !contains(needs.*.result, 'failure')\", steps: [{run: echo}]}"):                                       `when = !contains([module.a.status], "failed") always_run = true`,
		// An output that was not set is empty.
		jobs("a: {runs-on: x, outputs: {v: '${{ steps.s.outputs.v }}'}, steps: [{id: s, run: echo}]}", "c: {needs: a, runs-on: x, if: needs.a.outputs.v, steps: [{run: echo}]}"): `when = try(module.a.result.v, "") != ""`,
		// Instances that follow from a result.
		jobs("a: {runs-on: x, outputs: {v: '${{ steps.s.outputs.v }}'}, steps: [{id: s, run: echo}]}", "c: {needs: a, runs-on: x, strategy: {matrix: {Item: '${{ fromJSON(needs.a.outputs.v) }}'}}, steps: [{run: 'echo ${{ matrix.Item }}'}]}"):      `for_each = jsondecode(try(module.a.result.v, "")) depends_on`,
		jobs("a: {runs-on: x, outputs: {v: '${{ steps.s.outputs.v }}'}, steps: [{id: s, run: echo}]}", "c: {needs: a, runs-on: x, strategy: {matrix: {b: [1], item: '${{ fromJSON(needs.a.outputs.v) }}'}}, steps: [{run: 'echo ${{ matrix.b }}'}]}"): `when = false`,
		"concurrency: {group: '${{ github.head_ref || github.run_id }}'}\n" + job("    steps: [{run: echo}]\n"):                                                                                                                                       "# not converted (line 1): concurrency: ${{ github.head_ref || github.run_id }}: a group is known before there is a run",
		// What GitHub takes in another form.
		job("    strategy: {matrix: {tags: ['', x]}}\n    steps: [{run: echo}]\n"):                           `for_each = { "1" = { tags = "" } x = { tags = "x" } }`,
		"concurrency: {group: '${{ github.head_ref }}'}\n" + job("    steps: [{run: echo}]\n"):               `group = "group-${git.branch}"`,
		job("    strategy: {matrix: {py: ['3.6']}}\n    steps: [{run: echo, if: \"matrix.py >= '3.6'\"}]\n"): `${try(tonumber(matrix.py) >= tonumber("3.6"), false)}`,
		two("{run: 'echo ${{ vars.Foo }} ${{ vars.foo }}'}"):                                                 "echo ${var.Foo} ${var.Foo}",
		// Of which nothing is converted must not succeed.
		job("    steps: [{uses: a/b@v1}]\n"):              "when = false",
		two("{uses: a/b@v1}"):                             "timeout = \"6h\" shell = \"bash\"",
		job("    steps: [{uses: actions/checkout@v4}]\n"): `command = ["true"]`,
		// No shell replaces variables in a script of Python.
		two("{shell: python, run: \"print('${{ secrets.X }}')\"}"): "# not converted (line 5): step run: print('${{ secrets.X }}'): secrets.x",
		// Limits.
		job("    steps: [{run: echo}]\n"):                                  `timeout = "6h"`,
		job("    timeout-minutes: 90\n    steps: [{run: echo}]\n"):         `timeout = "90m"`,
		two("{run: sleep 9, timeout-minutes: 1}"):                          "# not converted (line 5): step run: sleep 9: timeout-minutes: timeout is that of the whole module",
		"steps: [{command: echo}]\n":                                       `timeout = "0"`,
		"steps: [{command: echo, timeoutSec: 9}]\n":                        `timeout = "9s"`,
		"steps: [{command: a}, {command: b}]\n":                            `on_failure = "continue"`,
		"steps: [{command: a, retryPolicy: {limit: 2, intervalSec: 5}}]\n": `retry { attempts = 3 backoff = "5s" max_backoff = "5s" }`,
		"steps: [{command: a, retryPolicy: {limit: $N}}]\n":                "# not converted (line 1): retryPolicy.limit $N: retry.attempts is a number",
		"steps: [{command: a, continueOn: {exitCode: [4]}}]\n":             "# not converted (line 1): continueOn.exitCode: ignore_failure counts",
		// What a step before has left decides.
		"steps: [{name: a, command: a, output: X}, {name: b, command: b, preconditions: [{condition: $X, expected: \"1\"}]}]\n":              `when = module.a.result.X == "1"`,
		"type: graph\nsteps: [{name: a, command: a, output: X}, {name: b, command: b, preconditions: [{condition: $X, expected: \"1\"}]}]\n": "when = false",
		"schedule: CRON_TZ=Asia/Tokyo 0 2 * * *\nsteps: [{command: a}]\n":                                                                    `schedule { cron = "0 2 * * *" timezone = "Asia/Tokyo" }`,
		"schedule: 0 2 * * *\nsteps: [{command: a}]\n":                                                                                       "# not converted (line 1): the zone of schedule: it was that of Dagu's machine, and is UTC",
		"steps: [{name: \"" + strings.Repeat("ab-", 30) + "\", command: a}]\n":                                                               `module "` + strings.Repeat("ab-", 19) + `a" {`,
		// Containers.
		job("    container: {image: \"go:1\", env: {A: \"1\"}, options: --cpus 2}\n    services:\n      my-db: {image: \"pg:1\", env: {P: q}, options: --health-cmd \"pg_isready -q\" --health-retries 5 --shm-size 1g}\n    steps: [{run: echo | cat}, {uses: actions/setup-go@v5}]\n"): `env = { A = "1" } timeout = "6h" image = "go:1" script = <<-SH echo | cat SH service "my-db" { image = "pg:1" env = { P = "q" } health = "pg_isready -q" }`,
		job("    container: alpine\n    steps: [{run: echo, shell: bash}]\n"):                                       `image = "alpine" shell = "bash"`,
		job("    container: alpine\n    services: {a_b: {image: x}}\n    steps: [{run: echo}]\n"):                   "# not converted (line 6): service a_b: the name of a service has small letters, digits and -",
		job("    services: {db: {image: x}}\n    steps: [{run: echo}]\n"):                                           "# not converted (line 5): services: a module with an image has service blocks",
		job("    container: \"${{ secrets.X }}\"\n    steps: [{run: echo}]\n"):                                      "when = false",
		"container: {image: \"alpine:3\", pullPolicy: always, volumes: [a]}\nsteps: [{command: echo, output: X}]\n": `image = "alpine:3" pull = "always" timeout = "0" script = <<-SH trap 'cat "$TMPDIR/output"' EXIT`,
		"steps: [{command: echo, executor: {type: docker, config: {image: \"alpine:3\", autoRemove: true}}}]\n":     `image = "alpine:3"`,
		"steps: [{command: echo, executor: {type: docker, config: {containerName: x}}}]\n":                          `when = false`,
		"params: {T: \"3\"}\nsteps: [{command: echo, container: {image: \"a:${T}\", volumes: [b]}}]\n":              "# not converted (line 2): container: volumes: a module has image",
	} {
		_, got := source(t, "x.yml", []byte(text))
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("want %s of\n%s\ngot\n%s", want, text, got)
		}
	}
}

// What a script says to GitHub alone has a note, once for each reason and step.
func TestConvert_commands(t *testing.T) {
	for script, want := range map[string]string{
		`echo "::set-output name=x::5"`:                         `::set-output: such a line gives no result: write echo "NAME=value" >> "$PIPELINED_OUTPUT" instead`,
		`echo ::group::a; echo ::endgroup::; echo ::group::b`:   "::group, ::endgroup: such a line is a line of the log: nothing is folded",
		`printf '::error file=a.go,line=1::b'; echo ::notice::`: "::error, ::notice: such a line is a line of the log: there are no annotations",
		`echo a >> $GITHUB_STEP_SUMMARY`:                        "GITHUB_STEP_SUMMARY: the summary goes to the log: a run has no page for it",
		`jq . "${GITHUB_EVENT_PATH}"`:                           `$GITHUB_EVENT_PATH: the variable has no value here: set it, or take it along with env_from = ["GITHUB_EVENT_PATH"]`,
		`std::error::x; Foo::debug::y; echo ::add-mask::$x`:     "",
		`echo $GITHUB_SHA $GITHUB_TOKEN >> "$GITHUB_ENV"`:       "",
		`GITHUB_BASE_REF=x; echo $GITHUB_BASE_REF`:              "",
	} {
		text := "env: {GITHUB_TOKEN: x}\n" + job("    steps:\n      - run: |\n          "+script+"\n")
		r, got := source(t, "x.yml", []byte(text))
		var notes []string
		for _, n := range r.Notes[1:] { // the first is about on
			_, note, _ := strings.Cut(n.String(), "step run: "+script+": ")
			notes = append(notes, note)
		}
		if strings.Join(notes, "; ") != want || want != "" && !strings.Contains(got, want) || r.Converted != 1 {
			t.Errorf("%s: got %q, want %q in\n%s", script, notes, want, got)
		}
	}
}

func TestConvert_mistakes(t *testing.T) {
	for text, want := range map[string]string{
		"jobs: {":               "line 1: could not parse as YAML",
		"jobs: {}\non: push\n":  `"jobs" section should not be empty`,
		"- a\n":                 "a DAG is an object, with steps",
		"steps: []\n":           "a DAG has steps, and here are none",
		"steps: [\n":            "yaml",
		"on: push\njobs: [a]\n": "jobs",
	} {
		format := convert.GitHub
		if !strings.Contains(text, "jobs") {
			format = convert.Dagu
		}
		if _, err := convert.Convert(format, "x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]convert.Format{"jobs: {a: b}": convert.GitHub, "steps: [a]": convert.Dagu, "a: b": "", "": "", "- a": ""} {
		if got, err := convert.Detect([]byte(text)); got != want || err != nil {
			t.Errorf("%q: detected %q, want %q, %v", text, got, want, err)
		}
	}
	if _, err := convert.Detect([]byte("[")); err == nil {
		t.Error("what is no YAML was detected")
	}
}

// FuzzConvert wants a pipeline of every file that is accepted, and no panic.
func FuzzConvert(f *testing.F) {
	for _, name := range []string{"ci.yml", "etl.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, format := range convert.Formats {
			r, err := convert.Convert(format, "x.yml", text)
			if err != nil {
				continue
			}
			if _, diags := language.Format("x.yml", []byte(r.Source)); len(diags) > 0 {
				t.Errorf("%v in\n%s\nof\n%s", diags, r.Source, text)
			}
		}
	})
}
