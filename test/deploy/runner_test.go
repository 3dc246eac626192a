package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pipelined/pipelined/test/harness"
)

// step is a step of a workflow or of a composite action.
type step struct {
	Name, ID, If, Uses, Run, Shell string
	With, Env                      map[string]any
}

// action is what this test reads of action.yml.
type action struct {
	Inputs  map[string]struct{ Default string }
	Outputs map[string]struct{ Value string }
	Runs    struct{ Steps []step }
}

// job is what this test reads of a job.
type job struct {
	Env      map[string]any
	Strategy struct {
		Matrix struct{ Include []map[string]any }
	}
	Steps []step
}

// runner executes the steps of one job as a runner of GitHub does, with the files that it
// gives to each step.
type runner struct {
	tb testing.TB
	// temp, home and workspace are its directories.
	temp, home, workspace string
	env                   map[string]string
	path                  []string
	// values are what expressions can name, such as "steps.install.outputs.version".
	values map[string]string
	// uses replaces actions that are not ours, by name.
	uses map[string]func(with map[string]string) error
	// inputs are those of our action that the test sets itself.
	inputs map[string]string
	// log is what the steps printed.
	log    bytes.Buffer
	failed bool
}

func newRunner(tb testing.TB) *runner {
	tb.Helper()
	dir := tb.TempDir()
	r := &runner{tb: tb, temp: filepath.Join(dir, "temp"), home: filepath.Join(dir, "home"), workspace: filepath.Join(dir, "work"),
		path: strings.Split(os.Getenv("PATH"), ":"), values: map[string]string{}, inputs: map[string]string{"binary": harness.Binary(tb)},
		uses: map[string]func(map[string]string) error{"actions/checkout": nil, "actions/setup-go": nil}}
	for _, d := range []string{r.temp, r.home, r.workspace} {
		if err := os.Mkdir(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}

	arch := map[string]string{"amd64": "X64", "arm64": "ARM64"}[runtime.GOARCH]
	r.env = map[string]string{"HOME": r.home, "XDG_STATE_HOME": r.home + "/.local/state", "XDG_CONFIG_HOME": r.home + "/.config", "LANG": "C.UTF-8",
		"GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_OS": "Linux", "RUNNER_ARCH": arch, "RUNNER_TEMP": r.temp, "GITHUB_WORKSPACE": r.workspace,
		"GITHUB_STEP_SUMMARY": r.temp + "/summary"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			tb.Fatal(err)
		}
		r.env[name] = strings.TrimSpace(string(out))
	}

	r.values["runner.os"] = "Linux"
	tb.Cleanup(r.end)

	return r
}

// end ends what a step left running, as the runner does at the end of a job.
func (r *runner) end() {
	if r.tb.Failed() || testing.Verbose() {
		r.tb.Logf("the steps printed:\n%s", r.log.String())
	}
	pid, err := strconv.Atoi(r.values["pid"])
	if err != nil {
		return // no agent was started
	}
	if syscall.Kill(pid, syscall.SIGTERM) == nil {
		awaitEnd(r.tb, pid)
	}
}

// job executes a job's steps. A failed one ends those that have no condition of their own.
func (r *runner) job(j job) {
	for name, v := range j.Env {
		r.env[name] = r.expand(fmt.Sprint(v))
	}
	for _, s := range j.Steps {
		if !r.condition(s.If) {
			continue
		}
		if err := r.step(s); err != nil {
			r.failed = true
			fmt.Fprintf(&r.log, "step %q: %v\n", s.Name+s.Uses, err)
		}
	}
}

// step executes a step of a job.
func (r *runner) step(s step) error {
	if s.Uses == "" {
		return r.script(s)
	}

	with := map[string]string{}
	for name, v := range s.With {
		with[name] = r.expand(fmt.Sprint(v))
	}

	name, ref, _ := strings.Cut(s.Uses, "@")
	if name == "pipelined/pipelined" {
		return r.action(s, with, ref)
	}

	do, known := r.uses[name]
	if !known {
		return fmt.Errorf("this runner does not have the action %s", name)
	}
	if do == nil {
		return nil
	}
	return do(with)
}

