package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

const hello = `pipeline "release" {
  variable "who" {}
  module "build" { command = ["echo", "hello ${var.who}"] }
  module "test" {
    depends_on = [module.build]
    script = "true"
  }
}
`

// wantOutput is the output of finished on a pipe.
const wantOutput = "build | compiling\ntest | ok 1\nbuild | linking\ntest | no newline\n"

func TestSubmit_follows(t *testing.T) {
	for state, want := range map[pipeline.RunState]int{pipeline.RunSucceeded: 0, pipeline.RunWarnings: 0, pipeline.RunFailed: 1, pipeline.RunCancelled: 3} {
		f := newFakeCluster(t)
		var sent wire.SubmitRequest
		f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", state) }
		dir := t.TempDir()
		file := write(t, dir, "p.hcl", hello)
		write(t, dir, "src/a.txt", "some text")
		write(t, dir, "src/big.bin", strings.Repeat("0123456789abcdef", 100_000))
		c := newCommand(t, f)
		c.env["PIPELINED_VAR_who"], c.env["PIPELINED_VAR_other"] = "env", "ignored"
		code, stdout, stderr := c.exec("submit", file, "-var", "who=you,me")
		if code != want {
			t.Fatalf("%s: exit %d, want %d: %s", state, code, want, stderr)
		}
		if diff := cmp.Diff(wantOutput, stdout); diff != "" {
			t.Error(diff)
		}
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if lines[0] != `warning: PIPELINED_VAR_other: the pipeline has no variable "other": it declares who` {
			t.Errorf("%s: stderr\n%s", state, stderr)
		}
		lines = lines[1:]
		if lines[0] != "workspace: 3 files, 1.5 MiB" || lines[1] != "run r1 (number 7) of release: "+f.URL+"/runs/7" || !strings.HasPrefix(lines[len(lines)-1], "run r1 "+pipeline.Words(state)+" in 5.0s (") {
			t.Errorf("%s: stderr\n%s", state, stderr)
		}
		if sent.Variables["who"] != "you,me" || len(sent.Variables) != 1 || sent.Source != hello || sent.FileName != file {
			t.Errorf("sent %+v", sent)
		}
		tree, err := tree.NewCache(f.blobs).Read(sent.Workspace)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"p.hcl", "src/a.txt", "src/big.bin"} {
			if e := tree.Find(path); e == nil || !f.blobs.Has(e.Digest) {
				t.Errorf("%s did not go along: %+v", path, tree)
			}
		}
	}
}

func TestSubmit_detach(t *testing.T) {
	f := newFakeCluster(t)
	f.onSubmit = func(wire.SubmitRequest) *fakeRun { return finished("r1", pipeline.RunFailed) }
	c := newCommand(t, f)
	file := write(t, t.TempDir(), "p.hcl", hello)
	if code, stdout, stderr := c.exec("submit", "-detach", "-var=who=x", file); code != 0 || stdout != "r1\n" || stderr != "workspace: 1 file, 177 B\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	_, stdout, _ := c.exec("submit", "-detach", "-json", "-var=who=x", file)
	var out wire.RunCreated
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || out.ID != "r1" || out.Number != 7 {
		t.Errorf("%v: %s", err, stdout)
	}
	// The second time every blob is there already.
	n := 0
	for _, r := range f.asked() {
		if r == "POST /api/v1/blobs" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d bundles were sent, want 1", n)
	}
}

func TestSubmit_json(t *testing.T) {
	f := newFakeCluster(t)
	f.onSubmit = func(wire.SubmitRequest) *fakeRun { return finished("r1", pipeline.RunFailed) }
	code, stdout, stderr := newCommand(t, f).exec("submit", "-json", "-quiet", "-var=who=x", write(t, t.TempDir(), "p.hcl", hello))
	var run wire.Run
	if err := json.Unmarshal([]byte(stdout), &run); err != nil || code != 1 || run.ID != "r1" || len(run.Modules) != 2 || stderr != "" {
		t.Errorf("exit %d, %v, %s, %q", code, err, stdout, stderr)
	}
}

// In a CI system that shows annotations, mistakes have one each.
func TestValidate_annotates(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", "p.hcl", "pipeline \"x\" {\n  module \"a\" {\n    comand = [\"x\"]\n    script = \"true\"\n  }\n}\n")
	c := newCommand(t, nil)
	c.env["GITHUB_ACTIONS"] = "true"
	want := "::error file=p.hcl,line=3,title=invalid pipeline::unknown attribute \"comand\" in module: did you mean \"command\"?\n"
	if code, _, stderr := c.exec("validate", "p.hcl"); code != exitUsage || !strings.Contains(stderr, want) {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}

