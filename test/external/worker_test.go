package external

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

const script = "../../examples/external-worker/worker.py"

// worker is a running worker.py.
type worker struct{ url string }

// startWorker starts worker.py with the given nodes and waits until it is
// registered and serves.
func startWorker(t *testing.T, c *fakeCluster, nodes ...string) *worker {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is not here; the example of an external worker needs it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var out safeBuffer
	cmd := exec.Command(python, append([]string{script, "--bind", addr, "--name", "snake", "--tag", "a", "--tag", "b", "--slots", "3"}, nodes...)...)
	cmd.Env = append(os.Environ(), "PIPELINED_TOKEN="+token)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the worker said:\n%s", out.String())
		}
	})
	w := &worker{url: "http://" + addr}
	testutil.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.registered) == 0 {
			return errors.New("it has not registered")
		}
		return nil
	})
	// The secret counts from when the worker has read the answer.
	testutil.Eventually(t, 10*time.Second, func() error {
		var s wire.Success
		if code := post(t, w.url+"/api/execution/cancel", secret, wire.CancelExecution{ExecutionID: "none"}, &s); code != http.StatusNotFound || s.Success {
			return fmt.Errorf("cancel of nothing: %d, %+v", code, s)
		}
		return nil
	})
	return w
}

// safeBuffer is a buffer that two goroutines may use.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// execute sends a module to the worker and wants it taken.
func (w *worker) execute(t *testing.T, id string, m wire.SerializedModule, env map[string]string) {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.ExecuteResponse
	code := post(t, w.url+"/api/execution/execute", secret, wire.ExecuteRequest{ExecutionID: id, SerializedModule: raw,
		ModuleTypeName: m.Name, EnvironmentVariables: env, Timestamp: time.Now()}, &got)
	if code != http.StatusAccepted || got.ExecutionID != id || got.WorkerID != "ext-snake" {
		t.Fatalf("execute: %d, %+v", code, got)
	}
}

func TestWorker_fitsIntoItsPromise(t *testing.T) {
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(lines(string(b))); n > 120 {
		t.Errorf("worker.py has %d lines, 120 are promised", n)
	}
}

func TestWorker_registers(t *testing.T) {
	c := newFakeCluster(t)
	// The first two addresses are dead: it goes on to the third.
	w := startWorker(t, c, "http://127.0.0.1:1", "http://127.0.0.1:2", c.srv.URL)
	c.mu.Lock()
	got := c.registered[0]
	c.forget = true
	c.mu.Unlock()
	want := wire.WorkerNode{ID: "snake", Name: "snake", Endpoint: w.url, Status: pipeline.WorkerOnline,
		Capabilities: pipeline.Capabilities{OS: "linux", InstalledTools: []string{"sh", "python3"}, MaxParallelModules: 3, Tags: []string{"a", "b"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	resp, err := http.Get(w.url + "/api/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
	testutil.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.registered) < 2 || c.beats < 2 {
			return fmt.Errorf("%d registrations and %d heartbeats; a worker that was forgotten registers again", len(c.registered), c.beats)
		}
		return nil
	})
}

func TestWorker_executes(t *testing.T) {
	c := newFakeCluster(t)
	w := startWorker(t, c, c.srv.URL)
	c.mu.Lock()
	c.refuse = 3 // it must tell the result until it is committed
	c.mu.Unlock()
	inputs := c.tree(t,
		pipeline.TreeEntry{Path: "bin/tool", Mode: 0o755, Digest: c.put([]byte("#!/bin/sh\necho from the tool\n"))},
		pipeline.TreeEntry{Path: "empty", Mode: 0o755, Dir: true},
		pipeline.TreeEntry{Path: "text", Mode: 0o644, Digest: c.put([]byte("words\n"))})
	w.execute(t, "e1", wire.SerializedModule{Name: "m", Inputs: inputs, Outputs: []string{"out/**", "t?xt"}, Script: `
		echo "greeting is $GREETING"; echo err >&2
		./bin/tool; test -d empty
		test -z "${PIPELINED_TOKEN:-}"
		test "$PIPELINED_WORKSPACE" = "$PWD"; test "$PIPELINED_WORKER" = snake
		mkdir -p out/deep; cp text out/deep/copy; echo x > out/.hidden; chmod 700 out/.hidden
		echo "one=a=b c" >> "$PIPELINED_OUTPUT"
		printf 'many<<END\nl1\nl2\nEND\n' >> "$PIPELINED_OUTPUT"`}, map[string]string{"GREETING": "hello"})
	w.execute(t, "e1", wire.SerializedModule{Name: "m", Script: "exit 9"}, nil) // the same id again starts nothing

	got, inner := c.waitResult(t, "e1")
	if !got.Success || got.WorkerID != "ext-snake" || got.ErrorMessage != "" || got.StartTime.IsZero() || got.EndTime.Before(got.StartTime) {
		t.Errorf("result: %+v", got)
	}
	if inner.ExitCode == nil || *inner.ExitCode != 0 {
		t.Errorf("exit code: %v", inner.ExitCode)
	}
	if want, got := "greeting is hello\nerr\nfrom the tool\n", c.blob(inner.Log); got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	var results map[string]string
	if err := json.Unmarshal(inner.Result, &results); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"one": "a=b c", "many": "l1\nl2"}, results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	var tree []pipeline.TreeEntry
	if err := json.Unmarshal([]byte(c.blob(inner.Outputs)), &tree); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range tree {
		found = append(found, fmt.Sprintf("%s %o %q", e.Path, e.Mode, c.blob(e.Digest)))
	}
	if diff := cmp.Diff([]string{`out/.hidden 700 "x\n"`, `out/deep/copy 644 "words\n"`, `text 644 "words\n"`}, found); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

func TestWorker_refuses(t *testing.T) {
	c := newFakeCluster(t)
	w := startWorker(t, c, c.srv.URL)
	var s wire.Success
	for _, bearer := range []string{"", "wrong", token} {
		if code := post(t, w.url+"/api/execution/execute", bearer, wire.ExecuteRequest{ExecutionID: "x"}, &s); code != http.StatusUnauthorized {
			t.Errorf("with bearer %q: %d", bearer, code)
		}
	}
	if line := statusOf(t, w, 16<<20+1); !strings.Contains(line, " 413 ") {
		t.Errorf("a body that is too long: %q", line)
	}
	outside := filepath.Join(t.TempDir(), "escaped")
	evil := c.put([]byte("evil"))
	for i, e := range []pipeline.TreeEntry{
		{Path: "../escaped", Mode: 0o644, Digest: evil},
		{Path: outside, Mode: 0o644, Digest: evil},
		{Path: "a/../../escaped", Mode: 0o644, Digest: evil},
		{Path: "link", Mode: 0o777, Link: outside},
	} {
		id := fmt.Sprint("evil", i)
		w.execute(t, id, wire.SerializedModule{Name: "m", Command: []string{"true"}, Inputs: c.tree(t, e)}, nil)
		if got, _ := c.waitResult(t, id); got.Success || got.ErrorMessage == "" {
			t.Errorf("%s: taken: %+v", e.Path, got)
		}
	}
	if _, err := os.Lstat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written outside of the directory: %v", err)
	}
	// A blob with other bytes than its name says.
	d := c.put([]byte("true"))
	c.mu.Lock()
	c.blobs[string(d)] = []byte("false")
	c.mu.Unlock()
	w.execute(t, "damaged", wire.SerializedModule{Name: "m", Command: []string{"true"}, Inputs: c.tree(t, pipeline.TreeEntry{Path: "f", Mode: 0o644, Digest: d})}, nil)
	if got, _ := c.waitResult(t, "damaged"); got.Success || !strings.Contains(got.ErrorMessage, "damaged") {
		t.Errorf("damaged: %+v", got)
	}
}

