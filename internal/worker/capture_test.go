package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// Why a process was ended comes before how it ended.
func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		st     executor.Status
		memory int64
		state  pipeline.AttemptState
		reason string
	}{
		"success":          {executor.Status{}, 0, pipeline.AttemptSucceeded, ""},
		"exit code":        {executor.Status{ExitCode: 3}, 0, pipeline.AttemptFailed, "exit code 3"},
		"signal":           {executor.Status{ExitCode: 137, Signal: "SIGKILL"}, 0, pipeline.AttemptFailed, "killed by SIGKILL"},
		"memory":           {executor.Status{ExitCode: 137, Signal: "SIGKILL", OutOfMemory: true}, 0, pipeline.AttemptFailed, "killed by SIGKILL: out of memory"},
		"memory, limited":  {executor.Status{ExitCode: 1, OutOfMemory: true}, 100, pipeline.AttemptFailed, "exit code 1: out of memory (resources: memory = 100 bytes)"},
		"memory, survived": {executor.Status{OutOfMemory: true}, 100, pipeline.AttemptSucceeded, ""},
		"hook":             {executor.Status{HookFailed: "hook after: exit code 1"}, 0, pipeline.AttemptFailed, "hook after: exit code 1"},
		"stopped":          {executor.Status{Stopped: true, Reason: "enough", Signal: "SIGTERM", ExitCode: 143}, 0, pipeline.AttemptCancelled, "enough"},
		"lapsed":           {executor.Status{Stopped: true, Lapsed: true, Reason: executor.ReasonLapsed, ExitCode: 143}, 0, pipeline.AttemptLost, executor.ReasonLapsed},
		"timed out":        {executor.Status{TimedOut: true, Reason: "timed out after 1s", Signal: "SIGKILL"}, 0, pipeline.AttemptTimedOut, "timed out after 1s"},
		"start failed":     {executor.Status{StartError: "not found", ExitCode: 127}, 0, pipeline.AttemptFailed, "not found"},
	} {
		var o pipeline.Outcome
		judge(tc.st, tc.memory, &o)
		if o.State != tc.state || o.Reason != tc.reason {
			t.Errorf("%s: %s, %q; want %s, %q", name, o.State, o.Reason, tc.state, tc.reason)
		}
		if started := tc.st.StartError == ""; started != (o.ExitCode != nil) || started && *o.ExitCode != tc.st.ExitCode {
			t.Errorf("%s: exit code %v", name, o.ExitCode)
		}
	}
}

// Log, result and outputs are in the outcome, and small ones travel with it.
func TestCapture(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Outputs, s.OutputsOptional = []string{"out/**"}, []string{"never"} }))
		r.write("a", "output.log", "said")
		r.write("a", "output.times", "T")
		r.write("a", "work/out/b", "bb")
		r.write("a", "work/out/a", "a")
		r.write("a", "work/other", "x")
		p, _ := r.runner.process("a")
		if err := os.WriteFile(p.Result, []byte("n=1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.end("a", 0)

		o := r.wants("a", pipeline.AttemptSucceeded, "")
		if o.LogSize != 4 || o.Log != blob.DigestOf([]byte("saidT")) || string(o.Result) != `{"n":"1"}` {
			t.Errorf("log of %d bytes %s, result %s", o.LogSize, o.Log, o.Result)
		}
		if o.OutputCount != 2 || o.OutputBytes != 3 || fmt.Sprint(o.OutputPaths) != "[out/a out/b]" {
			t.Errorf("outputs %d, %d bytes, %q", o.OutputCount, o.OutputBytes, o.OutputPaths)
		}
		if fmt.Sprint(o.Holders) != "[w1]" || len(r.copies) > 0 {
			t.Errorf("holders %v, copies %v", o.Holders, r.copies)
		}
		inline := r.leader.inline[id("a")]
		if len(inline) != 4 || string(inline[0]) != "saidT" {
			t.Errorf("%d blobs in the report, the first %q", len(inline), inline[0])
		}
	})
}

