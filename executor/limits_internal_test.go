//go:build linux

package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGroup is a directory with the kernel's files in it.
func fakeGroup(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSlot_limit(t *testing.T) {
	for _, tc := range []struct {
		p                Process
		memory, oom, cpu string
	}{
		{Process{}, "max", "0", "max 100000"},
		{Process{Memory: 512 << 20}, "536870912", "1", "max 100000"},
		{Process{CPU: 1.5}, "max", "0", "150000 100000"},
		{Process{CPU: 0.0001}, "max", "0", "1000 100000"},
		{Process{CPU: 1e300, Memory: 1}, "1", "1", "100000000000 100000"},
	} {
		s := &slot{tasks: -1, path: fakeGroup(t, map[string]string{"memory.max": "", "memory.oom.group": "", "cpu.max": ""})}
		for name, text := range map[string]string{"memory.max": "max", "memory.oom.group": "0", "cpu.max": "max 100000"} {
			if err := os.WriteFile(filepath.Join(s.path, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.limit(&tc.p); err != nil {
			t.Errorf("%+v: %v", tc.p, err)
		}
		got := func(name string) string { return strings.Join(words(filepath.Join(s.path, name)), " ") }
		// A file of the kernel takes a whole value; this one is overwritten.
		for name, want := range map[string]string{"memory.max": tc.memory, "memory.oom.group": tc.oom, "cpu.max": tc.cpu} {
			if !strings.HasPrefix(got(name), want) {
				t.Errorf("memory %d, cpu %g: %s is %q, want %q", tc.p.Memory, tc.p.CPU, name, got(name), want)
			}
		}
		if s.limited != (tc.p.Memory > 0 || tc.p.CPU > 0) {
			t.Errorf("memory %d, cpu %g: limited is %v", tc.p.Memory, tc.p.CPU, s.limited)
		}
	}
	var none *slot
	if err := none.limit(&Process{Memory: 1}); err != nil || none.outOfMemory() {
		t.Error("no group is no error")
	}
}

func TestSlot_outOfMemory(t *testing.T) {
	for text, want := range map[string]bool{
		"low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n": false,
		"low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 1\n": true,
		"": false,
	} {
		s := &slot{tasks: -1, path: fakeGroup(t, map[string]string{"memory.events": text})}
		if got := s.outOfMemory(); got != want || s.limited != want {
			t.Errorf("%q: %v, limited %v", text, got, s.limited)
		}
	}
}

func TestEnableControllers(t *testing.T) {
	dir := fakeGroup(t, map[string]string{"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": "memory cpu pids\n"})
	if on := enableControllers(dir); strings.Join(on, " ") != "memory cpu" {
		t.Errorf("on: %q", on)
	}
	if on := enableControllers(t.TempDir()); len(on) != 0 {
		t.Errorf("where there are none: %q", on)
	}
	if got := limitParents(dir, "/"); len(got) != 1 || got[0] != dir {
		t.Errorf("parents %q", got)
	}
}
