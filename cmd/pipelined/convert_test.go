package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("ci.yml", "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps: [{run: echo hello}, {uses: a/b@v1}]\n")
	write("dag.yaml", "steps: [echo hello]\n")
	write("other.yaml", "a: b\n")
	write("open.yml", "jobs: [\n")
	write("broken.yml", "jobs: {}\non: push\n")
	write("there.hcl", "mine")
	write("cron.yml", "on: {schedule: [{cron: 0 25 * * *}]}\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps: [{run: echo hello}]\n")

	for _, tc := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"ci.yml"}, 0, "echo hello", "not converted: ci.yml:5: one: uses: a/b@v1: actions run at GitHub alone"},
		{[]string{"ci.yml"}, 0, `pipeline "ci" {`, "pipeline ci with 1 module; 1 of 2 steps converted, 2 notes to look at"},
		{[]string{"dag.yaml", "-o", "new.hcl"}, 0, "", "wrote new.hcl: pipeline dag with 1 module; 1 of 1 step converted, 0 notes to look at"},
		{[]string{"cron.yml"}, 0, `cron = "0 25 * * *"`, `not valid: pipeline:5: cron: invalid cron expression "0 25 * * *": hour "25": expected 0 to 23, *`},
		{[]string{"-from", "dagu", "-"}, 2, "", "convert: -: the file is empty"},
		{[]string{"ci.yml", "-o", "there.hcl"}, 2, "", "there.hcl exists and is never overwritten"},
		{[]string{"other.yaml"}, 2, "", "other.yaml is neither a workflow of GitHub Actions, which has jobs, nor a DAG of Dagu, which has steps"},
		{[]string{"open.yml"}, 2, "", "convert: open.yml: yaml: "},
		{[]string{"broken.yml"}, 2, "", `convert: broken.yml: line 1: "jobs" section should not be empty`},
		{[]string{"-from", "jenkins", "ci.yml"}, 2, "", "-from jenkins: expected github or dagu"},
		{[]string{"none.yml"}, 2, "", "none.yml"},
	} {
		code, stdout, stderr := newCommand(t, newFakeCluster(t)).exec(append([]string{"convert"}, tc.args...)...)
		if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%q: exit %d\n%s\n%s", tc.args, code, stdout, stderr)
		}
	}
	if text, err := os.ReadFile("new.hcl"); err != nil || !strings.Contains(string(text), `"echo hello"`) {
		t.Errorf("new.hcl: %v, %s", err, text)
	}
	if text, err := os.ReadFile("there.hcl"); err != nil || string(text) != "mine" {
		t.Errorf("there.hcl: %v, %s", err, text)
	}
}