// Large blobs go to another node before the outcome is reported.
func TestCapture_large(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		large := make([]byte, 2*peer.MaxInlineBlob) // logs are compressed: it must not shrink
		rand.NewChaCha8([32]byte{}).Read(large)
		for _, module := range []string{"a", "b"} {
			to := "[w1 w2]"
			if module == "b" {
				to = "[w1]"
				r.w.lifecycle.capturer.copy = func(context.Context, []pipeline.Digest) pipeline.NodeID { return "" }
			}
			r.take(r.spec(module, nil))
			r.write(module, "output.log", string(large))
			r.end(module, 0)
			if o := r.wants(module, pipeline.AttemptSucceeded, ""); fmt.Sprint(o.Holders) != to || r.leader.inline[id(module)] != nil {
				t.Errorf("%s: holders %v, %d blobs in the report", module, o.Holders, len(r.leader.inline[id(module)]))
			}
		}
		if log := r.leader.committed("a").Log; len(r.copies) != 1 || len(r.copies[0]) != 1 || r.copies[0][0] != log {
			t.Errorf("copies %v", r.copies)
		}
	})
}

// What cannot be captured makes a success a failure, and leaves a failure as it
// is.
func TestCapture_failures(t *testing.T) {
	for name, tc := range map[string]struct {
		leave  func(r *rig, dir attemptdir.Dir) error
		reason string
	}{
		"log is a directory": {func(_ *rig, d attemptdir.Dir) error { return os.Mkdir(d.Log(), 0o755) }, "log: "},
		"result is no form":  {func(_ *rig, d attemptdir.Dir) error { return os.WriteFile(d.Result(), []byte("x"), 0o600) }, "$PIPELINED_OUTPUT: result: line 1"},
		"result is a pipe":   {func(_ *rig, d attemptdir.Dir) error { return syscall.Mkfifo(d.Result(), 0o600) }, "$PIPELINED_OUTPUT: result: $PIPELINED_OUTPUT is no longer a regular file"},
		"no output":          {func(*rig, attemptdir.Dir) error { return nil }, "no file matches outputs out; the module left no new or changed file in its directory"},
		"work is gone":       {func(_ *rig, d attemptdir.Dir) error { return os.RemoveAll(d.Work()) }, "outputs: "},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, nil, func(t *testing.T, r *rig) {
				for module, code := range map[string]int{"good": 0, "bad": 3} {
					r.take(r.spec(module, func(s *pipeline.Spec) { s.Outputs = []string{"out"} }))
					if err := tc.leave(r, attemptDir(r.cfg.WorkDir, id(module))); err != nil {
						t.Fatal(err)
					}
					r.end(module, code)
				}
				r.wants("good", pipeline.AttemptFailed, tc.reason)
				r.wants("bad", pipeline.AttemptFailed, "exit code 3")
			})
		})
	}
}

// A reason for missing outputs names the files that are there instead.
func TestCapture_otherFiles(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Outputs, s.WorkingDir = []string{"report.txt", "./dist/**"}, "web" }))
		r.write("a", "work/web/dist/index.html", "x")
		r.write("a", "work/report.text", "x")
		r.end("a", 0)
		r.wants("a", pipeline.AttemptFailed, "no file matches outputs report.txt, ./dist/**; paths of outputs do not begin in working_dir: write \"web/dist/**\";"+
			" the module left report.text, web/dist/index.html")

		r.take(r.spec("b", func(s *pipeline.Spec) { s.Outputs = []string{"dist"} }))
		for i := range 12 {
			r.write("b", fmt.Sprintf("work/%02d", i), "x")
		}
		r.end("b", 0)
		r.wants("b", pipeline.AttemptFailed, "no file matches outputs dist; the module left 00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and more")
	})
}

// On a full disk the attempt is lost, so that it is repeated on another node, and
// this node learns it before the next one comes.
func TestCapture_fullDisk(t *testing.T) {
	looked := 0
	inRig(t, func(r *rig) { r.openBlobs(1 << 60); r.cfg.Filled = func() { looked++ } }, func(t *testing.T, r *rig) {
		r.take(r.spec("log", nil), r.spec("outputs", func(s *pipeline.Spec) { s.Outputs = []string{"out"} }))
		r.write("log", "output.log", "said")
		r.write("outputs", "work/out", "made")
		r.end("log", 0)
		r.end("outputs", 3)
		r.wants("log", pipeline.AttemptLost, "log: ")
		r.wants("outputs", pipeline.AttemptLost, "outputs: ")
		if looked != 2 {
			t.Errorf("looked at the disk %d times", looked)
		}
	})
}