// statusOf announces a body of a length and gives the first line of the answer.
func statusOf(t *testing.T, w *worker, length int) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(w.url, "http://"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/execution/execute HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", secret, length)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestWorker_failures(t *testing.T) {
	c := newFakeCluster(t)
	w := startWorker(t, c, c.srv.URL)
	for _, tc := range []struct {
		id   string
		m    wire.SerializedModule
		want string
		code int
	}{
		{"big", wire.SerializedModule{Script: `head -c 70000 /dev/zero | tr "\\0" x > "$PIPELINED_OUTPUT"`}, "64 KiB", 0},
		{"exit", wire.SerializedModule{Script: "echo why; exit 7"}, "exit code 7", 7},
		{"slow", wire.SerializedModule{Command: []string{"sleep", "60"}, Timeout: wire.Clock(300 * time.Millisecond)}, "TimedOut", -15},
		{"glob", wire.SerializedModule{Command: []string{"true"}, Outputs: []string{"none/*"}}, "matches no file", 0},
		{"command", wire.SerializedModule{Command: []string{"/no/such/command"}}, "No such file", -999},
		{"interpreter", wire.SerializedModule{Script: "#!/usr/bin/env python3\nimport sys\nsys.exit(3)"}, "exit code 3", 3},
	} {
		tc.m.Name = "m"
		w.execute(t, tc.id, tc.m, nil)
		got, inner := c.waitResult(t, tc.id)
		if got.Success || !strings.Contains(got.ErrorMessage, tc.want) || got.ExceptionType == "" {
			t.Errorf("%s: %+v, want %q", tc.id, got, tc.want)
		}
		if tc.code != -999 && (inner.ExitCode == nil || *inner.ExitCode != tc.code) {
			t.Errorf("%s: exit code %v, want %d", tc.id, inner.ExitCode, tc.code)
		}
	}
}

// TestWorker_cancels wants the grandchildren gone too.
func TestWorker_cancels(t *testing.T) {
	c := newFakeCluster(t)
	w := startWorker(t, c, c.srv.URL)
	file := filepath.Join(t.TempDir(), "pid")
	w.execute(t, "long", wire.SerializedModule{Name: "m", Grace: wire.Clock(200 * time.Millisecond),
		Script: `trap '' TERM; sh -c 'trap "" TERM; echo $$ > "$FILE.new"; mv "$FILE.new" "$FILE"; while :; do sleep 1; done' & wait`}, map[string]string{"FILE": file})
	var pid int
	testutil.Eventually(t, 20*time.Second, func() error {
		b, err := os.ReadFile(file)
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		return err
	})
	var s wire.Success
	if code := post(t, w.url+"/api/execution/cancel", secret, wire.CancelExecution{ExecutionID: "long", Reason: "enough"}, &s); code != http.StatusOK || !s.Success {
		t.Fatalf("cancel: %d, %+v", code, s)
	}
	if got, _ := c.waitResult(t, "long"); got.Success || got.ExceptionType != "Cancelled" {
		t.Errorf("result: %+v", got)
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if err := syscall.Kill(pid, 0); err == nil {
			// A zombie still has its number until whoever inherited it looks.
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
				return fmt.Errorf("process %d still runs", pid)
			}
		}
		return nil
	})
}
