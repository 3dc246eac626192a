package attemptdir_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
)

func prepared(tb testing.TB) attemptdir.Dir {
	tb.Helper()
	dir := attemptdir.Dir(filepath.Join(tb.TempDir(), "deep", "attempt"))
	if err := dir.Prepare(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func gone(tb testing.TB, path string) {
	tb.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		tb.Errorf("%s: %v, want it gone", path, err)
	}
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func TestPrepare(t *testing.T) {
	dir := prepared(t)
	list := func() (names []string) {
		entries, err := os.ReadDir(string(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	want := []string{"home", "tmp", "work"}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Error(diff)
	}
	write(t, dir.Work()+"/stale", "x")
	write(t, dir.Log(), "x")
	if err := dir.Prepare(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("prepared again: %s", diff)
	}
	gone(t, dir.Work()+"/stale")
	if err := attemptdir.Dir("/dev/null/x").Prepare(); err == nil {
		t.Error("below a file: no error")
	}
}

func TestRemove(t *testing.T) {
	for name, fill := range map[string]func(dir attemptdir.Dir){
		"empty":  func(attemptdir.Dir) {},
		"common": func(dir attemptdir.Dir) { write(t, dir.Log(), "x"); write(t, dir.Script(), "x") },
		"full": func(dir attemptdir.Dir) {
			write(t, dir.Tmp()+"/x", "x")
			if err := os.MkdirAll(dir.Work()+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir.Work()+"/a/b/c", "x")
		},
		"locked": func(dir attemptdir.Dir) {
			if err := os.MkdirAll(dir.Work()+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir.Work()+"/a/b/c", "x")
			for _, p := range []string{"/a/b", "/a"} {
				if err := os.Chmod(dir.Work()+p, 0); err != nil {
					t.Fatal(err)
				}
			}
		},
		"work is gone": func(dir attemptdir.Dir) {
			if err := os.RemoveAll(dir.Work()); err != nil {
				t.Fatal(err)
			}
		},
		"result unread":      func(dir attemptdir.Dir) { write(t, dir.Result(), "a=1") },
		"result a directory": func(dir attemptdir.Dir) { _ = os.MkdirAll(dir.Result()+"/x", 0o755) },
	} {
		dir := prepared(t)
		fill(dir)
		if err := dir.Remove(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		gone(t, string(dir))
		gone(t, dir.Result())
		if err := dir.Remove(); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

func TestRemove_followsNoLinks(t *testing.T) {
	outside := t.TempDir()
	write(t, outside+"/kept", "x")
	if err := os.Chmod(outside, 0o555); err != nil {
		t.Fatal(err)
	}
	dir := prepared(t)
	if err := os.Symlink(outside, dir.Work()+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := dir.Remove(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(outside); err != nil || st.Mode().Perm() != 0o555 {
		t.Errorf("outside: %v, %v", st, err)
	}
	if _, err := os.Stat(outside + "/kept"); err != nil {
		t.Error(err)
	}
}

func TestWriteScript(t *testing.T) {
	dir := prepared(t)
	argv, err := dir.WriteScript("echo x", "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "-eu", dir.Script()}, argv); diff != "" {
		t.Error(diff)
	}
	if st, err := os.Stat(dir.Script()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	other := prepared(t)
	if argv, err = other.WriteScript("#!/bin/sh\n", "bash"); err != nil || len(argv) != 2 || argv[0] != "/bin/sh" || argv[1] != other.Script() {
		t.Errorf("own interpreter: %q, %v", argv, err)
	}
	if st, err := os.Stat(other.Script()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err) // no need to be executable: the directory may be mounted noexec
	}
	for script, want := range map[string][]string{
		"#!/bin/bash\r\necho\r\n":        {"/bin/bash"},
		"#! /usr/bin/env  -S a b \nx":    {"/usr/bin/env", "-S a b"},
		"#!/bin/awk\t-f":                 {"/bin/awk", "-f"},
		"#!\necho":                       {"/bin/sh", "-eu"},
		"# a comment\n#!/bin/bash\necho": {"/bin/sh", "-eu"},
	} {
		if argv, err := other.WriteScript(script, ""); err != nil || !slices.Equal(argv, append(want, other.Script())) {
			t.Errorf("%q is run by %q, %v", script, argv, err)
		}
	}
	if argv, err := other.WriteScript("echo x", "bash"); err != nil || !slices.Equal(argv, []string{"bash", "-euo", "pipefail", other.Script()}) {
		t.Errorf("shell bash: %q, %v", argv, err)
	}
	if _, err := attemptdir.Dir(dir+"/none").WriteScript("x", ""); err == nil {
		t.Error("no directory: no error")
	}
}

func TestReadResult(t *testing.T) {
	dir := prepared(t)
	if got, err := dir.ReadResult(); got != nil || err != nil {
		t.Errorf("none: %s, %v", got, err)
	}
	path := dir.Result()
	write(t, path, "a=1\n")
	for range 2 { // a later daemon finds the same
		if got, err := dir.ReadResult(); string(got) != `{"a":"1"}` || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
	dir.RemoveFromMemory()
	gone(t, path)
	write(t, string(dir)+"/result", "b=1\n") // as where there is no tmpfs
	if got, err := dir.ReadResult(); string(got) != `{"b":"1"}` || err != nil {
		t.Errorf("on disk: %s, %v", got, err)
	}
	if err := os.Remove(string(dir) + "/result"); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func() error{
		"directory": func() error { return os.MkdirAll(path+"/x", 0o755) },
		"link":      func() error { return os.Symlink("/etc/passwd", path) },
		"pipe":      func() error { return syscall.Mkfifo(path, 0o644) },
		"large":     func() error { return os.WriteFile(path, nil, 0o644) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if name == "large" {
			if err := os.Truncate(path, 1<<40); err != nil {
				t.Fatal(err)
			}
		}
		got, err := dir.ReadResult()
		if k := pipeline.KindOf(err); err == nil || k != pipeline.Invalid && k != pipeline.TooLarge {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		dir.RemoveFromMemory()
		gone(t, path)
	}
}