// TestSubmit_invalid wants all mistakes with places, and nothing sent.
func TestSubmit_invalid(t *testing.T) {
	f := newFakeCluster(t)
	c := newCommand(t, f)
	file := write(t, t.TempDir(), "p.hcl", "pipeline \"x\" {\n  module \"a\" {\n    comand = [\"x\"]\n    depends_on = [module.b]\n  }\n}\n")
	code, stdout, stderr := c.exec("submit", file)
	if code != exitUsage || stdout != "" || !strings.HasSuffix(stderr, "\npipelined: invalid pipeline: 3 mistakes\n") {
		t.Errorf("exit %d, %q\n%s", code, stdout, stderr)
	}
	for _, want := range []string{file + `:3:5: unknown attribute "comand" in module`, "   3 |     comand = [\"x\"]\n     |     ^^^^^^\n", `did you mean "command"?`, file + ":4:19: unknown module"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
	if code, _, stderr = c.exec("submit", write(t, t.TempDir(), "p.hcl", hello)); code != exitUsage || !strings.Contains(stderr, "who") {
		t.Errorf("without the variable: exit %d\n%s", code, stderr)
	}
	for _, args := range [][]string{{"-var", "nobody=1"}, {"-var", "who"}, {"-var-file", "nofile"}} {
		if code, _, stderr = c.exec(append([]string{"submit", write(t, t.TempDir(), "p.hcl", hello)}, args...)...); code != exitUsage {
			t.Errorf("%q: exit %d\n%s", args, code, stderr)
		}
	}
	if asked := f.asked(); len(asked) != 0 {
		t.Errorf("the cluster was asked: %q", asked)
	}
}

// TestSubmit_refusedThere is a pipeline that the cluster, which may be newer,
// refuses.
func TestSubmit_refusedThere(t *testing.T) {
	f := newFakeCluster(t)
	f.refuse["POST /api/v1/runs"] = wire.Problem{Status: 422, Kind: "invalid", Detail: "invalid pipeline", Diagnostics: []wire.Diagnostic{
		{File: "p.hcl", Line: 1, Column: 10, EndColumn: 19, Summary: "bad \x1b]52;c;x\x07name", SourceLine: `pipeline "release" {`}}}
	code, _, stderr := newCommand(t, f).exec("submit", "-var=who=x", write(t, t.TempDir(), "p.hcl", hello))
	if code != exitUsage || !strings.Contains(stderr, "p.hcl:1:10: bad") || !strings.Contains(stderr, "^^^^^^^^^") || strings.Contains(stderr, "\x1b") {
		t.Errorf("exit %d\n%q", code, stderr)
	}
}

func TestSubmit_varFiles(t *testing.T) {
	f := newFakeCluster(t)
	var sent wire.SubmitRequest
	f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", pipeline.RunSucceeded) }
	dir := t.TempDir()
	file := write(t, dir, "p.hcl", hello)
	one, two := write(t, dir, "one.vars", "who = \"one\"\n"), write(t, dir, "two.vars", "who = \"two\"\n")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "env"},
		{[]string{"-var-file", one}, "one"},
		{[]string{"-var-file", one, "-var-file", two}, "two"},
		{[]string{"-var", "who=flag", "-var-file", one}, "flag"},
	} {
		c := newCommand(t, f)
		c.env["PIPELINED_VAR_who"] = "env"
		if code, _, stderr := c.exec(append([]string{"submit", "-detach", file}, tc.args...)...); code != 0 || sent.Variables["who"] != tc.want {
			t.Errorf("%q: exit %d, %v, want %s: %s", tc.args, code, sent.Variables, tc.want, stderr)
		}
	}
}

func TestSubmit_stdin(t *testing.T) {
	f := newFakeCluster(t)
	var sent wire.SubmitRequest
	f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", pipeline.RunSucceeded) }
	t.Chdir(t.TempDir())
	write(t, ".", "here.txt", "x")
	c := newCommand(t, f)
	c.stdin = strings.NewReader(hello)
	if code, _, stderr := c.exec("submit", "-detach", "-var=who=x", "-"); code != 0 || sent.Source != hello {
		t.Errorf("exit %d, %+v, %s", code, sent, stderr)
	}
	if tree, err := tree.NewCache(f.blobs).Read(sent.Workspace); err != nil || tree.Find("here.txt") == nil {
		t.Errorf("%v, %v", tree, err)
	}
}

