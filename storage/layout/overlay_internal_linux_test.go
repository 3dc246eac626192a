package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// Of two versions of a workspace the files that are the same are made once.
func TestLayouts_links(t *testing.T) {
	b := newLayoutBench(t, Overlay)
	b.layout("one", b.tree)
	next := slices.Clone(b.tree)
	i := slices.IndexFunc(next, func(e pipeline.TreeEntry) bool { return e.Path == "x/03" })
	next[i] = b.file("x/03", 0o644, "changed")
	next[i+1].Mode = 0o755 // another mode is another file
	at := b.layout("two", next)
	if got, want := listing(t, at), b.plain(next); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	nlink := func(path string) uint64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(b.l.trees.files(b.key(next)), path), &st); err != nil {
			t.Fatal(err)
		}
		return uint64(st.Nlink)
	}
	for path, want := range map[string]uint64{"x/02": 2, "a/twin": 2, "twin": 2, "x/03": 1, "x/04": 1, "big": 2} {
		if got := nlink(path); got != want {
			t.Errorf("%s has %d names, want %d", path, got, want)
		}
	}
	vandalize(t, at)
	if got, want := listing(t, b.at("one")), b.plain(b.tree); !slices.Equal(got, want) {
		t.Errorf("the other version changed: %q", got)
	}
}

