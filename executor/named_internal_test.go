//go:build linux

package executor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namedEngine is an engine with the named hierarchy alone; the test is skipped
// where that cannot be mounted. Its cookie is of no use: the modules clear it.
func namedEngine(t *testing.T, dataDir string, exits chan Status) *engine {
	t.Helper()
	root, err := mountNamed()
	if err != nil {
		t.Skipf("needs a named hierarchy of control groups of version 1: %v", err)
	}
	root.Close()
	e, err := openEngine(Config{DataDir: dataDir, namedOnly: true}.withDefaults(), engineOptions{publish: func(batch []Status) {
		for _, st := range batch {
			exits <- st
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e.groups == nil || e.groups.named == nil {
		t.Fatal("the hierarchy is not used")
	}
	return e
}

func namedModule(t *testing.T, id, script string) (p Process) {
	t.Helper()
	dir := t.TempDir() + "/a"
	if err := os.MkdirAll(dir+"/work", 0o755); err != nil {
		t.Fatal(err)
	}
	return Process{ID: id, Dir: dir, WorkDir: dir + "/work", Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "DIR=" + dir}}
}

func waitExit(t *testing.T, exits chan Status) Status {
	t.Helper()
	select {
	case st := <-exits:
		return st
	case <-time.After(20 * time.Second):
		t.Fatal("no exit")
	}
	return Status{}
}

func waitPID(t *testing.T, file string) procInfo {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(2 * time.Millisecond) {
		b, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && strings.HasSuffix(string(b), "\n") {
			p, _ := readProc(pid)
			return p
		}
	}
	t.Fatalf("nobody wrote %s", file)
	return procInfo{}
}

func mustBeGone(t *testing.T, p procInfo) {
	t.Helper()
	if now, ok := readProc(p.pid); ok && now.start == p.start && !now.zombie {
		t.Errorf("process %d is alive", p.pid)
	}
}

// hider leaves its session, its environment and its parents behind.
const hider = `env -i setsid sh -c 'sh -c "trap \"\" TERM; echo \$\$ >'$DIR'/hidden; while :; do sleep 0.05; done" &' ; `

func TestNamed(t *testing.T) {
	exits := make(chan Status, 64)
	e := namedEngine(t, t.TempDir(), exits)
	defer func() {
		if err := e.close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	// Many, to use groups again, and to fork beside each other.
	for i := range 40 {
		if err := e.start([]Process{namedModule(t, fmt.Sprint("quick", i), "exit 3")}); err != nil {
			t.Fatal(err)
		}
	}
	for range 40 {
		if st := waitExit(t, exits); st.ExitCode != 3 || st.StartError != "" {
			t.Errorf("%+v", st)
		}
	}
	ends := namedModule(t, "ends", hider+"while [ ! -e $DIR/hidden ]; do sleep 0.01; done")
	if err := e.start([]Process{ends}); err != nil {
		t.Fatal(err)
	}
	hidden := waitPID(t, ends.Dir+"/hidden")
	if st := waitExit(t, exits); st.Leftover == 0 || st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
	mustBeGone(t, hidden)
	stopped := namedModule(t, "stopped", hider+"sleep 1000")
	if err := e.start([]Process{stopped}); err != nil {
		t.Fatal(err)
	}
	hidden = waitPID(t, stopped.Dir+"/hidden")
	if err := e.stop("stopped", "enough", 0); err != nil {
		t.Fatal(err)
	}
	if st := waitExit(t, exits); !st.Stopped || st.Signal != "SIGKILL" {
		t.Errorf("%+v", st)
	}
	mustBeGone(t, hidden)
	// No thread of ours has stayed in a group.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/cgroup")
		if strings.Contains(string(b), "pipelined-"+e.identity.mark) {
			t.Errorf("thread %s is in %s", task.Name(), b)
		}
	}
}

// TestNamed_sweep leaves an engine as if it had been killed.
func TestNamed_sweep(t *testing.T) {
	dataDir := t.TempDir()
	exits := make(chan Status, 64)
	first := namedEngine(t, dataDir, exits)
	m := namedModule(t, "m", hider+"sleep 1000")
	if err := first.start([]Process{m}); err != nil {
		t.Fatal(err)
	}
	hidden := waitPID(t, m.Dir+"/hidden")
	main, _ := readProc(first.list()[0].PID)
	second := namedEngine(t, dataDir, exits)
	mustBeGone(t, hidden)
	mustBeGone(t, main)
	if st := waitExit(t, exits); st.Signal != unix.SignalName(unix.SIGKILL) {
		t.Errorf("%+v", st)
	}
	for _, e := range []*engine{first, second} {
		if err := e.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