// live is a run that has just begun.
func live() *fakeRun {
	r := finished("r1", pipeline.RunRunning)
	r.run.FinishedAt, r.run.ModulesDone, r.events = nil, 0, nil
	r.run.Modules = []wire.Module{
		{Name: "build", State: pipeline.ModuleRunning, Attempts: []wire.Attempt{{Number: 1, Worker: "node-1", State: pipeline.AttemptRunning, StartedAt: at(0)}}},
		{Name: "test", State: pipeline.ModuleWaiting, DependsOn: []string{"build"}},
	}
	return r
}

// TestSubmit_interrupted wants that Ctrl-C leaves the run alone, at once where
// nobody can answer, after one question where somebody can.
func TestSubmit_interrupted(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		code         int
		cancelled    bool
	}{
		{"nobody there", "", exitInterrupted, false},
		{"detach", "d\n", exitInterrupted, false},
		{"no answer", "", exitInterrupted, false},
		{"cancel", "c\n", exitCancelled, true},
	} {
		f := newFakeCluster(t)
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return live() }
		c := newCommand(t, f)
		c.interactive, c.stdin = tc.name != "nobody there", strings.NewReader(tc.answer)
		type result struct {
			code   int
			stderr string
		}
		done := make(chan result)
		file := write(t, t.TempDir(), "p.hcl", hello)
		go func() {
			code, _, stderr := c.exec("submit", file, "-var=who=x")
			done <- result{code, stderr}
		}()
		f.waitAsked(t, "GET /api/v1/runs/r1")
		c.signal <- os.Interrupt
		got := <-done
		if got.code != tc.code {
			t.Errorf("%s: exit %d, want %d: %s", tc.name, got.code, tc.code, got.stderr)
		}
		if cancelled := strings.Contains(strings.Join(f.asked(), " "), "cancel"); cancelled != tc.cancelled {
			t.Errorf("%s: the run was cancelled: %v", tc.name, cancelled)
		}
		if !tc.cancelled && !strings.HasSuffix(got.stderr, "pipelined: interrupted; run r1 continues: pipelined watch r1\n") {
			t.Errorf("%s: %q", tc.name, got.stderr)
		}
		if asked := strings.Count(got.stderr, "?"); (asked == 1) != c.interactive {
			t.Errorf("%s: %d questions: %q", tc.name, asked, got.stderr)
		}
	}
}

// TestSubmit_continues goes on after the question, to the run's end.
func TestSubmit_continues(t *testing.T) {
	f := newFakeCluster(t)
	f.onSubmit = func(wire.SubmitRequest) *fakeRun { return live() }
	c := newCommand(t, f)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c.interactive, c.stdin = true, r
	file := write(t, t.TempDir(), "p.hcl", hello)
	done := make(chan int)
	var stdout string
	go func() {
		var code int
		code, stdout, _ = c.exec("submit", file, "-var=who=x")
		done <- code
	}()
	f.waitAsked(t, "GET /api/v1/runs/r1")
	c.signal <- os.Interrupt
	w.WriteString("\n")
	over := finished("r1", pipeline.RunSucceeded)
	f.update(func() {
		f.runs["r1"].run, f.runs["r1"].events = over.run, over.events
		f.runs["r1"].run.Index = 99
	})
	if code := <-done; code != 0 || stdout != wantOutput {
		t.Errorf("exit %d, %q", code, stdout)
	}
}

// TestSubmit_streamBreaks wants every byte once although the stream was cut.
func TestSubmit_streamBreaks(t *testing.T) {
	for cut := 1; cut <= 4; cut++ {
		f := newFakeCluster(t)
		f.breakAfter = cut
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return finished("r1", pipeline.RunSucceeded) }
		code, stdout, stderr := newCommand(t, f).exec("submit", "-var=who=x", write(t, t.TempDir(), "p.hcl", hello))
		if code != 0 || stdout != wantOutput {
			t.Errorf("cut after %d: exit %d\n%s\n%s", cut, code, stdout, stderr)
		}
	}
}

