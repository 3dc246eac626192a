package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// layoutBench is a store with layouts over it. Its data lies in the folder that
// PIPELINED_TEST_DIR names, such as one on a filesystem with reflinks.
type layoutBench struct {
	testing.TB
	dir   string
	blobs *Blobs
	l     *Layouts
	tree  Tree
}

func newLayoutBench(tb testing.TB, way FolderWay) *layoutBench {
	tb.Helper()
	dir := tb.TempDir()
	if base := os.Getenv("PIPELINED_TEST_DIR"); base != "" {
		var err error
		if dir, err = os.MkdirTemp(base, "layouts-*"); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { os.RemoveAll(dir) })
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		tb.Fatal(err)
	}
	b := &layoutBench{TB: tb, dir: dir}
	if b.blobs, err = OpenBlobs(filepath.Join(dir, "blobs"), BlobOptions{NoSync: true, LowWater: -1}); err != nil {
		tb.Fatal(err)
	}
	if err := Mark(filepath.Join(dir, "work")); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		b.blobs.Close()
		if err := UnmountBelow(dir); err != nil {
			tb.Error(err)
		}
	})
	b.l = b.open(way)
	b.tree = Tree{
		{Path: "a/b/deep.txt", Mode: 0o644}, {Path: "a/run.sh", Mode: 0o755}, {Path: "a/twin", Mode: 0o644}, {Path: "big", Mode: 0o640}, {Path: "empty", Mode: 0o600},
		{Path: "link", Mode: 0o777, Link: "a/run.sh"}, {Path: "twin", Mode: 0o644}, {Path: "void", Mode: 0o700, Dir: true},
	}
	for i, text := range []string{"deep", "#!/bin/sh\n", "same", strings.Repeat("0123456789abcdef", 20_000), "", "", "same"} {
		if e := &b.tree[i]; e.Link == "" {
			*e = b.file(e.Path, e.Mode, text)
		}
	}
	for i := range 20 {
		b.tree = append(b.tree, b.file(fmt.Sprintf("x/%02d", i), 0o644, fmt.Sprint("file ", i)))
	}
	return b
}

