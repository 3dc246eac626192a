//go:build linux

package executor

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestParseStat(t *testing.T) {
	const tail = " S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 2 18446744073709551615"
	for _, name := range []string{"(sh)", "(a b)", "() S 1 2 3)", "(\n)"} {
		p, ok := parseStat(42, []byte("42 "+name+tail))
		if !ok || p != (procInfo{pid: 42, ppid: 7, pgrp: 8, sid: 9, start: 123456}) {
			t.Errorf("%q: %+v, %v", name, p, ok)
		}
	}
	for _, text := range []string{"", "42", "42 (sh", "42 (sh) S 1 2", "42 (sh) S x y z 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1"} {
		if p, ok := parseStat(42, []byte(text)); ok {
			t.Errorf("%q: %+v", text, p)
		}
	}
	if p, ok := readProc(os.Getpid()); !ok || p.ppid != os.Getppid() || p.zombie {
		t.Errorf("own: %+v, %v", p, ok)
	}
}

func TestHasCookie(t *testing.T) {
	for _, tc := range []struct {
		cookie, mark string
		has          bool
	}{
		{"d.i.1", "d.i.1", true}, {"o.j.9 d.i.1", "d.i.1", true}, {"d.i.1 o.j.9", "d.i.1", true},
		{"d.i.15", "d.i.1", false}, {"", "d.i.1", false}, {"xd.i.1", "d.i.1", false},
	} {
		if got := hasCookie(tc.cookie, tc.mark); got != tc.has {
			t.Errorf("%q has %q: %v", tc.cookie, tc.mark, got)
		}
	}
	if !hasCookieOf("o.j.9 d.i.15", "d") || hasCookieOf("dd.i.15", "d") {
		t.Error("mark of a data dir")
	}
}

// TestSweepTree_reusedNumbers: once the main process is reaped, its number may
// be another's session, which is none of ours.
func TestSweepTree_reusedNumbers(t *testing.T) {
	tree := &sweepTree{children: &children{log: hclog.NewNullLogger()}, cookie: "d.i.1", main: 500, seen: map[int]uint64{}}
	procs := []procInfo{
		{pid: 500, ppid: 1, pgrp: 500, sid: 500, start: 100},
		{pid: 501, ppid: 500, pgrp: 500, sid: 500, start: 101},
		{pid: 502, ppid: 501, pgrp: 502, sid: 502, start: 102},               // left the session
		{pid: 503, ppid: 1, pgrp: 900, sid: 900, start: 50},                  // somebody else
		{pid: 504, ppid: 501, pgrp: 500, sid: 500, start: 103, zombie: true}, // dead
	}
	pids := func(list []procInfo) map[int]bool {
		out := map[int]bool{}
		for _, p := range list {
			out[p.pid] = true
		}
		return out
	}
	got := pids(tree.membersLocked(procs))
	if len(got) != 3 || !got[500] || !got[501] || !got[502] {
		t.Fatalf("members %v", got)
	}
	tree.reapedAt = 200
	got = pids(tree.membersLocked([]procInfo{
		{pid: 500, ppid: 1, pgrp: 500, sid: 500, start: 300}, // a stranger with the number
		{pid: 510, ppid: 500, pgrp: 500, sid: 500, start: 301},
		{pid: 501, ppid: 1, pgrp: 500, sid: 500, start: 400}, // another with a number that was met
		{pid: 502, ppid: 1, pgrp: 502, sid: 502, start: 102}, // ours, remembered
		{pid: 511, ppid: 502, pgrp: 511, sid: 511, start: 350},
	}))
	if len(got) != 2 || !got[502] || !got[511] {
		t.Errorf("members after the reaping: %v", got)
	}
}

func TestSweepEarlier(t *testing.T) {
	dir, log := t.TempDir(), hclog.NewNullLogger()
	if err := sweepEarlier(dir, "none", "boot", log); err != nil {
		t.Errorf("no trace: %v", err)
	}
	for _, text := range []string{`{"boot":"another"}`, `{"boot":"boot","cgroup":"/tmp/other"}`, `{"boot":"boot"`, ``} {
		if err := os.WriteFile(tracePath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sweepEarlier(dir, "none", "boot", log); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestWatchable covers kernels without pidfds: a thread waits in their place.
func TestWatchable(t *testing.T) {
	w, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.file.Close()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 7"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := watchable(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.add(fd, watchProcess); err != nil {
		t.Fatal(err)
	}
	if output, process := w.wait(); output || !process {
		t.Errorf("wait gave %v, %v", output, process)
	}
	w.remove(fd)
	if err := syscall.Close(fd); err != nil {
		t.Fatal(err)
	}
	var ws syscall.WaitStatus
	if got, err := syscall.Wait4(pid, &ws, 0, nil); got != pid || ws.ExitStatus() != 7 {
		t.Errorf("wait4 gave %d, %v, %v: the child must be left to be reaped", got, ws.ExitStatus(), err)
	}
	w.until(time.Now())
	if output, process := w.wait(); output || process {
		t.Errorf("after the deadline: %v, %v", output, process)
	}
}