func TestWatch(t *testing.T) {
	f := newFakeCluster(t)
	f.add(live())
	c := newCommand(t, f)
	done := make(chan int)
	var stdout, stderr string
	go func() {
		var code int
		code, stdout, stderr = c.exec("watch", "r1")
		done <- code
	}()
	f.waitAsked(t, "GET /api/v1/runs/r1")
	over := finished("r1", pipeline.RunFailed)
	f.update(func() { f.runs["r1"].events = over.events[:2] })
	f.update(func() {
		f.runs["r1"].run, f.runs["r1"].events = over.run, over.events
		f.runs["r1"].run.Index = 99
	})
	if code := <-done; code != 1 || stdout != wantOutput {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	want := "build: started on node-1\nbuild: succeeded on node-1 in 2.0s\ntest: failed on node-2 in 3.0s: exit code 3\n" +
		"\ntest failed: exit code 3 on node-2, after 3.0s:\n  1  ok 1\n  2  no newline\n" +
		"  pipelined logs 7 test  # all 2 lines\n  pipelined why 7 test   # why it failed, and what it ran with\n  pipelined retry 7      # resume where it failed; 1 result is kept\n" +
		"  " + f.URL + "/runs/r1?m=test#L2\n" +
		"run r1 failed in 5.0s (1 succeeded, 1 failed)\n"
	if !strings.HasSuffix(stderr, strings.SplitAfterN(want, "\n", 2)[1]) {
		t.Errorf("stderr\n%s\nwant the end of\n%s", stderr, want)
	}
	code, stdout, _ := c.exec("watch", "-json", "-quiet", "r1")
	var run wire.Run
	if err := json.Unmarshal([]byte(strings.SplitAfter(stdout, "\n")[0]), &run); err != nil || code != 1 || run.ID != "r1" {
		t.Errorf("exit %d, %v: %s", code, err, stdout)
	}
	if code, _, stderr := c.exec("watch", "r9"); code != exitUsage || stderr != "pipelined: no run \"r9\"\n" {
		t.Errorf("unknown run: exit %d, %q", code, stderr)
	}
}

func TestWait(t *testing.T) {
	f := newFakeCluster(t)
	f.add(live())
	c := newCommand(t, f)
	if code, stdout, stderr := c.exec("wait", "r1", "-timeout", "50ms"); code != exitTimeout || stdout != "" || stderr != "pipelined: timed out (-timeout)\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	done := make(chan int)
	var stderr string
	go func() {
		var code int
		code, _, stderr = c.exec("wait", "r1")
		done <- code
	}()
	over := finished("r1", pipeline.RunCancelled)
	f.update(func() {
		f.runs["r1"].run = over.run
		f.runs["r1"].run.Index = 99
	})
	if code := <-done; code != exitCancelled || stderr != "run r1 cancelled in 5.0s (1 succeeded, 1 cancelled)\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if code, _, stderr := c.exec("wait", "r9"); code != exitUsage {
		t.Errorf("unknown run: exit %d, %q", code, stderr)
	}
}

func TestLogs(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	c := newCommand(t, f)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"r1"}, wantOutput},
		{[]string{"r1", "-f"}, wantOutput},
		{[]string{"r1", "build"}, "compiling\nlinking\n"},
		{[]string{"r1", "test"}, "ok 1\nno newline"},
		{[]string{"r1", "build", "-attempt", "1"}, "compiling\nlinking\n"},
		{[]string{"r1", "build", "-f"}, "compiling\nlinking\n"},
		{[]string{"-f", "-attempt=1", "r1", "build"}, "compiling\nlinking\n"},
	} {
		code, stdout, stderr := c.exec(append([]string{"logs"}, tc.args...)...)
		if code != 0 || stdout != tc.want || stderr != "" {
			t.Errorf("%q: exit %d, %q, want %q; %q", tc.args, code, stdout, tc.want, stderr)
		}
	}
	if code, _, stderr := c.exec("logs", "r1", "nobody"); code != exitUsage || stderr != "pipelined: run r1 has no module \"nobody\"\n" {
		t.Errorf("unknown module: exit %d, %q", code, stderr)
	}
	_, stdout, _ := c.exec("logs", "r1", "-json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var e wire.LogEvent
	if err := json.Unmarshal([]byte(lines[0]), &e); err != nil || e.Module != "build" || e.Text != "compiling\nli" {
		t.Errorf("%v: %s", err, stdout)
	}
}

