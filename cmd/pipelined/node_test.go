package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// fakeNode is a node whose API is the fake cluster's.
type fakeNode struct {
	f     *fakeCluster
	load  int
	fail  error         // what Run ends with, at once
	hangs chan struct{} // Run does not end before this is closed; may be nil
	ready chan struct{}
	once  sync.Once

	mu sync.Mutex
	// guards following
	ran, ended bool
}

func newFakeNode(f *fakeCluster) *fakeNode { return &fakeNode{f: f, ready: make(chan struct{})} }

func (n *fakeNode) Run(ctx context.Context) error {
	n.mu.Lock()
	n.ran = true
	n.mu.Unlock()
	if n.fail != nil {
		return n.fail
	}
	n.once.Do(func() { close(n.ready) })
	<-ctx.Done()
	if n.hangs != nil {
		<-n.hangs
	}
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	return nil
}

func (n *fakeNode) state() (ran, ended bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ran, n.ended
}

func (n *fakeNode) Ready() <-chan struct{}   { return n.ready }
func (n *fakeNode) HTTPAddr() string         { return n.f.address() }
func (n *fakeNode) HTTPS() bool              { return false }
func (n *fakeNode) Name() string             { return "node-1" }
func (n *fakeNode) Load(context.Context) int { return n.load }
func (n *fakeNode) Client(string) (*client.Client, error) {
	return client.New(client.Config{Addresses: []string{n.f.URL}, Token: "own"})
}

// withNode makes the command line open n.
func (c *command) withNode(n *fakeNode, configs *[]nodeConfig) {
	c.open = func(_ context.Context, cfg nodeConfig) (clusterNode, error) {
		if configs != nil {
			*configs = append(*configs, cfg)
		}
		return n, nil
	}
}

func TestRun(t *testing.T) {
	for state, want := range map[pipeline.RunState]int{pipeline.RunSucceeded: 0, pipeline.RunFailed: 1, pipeline.RunCancelled: 3} {
		f := newFakeCluster(t)
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return finished("r1", state) }
		n := newFakeNode(f)
		c := newCommand(t, nil)
		c.env["PIPELINED_KEY"] = keys.Format(make([]byte, keys.Size)) // of a cluster
		var configs []nodeConfig
		c.withNode(n, &configs)
		code, stdout, stderr := c.exec("run", write(t, t.TempDir(), "p.hcl", hello), "-var=who=x", "-max-parallel", "3", "-module-env", "A,B", "-module-env=C")
		if code != want || stdout != wantOutput || !strings.Contains(stderr, "run r1 "+string(state)) {
			t.Errorf("%s: exit %d, want %d\n%s%s", state, code, want, stdout, stderr)
		}
		if ran, ended := n.state(); !ran || !ended {
			t.Errorf("%s: the node ran %v, ended %v", state, ran, ended)
		}
		cfg := configs[0]
		if !cfg.Embedded || !cfg.OwnKey || cfg.Key != nil || cfg.KeyFile != "" || cfg.Mode != pipeline.ModeStandalone || cfg.HTTPPort != 0 || cfg.Slots != 3 || strings.Join(cfg.ModuleEnv, " ") != "A B C" || cfg.DataDir != storage.DefaultRunDir() {
			t.Errorf("%s: %+v", state, cfg)
		}
	}
}

// TestRun_invalid wants no node for a pipeline with mistakes.
func TestRun_invalid(t *testing.T) {
	c := newCommand(t, nil)
	if code, _, stderr := c.exec("run", write(t, t.TempDir(), "p.hcl", "pipeline {}")); code != exitUsage || !strings.Contains(stderr, "invalid pipeline") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"-log-level", "x"}, {"-max-parallel", "-1"}, {"-max-parallel", "0"}} {
		if code, _, stderr := c.exec(append([]string{"run", "x.hcl"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit %d, %s", args, code, stderr)
		}
	}
}

// TestRun_locked wants a directory of its own where another run has the shared one.
func TestRun_locked(t *testing.T) {
	f := newFakeCluster(t)
	f.onSubmit = func(wire.SubmitRequest) *fakeRun { return finished("r1", pipeline.RunSucceeded) }
	n := newFakeNode(f)
	c := newCommand(t, nil)
	var dir string
	c.open = func(_ context.Context, cfg nodeConfig) (clusterNode, error) {
		if cfg.DataDir == storage.DefaultRunDir() {
			return nil, &storage.LockedError{Path: cfg.DataDir, PID: 4711}
		}
		dir = cfg.DataDir
		return n, nil
	}
	file := write(t, t.TempDir(), "p.hcl", hello)
	code, _, stderr := c.exec("run", file, "-var=who=x")
	if code != 0 || !strings.Contains(stderr, "another run is active (process 4711): this one is not stored\n") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(dir); dir == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory %q: %v", dir, err)
	}
	// A directory that was asked for is not replaced.
	c.open = func(_ context.Context, cfg nodeConfig) (clusterNode, error) {
		return nil, &storage.LockedError{Path: cfg.DataDir, PID: 4711}
	}
	if code, _, stderr = c.exec("run", file, "-var=who=x", "-data-dir", t.TempDir()); code != exitFailed || !strings.Contains(stderr, "4711") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestRun_unread: a run whose output cannot be written is cancelled, once, and the
// node lives until it has ended.
func TestRun_unread(t *testing.T) {
	for broken, want := range map[error]string{syscall.EPIPE: "", syscall.ENOSPC: "pipelined: run r1 was cancelled: write output: no space left on device\n"} {
		f := newFakeCluster(t)
		r := live()
		r.events = []wire.LogEvent{{Module: "build", Attempt: 1, Text: "x\n"}}
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return r }
		c := newCommand(t, nil)
		c.withNode(newFakeNode(f), nil)
		c.stdout = terminal.NewStream(brokenWriter{broken})
		if code, _, stderr := c.exec("run", write(t, t.TempDir(), "p.hcl", hello), "-var=who=x", "-quiet"); code != exitCancelled || stderr != want {
			t.Errorf("%v: exit %d, %q", broken, code, stderr)
		}
		if n := strings.Count(strings.Join(f.asked(), " "), "/r1/cancel"); n != 1 {
			t.Errorf("%v: %d cancellations", broken, n)
		}
	}
}