// A result that the runner could not keep is no empty result.
func TestCapture_lostResult(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for module, code := range map[string]int{"good": 0, "bad": 3} {
			r.take(r.spec(module, nil))
			r.runner.exit(module, func(end *executor.Status) { end.ExitCode, end.ResultError = code, "its directory was removed" })
			r.quiesce()
		}
		r.wants("good", pipeline.AttemptFailed, "$PIPELINED_OUTPUT: its directory was removed")
		r.wants("bad", pipeline.AttemptFailed, "exit code 3")
	})
}

// A result that this machine cannot read at the moment is no mistake of the module.
func TestCapture_resultWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked := 0
		c := &capturer{faults: &faults{filled: func() { looked++ }, log: hclog.NewNullLogger()}}
		a := &attempt{dir: attemptdir.Dir(t.TempDir())}
		if err := os.WriteFile(a.dir.Result(), []byte("n=1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer a.dir.RemoveFromMemory()

		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		none := was
		none.Cur = 3
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		o := &pipeline.Outcome{State: pipeline.AttemptSucceeded}
		c.keepResult(t.Context(), a, "", o)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if o.State != pipeline.AttemptLost || !strings.Contains(o.Reason, "too many open files") || looked != 1 {
			t.Errorf("%s: %q, looked %d times", o.State, o.Reason, looked)
		}

		o = &pipeline.Outcome{State: pipeline.AttemptSucceeded}
		c.keepResult(t.Context(), a, "", o)
		if o.State != pipeline.AttemptSucceeded || string(o.Result) != `{"n":"1"}` {
			t.Errorf("with descriptors again: %s, %q, result %s", o.State, o.Reason, o.Result)
		}
	})
}

// The result of a process that was ended early counts for nothing.
func TestCapture_resultOfStopped(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		for module, st := range map[string]executor.Status{"failed": {ExitCode: 1}, "stopped": {Stopped: true, Reason: "enough"}} {
			r.take(r.spec(module, nil))
			p, _ := r.runner.process(module)
			if err := os.WriteFile(p.Result, []byte("n=1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r.runner.exit(module, func(end *executor.Status) { end.ExitCode, end.Stopped, end.Reason = st.ExitCode, st.Stopped, st.Reason })
			r.quiesce()
		}
		if o := r.wants("failed", pipeline.AttemptFailed, "exit code 1"); string(o.Result) != `{"n":"1"}` {
			t.Errorf("failed: result %s", o.Result)
		}
		if o := r.wants("stopped", pipeline.AttemptCancelled, "enough"); o.Result != nil {
			t.Errorf("stopped: result %s", o.Result)
		}
	})
}

// The paths in an outcome are bounded in number and in bytes; the counts are not.
func TestListOutputs(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for _, n := range []int{3, 5000} {
		for _, prefix := range []string{"f", long} {
			var tree tree.Tree
			for i := range n {
				tree = append(tree, pipeline.TreeEntry{Path: fmt.Sprint(prefix, i), Size: 2})
			}
			tree = append(tree, pipeline.TreeEntry{Path: "z", Dir: true})
			var o pipeline.Outcome
			listOutputs(&o, tree)

			size := 0
			for _, p := range o.OutputPaths {
				size += len(p)
			}
			if o.OutputCount != n || o.OutputBytes != int64(2*n) || size > maxListedPaths || len(o.OutputPaths) > pipeline.MaxOutputPaths || len(o.OutputPaths) < 3 {
				t.Errorf("%d of %d bytes: count %d, %d bytes, %d paths of %d bytes", n, len(prefix), o.OutputCount, o.OutputBytes, len(o.OutputPaths), size)
			}
		}
	}
}