// TestLogs_terminal wants output without what steers a terminal.
func TestLogs_terminal(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	hostile := "\x1b[31mred\x1b[0m \x1b]52;c;ZXZpbA==\x07\x1b[2Jend\n"
	r.events = []wire.LogEvent{{Module: "build", Attempt: 1, Text: hostile}}
	r.logs["build/0"] = hostile
	f.add(r)
	c := newCommand(t, f)
	if _, stdout, _ := c.exec("logs", "r1", "build"); stdout != hostile {
		t.Errorf("on a pipe: %q", stdout)
	}
	c.stdout.Terminal = true
	for _, args := range [][]string{{"build"}, {"build", "-f"}} {
		_, stdout, _ := c.exec(append([]string{"logs", "r1"}, args...)...)
		if want := "\x1b[31mred\x1b[0m end\x1b[0m\n"; stdout != want {
			t.Errorf("%q: %q, want %q", args, stdout, want)
		}
	}
	c.env["NO_COLOR"] = "1"
	if _, stdout, _ := c.exec("logs", "r1"); stdout != "build | red end\n" {
		t.Errorf("without colour: %q", stdout)
	}
}

// TestLogs_attempts wants a new attempt announced, not glued on.
func TestLogs_attempts(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	r.events = []wire.LogEvent{
		{Module: "build", Attempt: 1, Text: "half a li", End: false},
		{Module: "build", Attempt: 1, Offset: 9, End: true, State: pipeline.AttemptLost},
		{Module: "build", Attempt: 2, Text: "again\n"},
		{Module: "build", Attempt: 2, Offset: 6, End: true, State: pipeline.AttemptSucceeded},
	}
	f.add(r)
	c := newCommand(t, f)
	code, stdout, stderr := c.exec("logs", "r1")
	if code != 0 || stdout != "build | half a li\nbuild | again\n" || stderr != "build: attempt 2\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if _, stdout, _ = c.exec("logs", "r1", "build", "-attempt", "1", "-f"); stdout != "half a li" {
		t.Errorf("attempt 1: %q", stdout)
	}
	if _, stdout, _ = c.exec("logs", "r1", "build", "-attempt", "2", "-f"); stdout != "again\n" {
		t.Errorf("attempt 2: %q", stdout)
	}
}

func TestLogs_timestamps(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	r.events = []wire.LogEvent{
		{Module: "build", Attempt: 1, Text: "one\ntw", Time: *at(0)},
		{Module: "build", Attempt: 1, Offset: 6, Text: "o\nthree", Time: *at(1.5)},
		{Module: "build", Attempt: 1, Offset: 13, End: true, State: pipeline.AttemptSucceeded},
	}
	f.add(r)
	c := newCommand(t, f)
	stamp := func(seconds float64) string { return at(seconds).UTC().Format("2006-01-02T15:04:05.0Z") }
	want := fmt.Sprintf("build | %s one\nbuild | %[1]s two\nbuild | %s three\n", stamp(0), stamp(1.5))
	if code, stdout, stderr := c.exec("logs", "r1", "-timestamps"); code != 0 || stdout != want {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	want = strings.ReplaceAll(want, "build | ", "")
	if code, stdout, stderr := c.exec("logs", "r1", "build", "-t", "-f", "-tail", "5"); code != 0 || stdout != want {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if body := f.body("POST /api/v1/runs/r1/logs"); !strings.Contains(body, `"lines":5`) || !strings.Contains(body, `"times":true`) {
		t.Errorf("asked with %s", body)
	}
	for _, args := range [][]string{{"-tail", "0"}, {"-since", "yesterday"}, {"-since=-5m"}} {
		if code, _, stderr := c.exec(append([]string{"logs", "r1"}, args...)...); code != exitUsage || !strings.Contains(stderr, args[0][:5]) {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}

func TestSignals_terminate(t *testing.T) {
	f := newFakeCluster(t)
	f.add(live())
	c := newCommand(t, f)
	done := make(chan int)
	go func() {
		code, _, _ := c.exec("logs", "r1", "-f")
		done <- code
	}()
	f.waitAsked(t, "/logs")
	c.signal <- syscall.SIGTERM
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
}

// waitAsked waits until a request that contains text has come.
func (f *fakeCluster) waitAsked(tb testing.TB, text string) {
	tb.Helper()
	testutil.Eventually(tb, 20*time.Second, func() error {
		if asked := f.asked(); !strings.Contains(strings.Join(asked, " "), text) {
			return fmt.Errorf("no request contains %q: %q", text, asked)
		}

		return nil
	})
}