func (b *layoutBench) file(path string, mode uint32, text string) pipeline.TreeEntry {
	b.Helper()
	d, err := b.blobs.PutBytes(b.Context(), []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return pipeline.TreeEntry{Path: path, Mode: mode, Digest: d, Size: int64(len(text))}
}

// open opens the layouts, as a process that starts does. What does not work
// here skips the test.
func (b *layoutBench) open(way FolderWay) *Layouts {
	b.Helper()
	l, err := OpenLayouts(LayoutsConfig{Dir: filepath.Join(b.dir, "layers"), WorkDir: filepath.Join(b.dir, "work"), Blobs: b.blobs, Way: way, MinFiles: 5, MaxTrees: 3, MaxBytes: 1 << 30})
	if way == FolderOverlay || way == FolderReflink {
		if err != nil {
			b.Skip(err)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// key is that of a tree.
func (b *layoutBench) key(t Tree) string {
	b.Helper()
	blob, err := EncodeTree(t)
	if err != nil {
		b.Fatal(err)
	}
	return string(DigestOf(blob))
}

// layout lays a tree out as an attempt's folder.
func (b *layoutBench) layout(name string, t Tree) string {
	b.Helper()
	at := b.at(name)
	if err := os.MkdirAll(at, 0o755); err != nil {
		b.Fatal(err)
	}
	var err error
	if b.l.Pays(t) {
		err = b.l.Attach(b.Context(), name, at, b.key(t), t, nil)
	} else {
		err = LayoutWith(b.Context(), t, at, b.blobs, LayoutOptions{Reflink: b.l.Reflink()})
	}
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func (b *layoutBench) at(name string) string { return filepath.Join(b.dir, "work", name, "work") }

// listing describes all that is in a folder; times of folders too where wanted.
func listing(tb testing.TB, dir string) []string {
	tb.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %v %d", rel, info.Mode(), info.ModTime().Unix())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			line = rel + " -> " + target // their own times are not set
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(DigestOf(text))
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

// plain is what a tree looks like when it is laid out by copies.
func (b *layoutBench) plain(t Tree) []string {
	b.Helper()
	dir := b.TempDir()
	if err := Layout(b.Context(), t, dir, b.blobs); err != nil {
		b.Fatal(err)
	}
	return listing(b, dir)
}

func eachWay(t *testing.T, f func(t *testing.T, b *layoutBench)) {
	for _, way := range FolderWays() {
		t.Run(way, func(t *testing.T) { f(t, newLayoutBench(t, FolderWay(way))) })
	}
}

// Whatever is done in a folder reaches neither the store nor another folder.
func TestLayouts_safe(t *testing.T) {
	eachWay(t, func(t *testing.T, b *layoutBench) {
		want := b.plain(b.tree)
		// The second and the third find what the first has verified and prepared.
		var folders []string
		for i := range 3 {
			folders = append(folders, b.layout(fmt.Sprint("attempt", i), b.tree))
		}
		for _, at := range folders {
			if got := listing(t, at); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		vandalize(t, folders[1])
		if after := listing(t, folders[1]); slices.Equal(after, want) {
			t.Error("nothing happened in the folder")
		}
		folders = append(folders, b.layout("later", b.tree))
		for _, i := range []int{0, 2, 3} {
			if got := listing(t, folders[i]); !slices.Equal(got, want) {
				t.Errorf("folder %d: got  %q\nwant %q", i, got, want)
			}
		}
		for _, d := range b.tree.Digests() {
			if err := b.blobs.Verify(d); err != nil {
				t.Error(err)
			}
		}
		for i, at := range folders {
			name := filepath.Base(filepath.Dir(at))
			if err := b.l.Release(name, at); err != nil {
				t.Error(err)
			}
			if isOverlay(at) || b.l.Attached(name) {
				t.Errorf("folder %d is still mounted", i)
			}
		}
	})
}

// The kernel copies only what it may: bytes that were verified, of a file that has
// not changed since, and that is not packed.
func TestLayout_quick(t *testing.T) {
	b := newLayoutBench(t, FolderAuto)
	want := b.plain(b.tree)
	big := b.tree.Find("big").Digest
	layout := func(what string) error {
		t.Helper()
		dir := filepath.Join(b.dir, what)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := LayoutWith(t.Context(), b.tree, dir, b.blobs, LayoutOptions{Reflink: b.l.Reflink()})
		if err == nil && !slices.Equal(listing(t, dir), want) {
			t.Errorf("%s: got %q", what, listing(t, dir))
		}
		return err
	}
	src, err := b.blobs.Open(big)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if !b.blobs.unchanged(src) {
		t.Error("what was verified by a copy is not known to be clean")
	}
	if err := layout("again"); err != nil {
		t.Error(err)
	}
	b.blobs.packAll = true
	if _, err := b.blobs.Pack(t.Context(), big, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.blobs.packedPath(big)); err != nil {
		t.Fatalf("it is not packed: %v", err)
	}
	for _, what := range []string{"packed", "packed again"} {
		if err := layout(what); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.blobs.Delete(big); err != nil {
		t.Fatal(err)
	}
	b.file("big", 0o640, strings.Repeat("0123456789abcdef", 20_000))
	if err := layout("anew"); err != nil {
		t.Error(err)
	}
	// A byte that flips after that is found, whatever the times say.
	path := b.blobs.path(big)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var st, now unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	text[200_000] ^= 1
	for now = st; now.Ctim == st.Ctim; { // until the clock ticks
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, text, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()), unix.Lstat(path, &now)); err != nil {
			t.Fatal(err)
		}
	}
	var corrupt *CorruptError
	if err := layout("flipped"); !errors.As(err, &corrupt) {
		t.Errorf("a flipped byte: %v", err)
	}
}

// vandalize does in a folder what modules do, in every way that writes.
func vandalize(t *testing.T, dir string) {
	t.Helper()
	p := func(name string) string { return filepath.Join(dir, name) }
	f, err := os.OpenFile(p("x/00"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("appended")
	big, err2 := os.OpenFile(p("big"), os.O_RDWR, 0)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(big.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(m, "through a map")
	_, err = big.WriteAt([]byte("overwritten"), 100_000)
	err = errors.Join(err, unix.Msync(m, unix.MS_SYNC), unix.Munmap(m), f.Close(), big.Close(),
		os.WriteFile(p("a/run.sh"), []byte("other"), 0o755), os.Truncate(p("x/01"), 1), os.Chmod(p("x/02"), 0o400), os.Chtimes(p("x/03"), time.Now(), time.Now()),
		os.Link(p("x/04"), p("hard")), os.WriteFile(p("hard"), []byte("through a hard link"), 0o644), os.Rename(p("a"), p("renamed")), os.Rename(p("x/05"), p("void/05")),
		os.Remove(p("x/06")), os.Symlink("x/07", p("soft")), os.WriteFile(p("soft"), []byte("through a link"), 0o644), os.WriteFile(p("new"), []byte("new"), 0o600),
		os.RemoveAll(p("x/08")), os.Mkdir(p("x/08"), 0o711), os.Chmod(p("x"), 0o500), os.Chown(p("x/09"), os.Geteuid(), os.Getegid()))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(p("x/07")); err != nil || string(text) != "through a link" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(p("renamed/b/deep.txt")); err != nil {
		t.Errorf("a folder was not renamed with what is in it: %v", err)
	}
}

// An overlay with outputs laid over it is the folder that copies make.
func TestComplete(t *testing.T) {
	b := newLayoutBench(t, FolderCopy)
	r := rand.New(rand.NewPCG(3, 4))
	pick := func() string {
		parts := []string{"a", "b", "c"}
		p := parts[r.IntN(3)]
		for range r.IntN(3) {
			p += "/" + parts[r.IntN(3)]
		}
		return p
	}
	random := func(n int) Tree {
		var t Tree
		for range n {
			e := pipeline.TreeEntry{Path: pick(), Mode: []uint32{0o644, 0o755, 0o500, 0o700}[r.IntN(4)]}
			switch r.IntN(4) {
			case 0:
				e.Dir = true
			case 1:
				e.Link, e.Mode = "z", 0o777
			default:
				e = b.file(e.Path, e.Mode, fmt.Sprint(r.IntN(3)))
			}
			more := append(slices.Clone(t), e)
			sortTree(more)
			if more.check() == nil {
				t = more
			}
		}
		return t
	}
	for i := range 100 {
		base := random(8)
		all, err := Merge(base, NamedTree{"one", random(1 + r.IntN(5))})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "d")
		if err := errors.Join(os.Mkdir(dir, 0o755), Layout(t.Context(), base, dir, b.blobs)); err != nil {
			t.Fatal(err)
		}
		if err := Complete(t.Context(), base, all, dir, b.blobs, LayoutOptions{}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if got, want := listing(t, dir), b.plain(all); !slices.Equal(got, want) {
			t.Fatalf("round %d: %v over %v:\ngot  %q\nwant %q", i, all, base, got, want)
		}
	}
}

// Of two versions of a workspace the files that are the same are made once.
func TestLayouts_links(t *testing.T) {
	b := newLayoutBench(t, FolderOverlay)
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

// Prepared folders go when they are too many or too old, and never while they
// are in use.
func TestLayouts_trim(t *testing.T) {
	b := newLayoutBench(t, FolderOverlay)
	version := func(i int) Tree {
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
	b.blobs.opts.LowWater = 1 << 62
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

// A process that starts finds the folders of one that was killed: those that are
// still used stay, the others go, and nothing that was half made counts.
func TestLayouts_restart(t *testing.T) {
	b := newLayoutBench(t, FolderOverlay)
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
	b.l = b.open(FolderOverlay)
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
		t.Errorf("the stale folder holds %v, %v", names, err)
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
	b := newLayoutBench(t, FolderOverlay)
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

// Where a mount fails the folder is empty, and nothing is held.
func TestLayouts_mountFails(t *testing.T) {
	b := newLayoutBench(t, FolderOverlay)
	b.l.options = "no_such_option"
	at := b.at("a")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.l.Attach(t.Context(), "a", at, b.key(b.tree), b.tree, nil); err == nil || b.l.Attached("a") {
		t.Fatalf("it is mounted: %v", err)
	}
	if names, err := os.ReadDir(at); err != nil || len(names) > 0 || b.l.trees.known[b.key(b.tree)].uses != 0 {
		t.Errorf("the folder holds %v, %v", names, err)
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

func TestOpenLayouts_unknownWay(t *testing.T) {
	_, err := OpenLayouts(LayoutsConfig{Way: "fast"})
	if pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), "auto, overlay, reflink, copy") {
		t.Errorf("got %v", err)
	}
}
