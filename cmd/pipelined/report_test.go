package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// reportsOf runs a command that writes one report of each form, and gives them.
func reportsOf(t *testing.T, want int, exec func(flags ...string) (code int, stdout, stderr string)) map[string]string {
	t.Helper()
	dir := t.TempDir()
	var flags []string
	for _, form := range []string{"junit", "ctrf", "json", "md"} {
		flags = append(flags, "-report", form+"="+filepath.Join(dir, form))
	}
	if code, stdout, stderr := exec(flags...); code != want {
		t.Fatalf("exit %d, want %d: %s%s", code, want, stdout, stderr)
	}

	out := map[string]string{}
	for _, form := range []string{"junit", "ctrf", "json", "md"} {
		text, err := os.ReadFile(filepath.Join(dir, form))
		if err != nil {
			t.Fatal(err)
		}
		out[form] = string(text)
	}
	return out
}

// Reports are written whatever became of the run, and change no exit code.
func TestReport_commands(t *testing.T) {
	for state, want := range map[pipeline.RunState]int{pipeline.RunSucceeded: 0, pipeline.RunFailed: 1, pipeline.RunCancelled: 3} {
		f := newFakeCluster(t)
		run := finished("r1", state)
		run.run.Modules[1].State, run.run.Modules[1].Reason = pipeline.ModuleFailed, "exit code 7"
		run.run.Modules[1].Attempts = []wire.Attempt{{Number: 1, State: pipeline.AttemptFailed, Reason: "exit code 7"}}
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return run }
		file := write(t, t.TempDir(), "p.hcl", hello)

		for _, command := range []string{"run", "submit", "wait"} {
			c := newCommand(t, f)
			args := []string{command, file, "-var", "who=you"}
			switch command {
			case "run":
				c = newCommand(t, nil)
				c.withNode(newFakeNode(f), nil)
			case "wait":
				args = []string{command, "r1"}
			}
			got := reportsOf(t, want, func(flags ...string) (int, string, string) { return c.exec(append(args, flags...)...) })
			for form, part := range map[string]string{"junit": `<failure message="exit code 7"`, "ctrf": `"rawStatus": "failed"`, "json": `"schemaVersion": 1`, "md": "<b>test</b>: exit code 7"} {
				if !strings.Contains(got[form], part) || form != "json" && !strings.Contains(got[form], "no newline") {
					t.Errorf("%s of a run that %s: %s has no %s, or not the last lines:\n%s", command, state, form, part, got[form])
				}
			}
			var doc wire.Run
			if err := json.Unmarshal([]byte(got["json"]), &doc); err != nil || doc.ID != "r1" || doc.State != state {
				t.Errorf("%v: %s", err, got["json"])
			}
		}
	}
}

// A mistake in the flag is found before anything runs; a report that cannot be written
// fails a run that succeeded.
func TestReport_mistakes(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	c := newCommand(t, f)
	for flag, want := range map[string]string{
		"junit":                  "expected a file after junit=",
		"juint=x":                "did you mean",
		"json=/nowhere/at/all/x": "there is no directory",
	} {
		if code, _, stderr := c.exec("wait", "r1", "-report", flag); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", flag, code, stderr)
		}
	}
	if code, _, stderr := c.exec("submit", "-detach", "-report", "json=x", write(t, t.TempDir(), "p.hcl", hello)); code != exitUsage || !strings.Contains(stderr, "leave out -detach") {
		t.Errorf("exit %d, %s", code, stderr)
	}

	dir := t.TempDir()
	if code, _, stderr := c.exec("wait", "r1", "-report", "json="+dir); code != exitFailed || !strings.Contains(stderr, "write the report") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// A job's summary gets the Markdown behind what it has; without it the run ends as it
// does.
func TestReport_jobSummary(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunFailed))
	c := newCommand(t, f)
	path := write(t, t.TempDir(), "summary", "no line break")
	c.env["GITHUB_STEP_SUMMARY"] = path
	for range 2 {
		if code, _, stderr := c.exec("wait", "r1"); code != exitFailed || strings.Contains(stderr, "summary") {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "no line break\n## ") || strings.Count(string(text), "\n## ") != 2 {
		t.Errorf("%v: %s", err, text)
	}

	c.env["GITHUB_STEP_SUMMARY"] = t.TempDir()
	if code, _, stderr := c.exec("wait", "r1"); code != exitFailed || !strings.Contains(stderr, "write the summary of the job") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// Azure's agent reads the Markdown from a file, and Buildkite's from its standard input.
func TestReport_jobSummaryOfAgents(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunFailed))
	bin, temp := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c := newCommand(t, f)
	c.env["TF_BUILD"], c.env["AGENT_TEMPDIRECTORY"] = "True", temp
	code, _, stderr := c.exec("wait", "r1")
	_, path, _ := strings.Cut(stderr, "##vso[task.uploadsummary]")
	path, _, _ = strings.Cut(path, "\n")
	text, err := os.ReadFile(path)
	if code != exitFailed || err != nil || filepath.Dir(path) != temp || !strings.HasPrefix(string(text), "## ") {
		t.Errorf("exit %d, %v: %s%s", code, err, stderr, text)
	}

	delete(c.env, "TF_BUILD")
	c.env["BUILDKITE"] = "true"
	if code, _, stderr := c.exec("wait", "r1"); code != exitFailed || strings.Contains(stderr, "summary") {
		t.Errorf("without its agent: exit %d: %s", code, stderr)
	}
	agent := write(t, bin, "buildkite-agent", "#!/bin/sh\nexec >"+temp+"/annotation\necho \"$@\"\ncat\n")
	if err := os.Chmod(agent, 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = c.exec("wait", "r1")
	text, err = os.ReadFile(temp + "/annotation")
	if code != exitFailed || err != nil || !strings.HasPrefix(string(text), "annotate --style error --context pipelined-r1\n## ") {
		t.Errorf("exit %d, %v: %s%s", code, err, stderr, text)
	}
	write(t, bin, "buildkite-agent", "#!/bin/sh\necho 'no access token' >&2\nexit 1\n")
	if code, _, stderr = c.exec("wait", "r1"); code != exitFailed || !strings.Contains(stderr, "write the summary of the job: buildkite-agent annotate: exit status 1: no access token") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestValidate_sarif(t *testing.T) {
	c := newCommand(t, nil)
	file := write(t, t.TempDir(), "p.hcl", "pipeline \"p\" {\n  module \"a\" { command = [module.b.x] }\n}\n")
	code, stdout, stderr := c.exec("validate", "-o", "sarif", file)
	var doc struct {
		Version string
		Runs    []struct {
			Results []struct{ Level string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != exitUsage || doc.Version != "2.1.0" || len(doc.Runs[0].Results) == 0 || doc.Runs[0].Results[0].Level != "error" {
		t.Errorf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	if code, _, stderr := c.exec("validate", "-o", "sarrif", file); code != exitUsage || !strings.Contains(stderr, "sarif") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, _ := c.exec("validate", "-json", "-o", "sarif", file); code != exitUsage {
		t.Errorf("exit %d", code)
	}
}