func TestRun_nodeFails(t *testing.T) {
	f := newFakeCluster(t)
	n := newFakeNode(f)
	n.fail = errors.New("no disk")
	c := newCommand(t, nil)
	c.withNode(n, nil)
	if code, _, stderr := c.exec("run", write(t, t.TempDir(), "p.hcl", hello), "-var=who=x"); code != exitFailed || stderr != "pipelined: no disk\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// TestRun_interrupted: the first Ctrl-C cancels, the second kills. Signals at the same
// moment are one, and a terminal that goes away kills nothing.
func TestRun_interrupted(t *testing.T) {
	for _, second := range []bool{false, true} {
		f := newFakeCluster(t)
		f.onSubmit = func(wire.SubmitRequest) *fakeRun { return live() }
		if second {
			// Cancelling takes for ever.
			f.refuse["POST /api/v1/runs/r1/cancel"] = wire.Problem{Status: 409, Kind: "conflict", Detail: "later"}
		}
		n := newFakeNode(f)
		c := newCommand(t, nil)
		c.withNode(n, nil)
		var later atomic.Int64
		c.now = func() time.Time { return start.Add(time.Duration(later.Load())) }
		done := make(chan string)
		file := write(t, t.TempDir(), "p.hcl", hello)
		go func() {
			code, _, stderr := c.exec("run", file, "-var=who=x")
			if code != exitInterrupted {
				t.Errorf("exit %d", code)
			}
			done <- stderr
		}()
		f.waitAsked(t, "GET /api/v1/runs/r1")
		c.signal <- os.Interrupt
		want := "pipelined: interrupted\n"
		if second {
			f.waitAsked(t, "cancel")
			c.signal <- syscall.SIGTERM
			testutil.Eventually(t, 10*time.Second, func() error {
				if len(c.signal) > 0 {
					return errors.New("the second signal was not read")
				}
				return nil
			})
			later.Store(int64(oneInterrupt))
			c.signal <- syscall.SIGHUP
			c.signal <- os.Interrupt
			want = "pipelined: killed\n"
		}
		if stderr := <-done; !strings.HasSuffix(stderr, want) || !strings.Contains(stderr, "cancelling the run; Ctrl-C again kills it\n") {
			t.Errorf("%q", stderr)
		}
		if _, ended := n.state(); !ended {
			t.Error("the node was left behind")
		}
	}
}

// TestRunFollower_signal: what comes within a moment of the first signal is the same
// wish, and neither a HUP nor the time limit ever kills.
func TestRunFollower_signal(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second os.Signal
		after  time.Duration
		killed bool
	}{
		{"at once", syscall.SIGTERM, 0, false},
		{"a moment later", os.Interrupt, oneInterrupt - 1, false},
		{"later", os.Interrupt, oneInterrupt, true},
		{"terminal gone", syscall.SIGHUP, time.Hour, false},
		{"timed out", syscall.SIGALRM, time.Hour, false},
	} {
		f := newFakeCluster(t)
		f.add(live())
		c := newCommand(t, f)
		now := start
		c.now = func() time.Time { return now }
		api, err := newFakeNode(f).Client("")
		if err != nil {
			t.Fatal(err)
		}
		r := &runFollower{env: c.environment, api: api, id: "r1"}
		if err := r.signal(t.Context(), syscall.SIGTERM, nil); err != nil {
			t.Fatal(err)
		}
		now = now.Add(tc.after)
		if err := r.signal(t.Context(), tc.second, errTimedOut); errors.Is(err, errKilled) != tc.killed {
			t.Errorf("%s: %v", tc.name, err)
		}
		if n := strings.Count(strings.Join(f.asked(), " "), "/cancel"); n != 1 {
			t.Errorf("%s: %d cancellations", tc.name, n)
		}
	}
}

