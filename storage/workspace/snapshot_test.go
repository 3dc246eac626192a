package workspace_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
	"github.com/pipelined/pipelined/storage/workspace"
)

func takeSnapshot(tb testing.TB, dir string, opts workspace.Options) (tree.Tree, *blob.Store, []string) {
	tb.Helper()
	b, _ := openBlobs(tb, blob.Options{NoSync: true})
	var warned []string
	opts.Warn = func(w string) { warned = append(warned, w) }
	files, err := workspace.Snapshot(tb.Context(), dir, b, opts)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := tree.Encode(files); err != nil {
		tb.Errorf("the snapshot is not a valid tree: %v", err)
	}
	if missing := b.Missing(files.Digests()); len(missing) > 0 {
		tb.Errorf("%d blobs of the snapshot are missing", len(missing))
	}
	return files, b, warned
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"a": "x", "empty": "", "d/e/f": strings.Repeat("large", 100_000), "d/l": "->e/f", "abs": "->/etc/passwd", "out": "->../x",
		"odd": "->d/../a", "dangling": "->nowhere", "d/up": "->../a", ".hidden": "h", "line\nbreak": "b", `back\slash`: "s"})
	testutil.WriteFile(t, filepath.Join(dir, "run.sh"), "#!/bin/sh", 0o755)
	testutil.WriteFile(t, filepath.Join(dir, "setuid"), "", 0o755|os.ModeSetuid)
	for _, d := range []string{"void", "d/only-ignored", "deep/er/void"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	testutil.WriteFile(t, filepath.Join(dir, "d/only-ignored/x.tmp"), "", 0o644)
	testutil.WriteFile(t, filepath.Join(dir, ".pipelinedignore"), "*.tmp\n", 0o644)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	sock, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	tree, b, warned := takeSnapshot(t, dir, workspace.Options{})
	want := []string{".hidden", ".pipelinedignore", "a", `back\slash`, "d/e/f", "d/l", "d/only-ignored", "d/up", "dangling", "deep/er/void", "empty", "line\nbreak", "run.sh", "setuid", "void"}
	if got := paths(tree); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if e := tree.Find("run.sh"); e.Mode != 0o755 || tree.Find("a").Mode != 0o644 || tree.Find("setuid").Mode != 0o755 {
		t.Errorf("modes are not kept: %v", e)
	}
	if e := tree.Find("void"); !e.Dir || e.Mode != 0o750 {
		t.Errorf("empty directory: %+v", e)
	}
	if e := tree.Find("d/l"); e.Link != "e/f" || e.Digest != "" {
		t.Errorf("link: %+v", e)
	}
	if e := tree.Find("d/e/f"); e.Size != 500_000 || b.Verify(e.Digest) != nil {
		t.Errorf("large file: %+v", e)
	}
	for _, name := range []string{"abs", "fifo", "odd", "out", "sock"} {
		if !slices.ContainsFunc(warned, func(w string) bool { return strings.Contains(w, `"`+name+`"`) }) {
			t.Errorf("no warning about %s: %q", name, warned)
		}
	}
	if len(warned) != 5 {
		t.Errorf("warnings: %q, want 5", warned)
	}
}

