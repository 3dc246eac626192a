package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for i, durable := range []bool{false, true, false} {
		want := strings.Repeat("x", i*1000)
		if err := disk.WriteFile(path, []byte(want), 0o640, durable); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("durable %v: %d bytes, %v", durable, len(got), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
			t.Errorf("durable %v: %v, %v", durable, info.Mode(), err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("temporary files stay: %v, %v", names, err)
	}

	if err := disk.WriteFile(filepath.Join(dir, "none", "file"), nil, 0o600, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestClassify(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		err := disk.Classify(&os.PathError{Op: "write", Path: "f", Err: errno})
		var full *disk.FullError
		if !errors.As(err, &full) || pipeline.KindOf(err) != pipeline.Unavailable || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	for _, want := range []error{nil, unix.EIO, os.ErrNotExist} {
		if got := disk.Classify(want); got != want {
			t.Errorf("%v became %v", want, got)
		}
	}
}

func TestSpace(t *testing.T) {
	free, total, err := disk.Space(t.TempDir())
	if err != nil || total == 0 || free > total {
		t.Errorf("%d of %d, %v", free, total, err)
	}
	if _, _, err := disk.Space(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.Mkdir(a, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := disk.RenameNew(a, b); errors.Is(err, unix.ENOTSUP) {
		t.Skipf("needs a temporary directory that renames without replacing (RENAME_NOREPLACE): %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(a, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := disk.RenameNew(a, b); !errors.Is(err, os.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
}

// locked makes a directory with directories whose owner may do nothing.
func locked(t *testing.T, dir string) {
	t.Helper()
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(deep, "file"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{deep, filepath.Dir(deep), dir} {
		if err := os.Chmod(d, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenUp(t *testing.T) {
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o500); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	locked(t, dir)

	disk.OpenUp(dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("a link was followed: %v, %v", info.Mode(), err)
	}
	disk.OpenUp(dir) // gone
}

func TestRemoveAll(t *testing.T) {
	root := filepath.Join(t.TempDir(), "work")
	if err := errors.Join(disk.Mark(root), disk.Mark(root)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "attempt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	locked(t, dir)
	for range 2 { // the second finds nothing
		if err := disk.RemoveAll(root, dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}

	plain := t.TempDir()
	for _, dir := range []string{root, filepath.Dir(root), filepath.Join(root, disk.MarkerFile), "/"} {
		if disk.RemoveAll(root, dir) == nil {
			t.Errorf("%s was removed", dir)
		}
	}
	if err := os.Mkdir(filepath.Join(plain, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if disk.RemoveAll(plain, filepath.Join(plain, "d")) == nil {
		t.Error("a directory below one that is not marked was removed")
	}
}