// action executes action.yml, with its inputs, and gives its outputs to the step.
func (r *runner) action(s step, with map[string]string, ref string) error {
	var a action
	readYAML(r.tb, filepath.Join(root, "action.yml"), &a)

	path, err := filepath.Abs(root)
	if err != nil {
		return err
	}

	inner := &runner{tb: r.tb, temp: r.temp, home: r.home, workspace: r.workspace, env: maps.Clone(r.env), path: r.path,
		values: map[string]string{"github.action_path": path, "github.action_ref": ref}}
	for name, v := range s.Env {
		inner.env[name] = r.expand(fmt.Sprint(v))
	}

	maps.Copy(with, r.inputs)
	for name := range with {
		if _, known := a.Inputs[name]; !known {
			return fmt.Errorf("action.yml has no input %s", name)
		}
	}
	for name, in := range a.Inputs {
		inner.values["inputs."+name] = in.Default
		if v, ok := with[name]; ok {
			inner.values["inputs."+name] = v
		}
	}

	before := maps.Clone(inner.env)
	for _, s := range a.Runs.Steps {
		err := inner.script(s)
		r.log.Write(inner.log.Bytes())
		inner.log.Reset()
		if err != nil {
			return err
		}
	}

	// What the inner steps exported holds for the job; what the step's env set does not.
	for name, v := range inner.env {
		if before[name] != v {
			r.env[name] = v
		}
	}
	r.path = inner.path
	for name, out := range a.Outputs {
		r.values["steps."+s.ID+".outputs."+name] = inner.expand(out.Value)
	}
	r.values["pid"] = inner.expand("${{ steps.agent.outputs.pid }}")

	return nil
}

// script executes a step with run, and takes what it left in the runner's files.
func (r *runner) script(s step) error {
	dir, err := os.MkdirTemp(r.temp, "step-")
	if err != nil {
		return err
	}

	files := map[string]string{}
	for _, name := range []string{"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH"} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], nil, 0o644); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(file, []byte(r.expand(s.Run)), 0o644); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// As the runner does without a shell in the workflow, and with bash.
	cmd := exec.CommandContext(ctx, "bash", "-e", file)
	if s.Shell == "bash" {
		cmd = exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", file)
	}
	cmd.Dir, cmd.WaitDelay = r.workspace, 10*time.Second
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	cmd.Env = []string{"PATH=" + strings.Join(r.path, ":")}
	for _, env := range []map[string]string{r.env, files} {
		for name, v := range env {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	for name, v := range s.Env {
		cmd.Env = append(cmd.Env, name+"="+r.expand(fmt.Sprint(v)))
	}

	fmt.Fprintf(&r.log, "== %s\n", s.Name)
	if err := cmd.Run(); err != nil {
		return err
	}

	return r.take(s.ID, files)
}

// take reads the runner's files after a step.
func (r *runner) take(id string, files map[string]string) error {
	for name, v := range pairs(r.tb, files["GITHUB_ENV"]) {
		r.env[name] = v
	}
	for name, v := range pairs(r.tb, files["GITHUB_OUTPUT"]) {
		r.values["steps."+id+".outputs."+name] = v
	}

	text, err := os.ReadFile(files["GITHUB_PATH"])
	if err != nil {
		return err
	}
	for dir := range strings.FieldsSeq(string(text)) {
		r.path = append([]string{dir}, r.path...)
	}

	return nil
}

// pairs reads lines of NAME=VALUE.
func pairs(tb testing.TB, file string) map[string]string {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			tb.Errorf("%s has the line %q, which the runner refuses", filepath.Base(file), line)
		}
		found[name] = v
	}
	return found
}

var expression = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// expand replaces the expressions of a text by the values that they name. An unknown
// name is empty, as it is on GitHub.
func (r *runner) expand(text string) string {
	return expression.ReplaceAllStringFunc(text, func(e string) string {
		return r.values[expression.FindStringSubmatch(e)[1]]
	})
}

// condition evaluates the `if` of a step: names, functions of the state, comparisons with
// the empty string, `!` and `&&`.
func (r *runner) condition(text string) bool {
	if m := expression.FindStringSubmatch(text); m != nil {
		text = m[1]
	}

	met, stateful := true, false
	for part := range strings.SplitSeq(text, "&&") {
		part = strings.TrimSpace(part)
		want := true
		if rest, ok := strings.CutPrefix(part, "!"); ok {
			part, want = rest, false
		}
		switch name, isSet := strings.CutSuffix(part, " != ''"); {
		case part == "":
		case part == "always()":
			stateful = true
		case part == "cancelled()":
			stateful = true
			met = met && !want
		case isSet:
			met = met && (r.values[name] != "") == want
		default:
			met = met && (r.values[part] == "true") == want
		}
	}

	return met && (stateful || !r.failed)
}

// readYAML decodes a file strictly enough for this test: what it does not name is ignored.
func readYAML(tb testing.TB, path string, into any) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
}

// awaitEnd waits until a process has ended.
func awaitEnd(tb testing.TB, pid int) {
	tb.Helper()
	fd, err := os.FindProcess(pid)
	if err != nil {
		tb.Fatal(err)
	}
	eventually(tb, func() error {
		if fd.Signal(syscall.Signal(0)) == nil {
			return fmt.Errorf("process %d has not ended", pid)
		}
		return nil
	})
}