func TestSnapshot_ownRules(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{
		".gitignore": "*.o\ndist/\n/vendor/\n", ".pipelinedignore": "!keep.o\n!dist/\ndist/big\n/docs\n", "a.o": "", "keep.o": "", "dist/x": "", "dist/big": "", "docs/a": "",
		"sub/.pipelinedignore": "local\n!a.o\n", "sub/local": "", "sub/a.o": "", "vendor/v": "", "x/node_modules/y/z": "", "cache/deep/f": "", "keep": "", ".git": "not a repository"})
	got := snapshotFiles(t, dir, workspace.Options{Exclude: []string{"**/node_modules", "cache/**", "["}})
	want := []string{".gitignore", ".pipelinedignore", "dist/x", "keep", "keep.o", "sub/.pipelinedignore", "sub/a.o"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A pattern that begins with ! takes back what those before it left out, also below a
// directory that is left out; not what ignore files name.
func TestSnapshot_takenBack(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{".gitignore": "*.o\n", "src/a.c": "", "src/a.o": "", "src/deep/b.c": "", "src/deep/b.h": "", "doc/a.c": "", "doc/x": "", "big/y": ""})
	if err := os.MkdirAll(filepath.Join(dir, "big/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := snapshotFiles(t, dir, workspace.Options{Exclude: []string{"**", "!src/**", "src/deep", "!**/*.c", "!big/z*"}})
	want := []string{"doc/a.c", "src/a.c", "src/deep/b.c"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSnapshot_ownRulesLeaveOutTracked(t *testing.T) {
	needGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	testutil.WriteFiles(t, dir, map[string]string{"a": "", "big/b": "", ".gitignore": "", ".pipelinedignore": "big\n"})
	gitIn(t, dir, "add", ".")
	if got, want := snapshotFiles(t, dir, workspace.Options{}), []string{".gitignore", ".pipelinedignore", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSnapshot_skip(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"out.log": "x", "a": "y", "data/big": "z", "data2/c": ""})
	if err := os.Link(filepath.Join(dir, "out.log"), filepath.Join(dir, "same.log")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "data"), link); err != nil {
		t.Fatal(err)
	}
	got := snapshotFiles(t, dir, workspace.Options{Skip: []string{filepath.Join(dir, "out.log"), link, "/nowhere"}})
	if want := []string{"a", "data2/c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSnapshot_badNames(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"a": "", "bad\xff": ""})
	tree, _, warned := takeSnapshot(t, dir, workspace.Options{})
	if len(tree) != 1 || len(warned) != 1 || !strings.Contains(warned[0], "UTF-8") {
		t.Errorf("got %v, %q", paths(tree), warned)
	}
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 65)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := workspace.Snapshot(t.Context(), dir, b, workspace.Options{}); pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), ".pipelinedignore") {
		t.Errorf("a path that is too deep: got %v", err)
	}
	if _, err := workspace.Snapshot(t.Context(), filepath.Join(dir, "none"), b, workspace.Options{}); err == nil {
		t.Error("no directory: no error")
	}
}

func TestSnapshot_unreadable(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"a": "", "secret": "x"})
	if err := os.Chmod(filepath.Join(dir, "secret"), 0); err != nil {
		t.Fatal(err)
	}
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	_, err := workspace.Snapshot(t.Context(), dir, b, workspace.Options{})
	if os.Geteuid() == 0 {
		if err != nil {
			t.Errorf("root may read everything: %v", err)
		}
		return
	}
	if pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want it to name the file", err)
	}
}

// changing is a store into which a file goes while something happens to it.
type changing struct {
	blob.Putter
	change func()
}

func (c *changing) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	d, n, err := c.Putter.Put(ctx, r)
	c.change()
	return d, n, err
}

func TestSnapshot_changesMeanwhile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	testutil.WriteFile(t, path, "first", 0o644)
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	into := &changing{Putter: b, change: func() { testutil.WriteFile(t, path, "second, longer", 0o644) }}
	var warned []string
	files, err := workspace.Snapshot(t.Context(), dir, into, workspace.Options{Warn: func(w string) { warned = append(warned, w) }})
	if err != nil {
		t.Fatal(err)
	}
	e := files.Find("log")
	if got, err := b.ReadAll(e.Digest, 100); err != nil || string(got) != "first" || e.Size != 5 {
		t.Errorf("what was hashed is not what was stored: %q, %v, %+v", got, err, e)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "log") || !strings.Contains(warned[0], "changed") {
		t.Errorf("warnings: %q, want one about log", warned)
	}
}

func TestSnapshot_vanishes(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"a": "1", "b": "2", "c": "3"})
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	gone := func() {
		for _, f := range []string{"a", "b", "c"} {
			os.Remove(filepath.Join(dir, f))
		}
	}
	files, err := workspace.Snapshot(t.Context(), dir, &changing{Putter: b, change: gone}, workspace.Options{})
	if err != nil || len(files) > 3 {
		t.Errorf("got %v, %v", paths(files), err)
	}
	if _, err := tree.Encode(files); err != nil {
		t.Error(err)
	}
}

func TestSnapshot_layoutRoundTrip(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		testutil.WriteFile(t, filepath.Join(dir, fmt.Sprintf("d%d/e%d/f%d", i%7, i%3, i)), strings.Repeat(fmt.Sprint(i), i), 0o640)
	}
	testutil.WriteFiles(t, dir, map[string]string{"l": "->d1/e1", "d1/m": "->../l"})
	tree, b, _ := takeSnapshot(t, dir, workspace.Options{})
	out := t.TempDir()
	if err := layout.Write(t.Context(), tree, out, b); err != nil {
		t.Fatal(err)
	}
	again, _, _ := takeSnapshot(t, out, workspace.Options{})
	if !slices.Equal(tree, again) {
		t.Error("a snapshot of what was laid out is another tree")
	}
	captured, notes, err := layout.Capture(t.Context(), out, []string{"**"}, nil, b)
	if err != nil || len(notes.Missing) > 0 || !slices.Equal(tree, captured) {
		t.Errorf("a capture of what was laid out is another tree: %v, %v", notes.Missing, err)
	}
}
