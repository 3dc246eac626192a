package executor_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

func prepared(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "deep", "attempt")
	if err := executor.Prepare(dir); err != nil {
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

// resultFile is where the module of dir writes its result.
func resultFile(tb testing.TB, dir string) string {
	tb.Helper()
	return environValue(tb, dir, "PIPELINED_OUTPUT")
}

func environValue(tb testing.TB, dir, name string) string {
	tb.Helper()
	list, err := executor.Environ(executor.EnvConfig{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	for _, kv := range list {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	tb.Fatalf("%s is not set", name)
	return ""
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
		entries, err := os.ReadDir(dir)
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
	write(t, executor.WorkPath(dir)+"/stale", "x")
	write(t, executor.LogPath(dir), "x")
	if err := executor.Prepare(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("prepared again: %s", diff)
	}
	gone(t, executor.WorkPath(dir)+"/stale")
	if err := executor.Prepare("/dev/null/x"); err == nil {
		t.Error("below a file: no error")
	}
}

func TestRemove(t *testing.T) {
	for name, fill := range map[string]func(dir string){
		"empty":  func(string) {},
		"common": func(dir string) { write(t, executor.LogPath(dir), "x"); write(t, executor.ScriptPath(dir), "x") },
		"full": func(dir string) {
			write(t, executor.TmpPath(dir)+"/x", "x")
			if err := os.MkdirAll(executor.WorkPath(dir)+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, executor.WorkPath(dir)+"/a/b/c", "x")
		},
		"locked": func(dir string) {
			if err := os.MkdirAll(executor.WorkPath(dir)+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, executor.WorkPath(dir)+"/a/b/c", "x")
			for _, p := range []string{"/a/b", "/a"} {
				if err := os.Chmod(executor.WorkPath(dir)+p, 0); err != nil {
					t.Fatal(err)
				}
			}
		},
		"work is gone": func(dir string) {
			if err := os.RemoveAll(executor.WorkPath(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"result unread":   func(dir string) { write(t, resultFile(t, dir), "a=1") },
		"result a folder": func(dir string) { _ = os.MkdirAll(resultFile(t, dir)+"/x", 0o755) },
	} {
		dir := prepared(t)
		fill(dir)
		if err := executor.Remove(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		gone(t, dir)
		gone(t, resultFile(t, dir))
		if err := executor.Remove(dir); err != nil {
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
	if err := os.Symlink(outside, executor.WorkPath(dir)+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := executor.Remove(dir); err != nil {
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
	argv, err := executor.WriteScript(dir, "echo x")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "-eu", executor.ScriptPath(dir)}, argv); diff != "" {
		t.Error(diff)
	}
	if st, err := os.Stat(executor.ScriptPath(dir)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	other := prepared(t)
	if argv, err = executor.WriteScript(other, "#!/bin/sh\n"); err != nil || len(argv) != 1 || argv[0] != executor.ScriptPath(other) {
		t.Errorf("own interpreter: %q, %v", argv, err)
	}
	if st, err := os.Stat(executor.ScriptPath(other)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := executor.WriteScript(dir+"/none", "x"); err == nil {
		t.Error("no folder: no error")
	}
}

func TestReadResult(t *testing.T) {
	dir := prepared(t)
	if got, err := executor.ReadResult(dir); got != nil || err != nil {
		t.Errorf("none: %s, %v", got, err)
	}
	path := resultFile(t, dir)
	write(t, path, "a=1\n")
	if got, err := executor.ReadResult(dir); string(got) != `{"a":"1"}` || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	gone(t, path)
	write(t, dir+"/result", "b=1\n") // as where there is no tmpfs
	if got, err := executor.ReadResult(dir); string(got) != `{"b":"1"}` || err != nil {
		t.Errorf("on disk: %s, %v", got, err)
	}
	gone(t, dir+"/result")
	for name, make := range map[string]func() error{
		"folder": func() error { return os.MkdirAll(path+"/x", 0o755) },
		"link":   func() error { return os.Symlink("/etc/passwd", path) },
		"pipe":   func() error { return syscall.Mkfifo(path, 0o644) },
		"large":  func() error { return os.WriteFile(path, nil, 0o644) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if name == "large" {
			if err := os.Truncate(path, 1<<40); err != nil {
				t.Fatal(err)
			}
		}
		got, err := executor.ReadResult(dir)
		if k := pipeline.KindOf(err); err == nil || k != pipeline.Invalid && k != pipeline.TooLarge {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		gone(t, path)
	}
}