// TestRun_timeout cancels the run and exits with the code of -timeout.
func TestRun_timeout(t *testing.T) {
	f := newFakeCluster(t)
	f.onSubmit = func(wire.SubmitRequest) *fakeRun { return live() }
	c := newCommand(t, nil)
	c.withNode(newFakeNode(f), nil)
	code, _, stderr := c.exec("run", write(t, t.TempDir(), "p.hcl", hello), "-var=who=x", "-timeout", "500ms")
	if code != exitTimeout || !strings.Contains(stderr, "cancelling the run") || !strings.HasPrefix(f.body("POST /api/v1/runs/r1/cancel"), `{"reason":"timed out",`) {
		t.Errorf("exit %d, %q, %s", code, stderr, f.body("POST /api/v1/runs/r1/cancel"))
	}
}

func TestAgent(t *testing.T) {
	for _, tc := range []struct {
		name     string
		args     []string
		load     int
		signal   os.Signal
		terminal bool
		want     string
	}{
		{"terminate", nil, 2, syscall.SIGTERM, true, ""},
		{"not on a terminal", nil, 2, os.Interrupt, false, ""},
		{"idle", nil, 0, os.Interrupt, true, "stopping; no module is running here\n"},
		{"busy", nil, 2, os.Interrupt, true, "stopping; 2 modules are running and will continue;"},
		{"drain", []string{"-drain-on-stop"}, 1, os.Interrupt, true, "stopping after the running modules: 1 module is running (-drain-on-stop)"},
		{"dev", []string{"-dev"}, 1, os.Interrupt, true, "1 module is running and will be stopped (-dev)"},
	} {
		f := newFakeCluster(t)
		n := newFakeNode(f)
		n.load = tc.load
		c := newCommand(t, nil)
		c.withNode(n, nil)
		c.stderr.Terminal = tc.terminal
		type result struct {
			code   int
			stderr string
		}
		done := make(chan result)
		go func() {
			code, _, stderr := c.exec(append([]string{"agent"}, tc.args...)...)
			done <- result{code, stderr}
		}()
		<-c.listens
		<-n.ready
		c.signal <- tc.signal
		got := <-done
		if got.code != 0 || tc.want == "" && strings.Contains(got.stderr, "stopping") || !strings.Contains(got.stderr, tc.want) {
			t.Errorf("%s: exit %d, %q, want %q", tc.name, got.code, got.stderr, tc.want)
		}
		if !strings.Contains(got.stderr, "ready") && tc.name == "busy" {
			t.Errorf("%s: no ready line: %q", tc.name, got.stderr)
		}
	}
}

// TestAgent_secondSignal ends at once, whatever the node still does.
func TestAgent_secondSignal(t *testing.T) {
	n := newFakeNode(newFakeCluster(t))
	n.hangs = make(chan struct{})
	defer close(n.hangs)
	c := newCommand(t, nil)
	c.withNode(n, nil)
	done := make(chan int)
	go func() {
		code, _, _ := c.exec("agent")
		done <- code
	}()
	<-c.listens
	c.signal <- syscall.SIGTERM
	c.signal <- syscall.SIGTERM
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
}

func TestAgent_fails(t *testing.T) {
	n := newFakeNode(newFakeCluster(t))
	n.fail = errors.New("raft: no disk")
	c := newCommand(t, nil)
	c.withNode(n, nil)
	if code, _, stderr := c.exec("agent"); code != exitFailed || stderr != "pipelined: raft: no disk\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	c.open = func(context.Context, nodeConfig) (clusterNode, error) {
		return nil, &storage.LockedError{Path: "/data", PID: 12, Command: "pipelined agent"}
	}
	if code, _, stderr := c.exec("agent"); code != exitFailed || !strings.Contains(stderr, "process 12 (pipelined agent)") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// TestAgent_systemd is told when the node can serve and when it stops.
func TestAgent_systemd(t *testing.T) {
	dir, err := os.MkdirTemp("", "n") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	told := func() string {
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		if err != nil {
			t.Error(err)
		}
		return string(buf[:n])
	}
	c := newCommand(t, nil)
	c.env["NOTIFY_SOCKET"] = socket.Name
	c.withNode(newFakeNode(newFakeCluster(t)), nil)
	data := t.TempDir()
	write(t, data, "agent.json", `{"pid":1,"http":"h:1","peer":"h:2","gossip":"h:3"}`)
	done := make(chan string)
	go func() {
		_, _, stderr := c.exec("agent", "-data-dir", data)
		done <- stderr
	}()
	if got := told(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	c.signal <- syscall.SIGTERM
	if got := told(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}
	if stderr := <-done; !strings.Contains(stderr, "peer=h:2 gossip=h:3") {
		t.Errorf("the ready line: %q", stderr)
	}
}