// Prepared directories go when they are too many or too old, and never while they
// are in use.
func TestLayouts_trim(t *testing.T) {
	b := newLayoutBench(t, Overlay)
	version := func(i int) tree.Tree {
		v := slices.Clone(b.tree)
		v[len(v)-1] = b.file(v[len(v)-1].Path, 0o644, fmt.Sprint("version ", i))
		return v
	}
	b.layout("held", version(0))
	for i := 1; i < 6; i++ {
		name := fmt.Sprint("v", i)
		at := b.layout(name, version(i))
		if err := b.l.Release(name, at); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.l.trees.known); n != 3 || !b.l.Prepared(b.key(version(0))) || !b.l.Prepared(b.key(version(5))) || b.l.Prepared(b.key(version(1))) {
		t.Errorf("%d are kept: %v", n, b.l.trees.known)
	}
	for _, p := range b.l.trees.known {
		p.Verified = p.Verified.Add(-2 * preparedFor)
	}
	b.l.Trim()
	if n := len(b.l.trees.known); n != 1 {
		t.Errorf("%d are kept beyond their time, want the one in use", n)
	}
	if got, want := listing(t, b.at("held")), b.plain(version(0)); !slices.Equal(got, want) {
		t.Errorf("the one in use changed: %q", got)
	}
	// In use its age does not matter; alone it is made anew.
	b.layout("second", version(0))
	for _, name := range []string{"held", "second"} {
		if err := b.l.Release(name, b.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	before := b.l.trees.known[b.key(version(0))].Verified
	b.layout("third", version(0))
	if after := b.l.trees.known[b.key(version(0))].Verified; !after.After(before) {
		t.Errorf("verified at %v, which is too long ago", after)
	}
	// A disk that is low keeps nothing that is not in use.
	if err := b.l.Release("third", b.at("third")); err != nil {
		t.Fatal(err)
	}
	b.l.trees.admit = func(int64) error { return &disk.FullError{Reason: "a full disk"} }
	if b.l.Trim(); len(b.l.trees.known) != 0 {
		t.Errorf("%d are kept on a full disk", len(b.l.trees.known))
	}
	if err := os.Mkdir(b.at("third")+"2", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.l.Attach(t.Context(), "full", b.at("third")+"2", b.key(b.tree), b.tree, nil); !errors.Is(err, errNoRoom) || b.l.Attached("full") {
		t.Errorf("on a full disk: %v", err)
	}
}

// A process that starts finds the directories of one that was killed: those that are
// still used stay, the others go, and nothing that was half made counts.
func TestLayouts_restart(t *testing.T) {
	b := newLayoutBench(t, Overlay)
	kept, stale := b.layout("kept", b.tree), b.layout("stale", b.tree)
	if err := os.WriteFile(filepath.Join(kept, "left"), []byte("output"), 0o644); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(b.dir, "layers/trees/new-half")
	other := filepath.Join(b.dir, "layers/trees", strings.Repeat("0", 64))
	strange := filepath.Join(b.dir, "work/strange")
	err := errors.Join(os.MkdirAll(filepath.Join(half, "files/x"), 0o500), os.MkdirAll(filepath.Join(other, "files"), 0o755),
		os.WriteFile(filepath.Join(other, "info"), []byte(`{"boot":"another","bytes":1}`), 0o600), os.MkdirAll(strange, 0o755),
		unix.Mount("tmpfs", strange, "tmpfs", 0, "size=64k"))
	if err != nil {
		t.Fatal(err)
	}
	b.l = b.open(Overlay)
	for _, dir := range []string{half, other} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if err := b.l.Sweep(func(name string) bool { return name == "kept" }, b.at); err != nil {
		t.Fatal(err)
	}
	if mounts := mountsBelow(b.dir); !slices.Equal(mounts, []string{kept}) {
		t.Errorf("mounted: %q", mounts)
	}
	if names, err := os.ReadDir(stale); err != nil || len(names) > 0 {
		t.Errorf("the stale directory holds %v, %v", names, err)
	}
	// It is in use, by whom this process did not see.
	for _, p := range b.l.trees.known {
		p.Verified = p.Verified.Add(-2 * preparedFor)
	}
	if b.l.Trim(); len(b.l.trees.known) != 1 {
		t.Error("a layer in use was removed")
	}
	// Where the mount cannot be seen it is made again, with what was written.
	if err := errors.Join(unmountAll(kept), b.l.Restore("kept", kept)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(kept, "left")); err != nil || string(text) != "output" {
		t.Errorf("%q, %v", text, err)
	}
	if err := errors.Join(b.l.Restore("kept", kept), b.l.Restore("never", b.at("never")), b.l.Release("kept", kept), b.l.Release("kept", kept)); err != nil {
		t.Error(err)
	}
	if mounts := mountsBelow(b.dir); len(mounts) > 0 {
		t.Errorf("mounted: %q", mounts)
	}
	names, err := os.ReadDir(b.l.attempts())
	if err != nil || len(names) != 1 {
		t.Errorf("layers are left: %v, %v", names, err)
	}
}

func TestLayouts_together(t *testing.T) {
	b := newLayoutBench(t, Overlay)
	want := b.plain(b.tree)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprint("n", i)
			at := b.at(name)
			if err := errors.Join(os.MkdirAll(at, 0o755), b.l.Attach(t.Context(), name, at, b.key(b.tree), b.tree, nil)); err != nil {
				t.Error(err)
				return
			}
			if got := listing(t, at); !slices.Equal(got, want) {
				t.Errorf("got %q", got)
			}
			if err := b.l.Release(name, at); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p := b.l.trees.known[b.key(b.tree)]; p == nil || p.uses != 0 || len(b.l.trees.known) != 1 {
		t.Errorf("%+v is left", p)
	}
}

// Where a mount fails the directory is empty, and nothing is held.
func TestLayouts_mountFails(t *testing.T) {
	b := newLayoutBench(t, Overlay)
	b.l.options = "no_such_option"
	at := b.at("a")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.l.Attach(t.Context(), "a", at, b.key(b.tree), b.tree, nil); err == nil || b.l.Attached("a") {
		t.Fatalf("it is mounted: %v", err)
	}
	if names, err := os.ReadDir(at); err != nil || len(names) > 0 || b.l.trees.known[b.key(b.tree)].uses != 0 {
		t.Errorf("the directory holds %v, %v", names, err)
	}
	// One that is given up in the middle leaves nothing either.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	next := append(slices.Clone(b.tree), b.file("y", 0o644, "y"))
	if err := b.l.Attach(gone, "a", at, b.key(next), next, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(b.l.trees.dir); err != nil || len(names) != 2 {
		t.Errorf("%v is left, %v", names, err)
	}
}
