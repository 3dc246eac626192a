package layout_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// stored puts the contents of a tree's files into a store.
func stored(tb testing.TB, b *blob.Store, contents ...string) {
	tb.Helper()
	for _, c := range contents {
		if _, err := b.PutBytes(tb.Context(), []byte(c)); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestLayout(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	stored(t, b, "x", "y")
	exe, secret, dir := file("bin/run", "x"), file("s", "y"), directory("void/deep")
	exe.Mode, secret.Mode, dir.Mode = 0o777, 0o400, 0o700
	files := tree.Tree{file("a", "x"), exe, link("l", "bin/run"), file("n", ""), secret, dir}
	out := t.TempDir()
	if err := layout.Write(t.Context(), files, out, b); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"a": 0o644, "bin": fs.ModeDir | 0o755, "bin/run": 0o777, "s": 0o400, "void/deep": fs.ModeDir | 0o700} {
		info, err := os.Lstat(filepath.Join(out, path))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", path, info.Mode(), err, want)
		}
		if !info.ModTime().Equal(layout.Time()) {
			t.Errorf("%s: time %v, want %v", path, info.ModTime(), layout.Time())
		}
	}
	if got, err := os.ReadFile(filepath.Join(out, "l")); err != nil || string(got) != "x" {
		t.Errorf("through the link: %q, %v", got, err)
	}
	// What a module does to its files does not reach the store.
	writeFile(t, filepath.Join(out, "a"), "spoilt", 0o644)
	if err := b.Verify(blob.DigestOf([]byte("x"))); err != nil {
		t.Error(err)
	}
	if err := layout.Write(t.Context(), files, out, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over existing files: got %v, want exists", err)
	}
	if err := layout.WriteWith(t.Context(), files, out, b, layout.Options{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(out, "a")); err != nil || string(got) != "x" {
		t.Errorf("overwritten: %q, %v", got, err)
	}
}

// Links that lie in the directory already lead nowhere.
func TestLayout_plantedLinks(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	stored(t, b, "evil")
	for _, overwrite := range []bool{false, true} {
		for name, files := range map[string]tree.Tree{
			"directory": {file("d/victim", "evil")}, "deep": {file("e/d/victim", "evil")}, "file": {file("f", "evil")},
			"new file": {file("g", "evil")}, "empty directory": {directory("d")}, "link": {link("f", "x")}, "empty directory below": {directory("d/sub")},
		} {
			outside := t.TempDir()
			writeFile(t, filepath.Join(outside, "victim"), "good", 0o644)
			in := t.TempDir()
			testutil.WriteFiles(t, in, map[string]string{"d": "->" + outside, "f": "->" + outside + "/victim", "g": "->" + outside + "/new"})
			if err := os.Mkdir(filepath.Join(in, "e"), 0o755); err != nil {
				t.Fatal(err)
			}
			testutil.WriteFiles(t, in, map[string]string{"e/d": "->" + outside})
			err := layout.WriteWith(t.Context(), files, in, b, layout.Options{Overwrite: overwrite})
			if !overwrite && err == nil {
				t.Errorf("%s: no error", name)
			}
			left, _ := os.ReadDir(outside)
			got, _ := os.ReadFile(filepath.Join(outside, "victim"))
			info, _ := os.Stat(outside)
			if len(left) != 1 || string(got) != "good" || info.ModTime().Equal(layout.Time()) {
				t.Errorf("%s, overwrite %v: the directory outside was changed: %v, %q", name, overwrite, left, got)
			}
		}
	}
}

func TestLayout_invalidTree(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	stored(t, b, "x")
	for _, files := range []tree.Tree{{file("../x", "x")}, {file("/tmp/x", "x")}, {link("a", "../..")}, {link("a", "b"), file("a/c", "x")}} {
		in := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(in, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := layout.Write(t.Context(), files, in, b); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%v: got %v, want an error of kind invalid", paths(files), err)
		}
		if left, _ := os.ReadDir(in); len(left) != 0 {
			t.Errorf("%v: something was written: %v", paths(files), left)
		}
	}
	wrong := file("a", "x")
	wrong.Size = 7
	if err := layout.Write(t.Context(), tree.Tree{wrong}, t.TempDir(), b); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("wrong size: got %v", err)
	}
	if !b.Has(wrong.Digest) {
		t.Error("a tree with a wrong size cost a good blob")
	}
}

func TestLayout_fetch(t *testing.T) {
	b, dir := blobtest.New(t, blob.Options{NoSync: true})
	stored(t, b, "here", "corrupt")
	spoil(t, dir, blob.DigestOf([]byte("corrupt")), []byte("CORRUPT"))
	files := tree.Tree{file("a", "here"), file("b", "corrupt"), file("c", "missing"), file("d", "missing")}
	var missing *blob.MissingError
	if err := layout.Write(t.Context(), tree.Tree{file("c", "missing")}, t.TempDir(), b); !errors.As(err, &missing) {
		t.Errorf("got %v, want a *MissingError", err)
	}
	calls := 0
	fetch := func(ctx context.Context, want []pipeline.Digest) error {
		if calls++; len(want) != 2 {
			t.Errorf("fetch of %v, want two", want)
		}
		stored(t, b, "corrupt", "missing")
		return nil
	}
	out := t.TempDir()
	if err := layout.WriteWith(t.Context(), files, out, b, layout.Options{Fetch: fetch}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "here", "b": "corrupt", "c": "missing", "d": "missing"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if calls != 1 {
		t.Errorf("%d fetches, want 1", calls)
	}
	nothing := func(context.Context, []pipeline.Digest) error { return nil }
	err := layout.WriteWith(t.Context(), tree.Tree{file("z", "never")}, t.TempDir(), b, layout.Options{Fetch: nothing})
	if !errors.As(err, &missing) {
		t.Errorf("a fetch that brings nothing: got %v, want a *MissingError", err)
	}
}

func TestRemoveAll(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "run-1")
	testutil.WriteFiles(t, dir, map[string]string{"a/b/c": "x", "ro/d/e": "y", "gone": "->/etc", "loop": "->."})
	outside := filepath.Join(t.TempDir(), "keep")
	writeFile(t, outside, "x", 0o600)
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"ro/d", "ro"} {
		if err := os.Chmod(filepath.Join(dir, d), 0o500); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.RemoveAll(root, dir); err == nil || !strings.Contains(err.Error(), "not a work directory") {
		t.Fatalf("without a mark: got %v, want it refused", err)
	}
	if err := errors.Join(disk.Mark(root), disk.Mark(root)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{root, filepath.Dir(root), filepath.Join(root, "..", "x"), filepath.Join(root, ".pipelined"), "/", outside} {
		if err := disk.RemoveAll(root, bad); err == nil {
			t.Errorf("%s was removed", bad)
		}
	}
	if err := disk.RemoveAll(root, dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(root); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := disk.RemoveAll(root, dir); err != nil {
		t.Errorf("again: %v", err)
	}
	// A link in the place of the root's child is removed, not what it leads to.
	if err := os.Symlink(filepath.Dir(outside), dir); err != nil {
		t.Fatal(err)
	}
	if err := disk.RemoveAll(root, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}
