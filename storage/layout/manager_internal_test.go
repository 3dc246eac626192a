package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// layoutBench is a store with layouts over it. Its data lies in the directory that
// PIPELINED_TEST_DIR names, such as one on another filesystem.
type layoutBench struct {
	testing.TB
	dir   string
	blobs *blob.Store
	l     *Manager
	tree  tree.Tree
}

func newLayoutBench(tb testing.TB, mode Mode) *layoutBench {
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
	if b.blobs, err = blob.Open(filepath.Join(dir, "blobs"), blob.Options{NoSync: true, LowWater: -1}); err != nil {
		tb.Fatal(err)
	}
	if err := disk.Mark(filepath.Join(dir, "work")); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		b.blobs.Close()
		if err := UnmountBelow(dir); err != nil {
			tb.Error(err)
		}
	})
	b.l = b.open(mode)
	b.tree = tree.Tree{
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
func (b *layoutBench) open(mode Mode) *Manager {
	b.Helper()
	l, err := Open(Config{Dir: filepath.Join(b.dir, "layers"), WorkDir: filepath.Join(b.dir, "work"), Blobs: b.blobs, Mode: mode, MinFiles: 5, MaxTrees: 3, MaxBytes: 1 << 30})
	if mode == Overlay && err != nil {
		b.Skipf("needs overlay mounts: %v", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// key is that of a tree.
func (b *layoutBench) key(t tree.Tree) string {
	b.Helper()
	text, err := tree.Encode(t)
	if err != nil {
		b.Fatal(err)
	}
	return string(blob.DigestOf(text))
}

// layout lays a tree out as an attempt's directory.
func (b *layoutBench) layout(name string, t tree.Tree) string {
	b.Helper()
	at := b.at(name)
	if err := os.MkdirAll(at, 0o755); err != nil {
		b.Fatal(err)
	}
	var err error
	if b.l.Pays(t) {
		err = b.l.Attach(b.Context(), name, at, b.key(t), t, nil)
	} else {
		err = WriteWith(b.Context(), t, at, b.blobs, Options{})
	}
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func (b *layoutBench) at(name string) string { return filepath.Join(b.dir, "work", name, "work") }

// listing describes all that is in a directory; times of directories too where wanted.
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
			line += " " + string(blob.DigestOf(text))
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
func (b *layoutBench) plain(t tree.Tree) []string {
	b.Helper()
	dir := b.TempDir()
	if err := Write(b.Context(), t, dir, b.blobs); err != nil {
		b.Fatal(err)
	}
	return listing(b, dir)
}

func eachMode(t *testing.T, f func(t *testing.T, b *layoutBench)) {
	for _, mode := range Modes() {
		t.Run(mode, func(t *testing.T) { f(t, newLayoutBench(t, Mode(mode))) })
	}
}

// Whatever is done in a directory reaches neither the store nor another directory.
func TestLayouts_safe(t *testing.T) {
	eachMode(t, func(t *testing.T, b *layoutBench) {
		want := b.plain(b.tree)
		// The second and the third find what the first has verified and prepared.
		var directories []string
		for i := range 3 {
			directories = append(directories, b.layout(fmt.Sprint("attempt", i), b.tree))
		}
		for _, at := range directories {
			if got := listing(t, at); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		vandalize(t, directories[1])
		if after := listing(t, directories[1]); slices.Equal(after, want) {
			t.Error("nothing happened in the directory")
		}
		directories = append(directories, b.layout("later", b.tree))
		for _, i := range []int{0, 2, 3} {
			if got := listing(t, directories[i]); !slices.Equal(got, want) {
				t.Errorf("directory %d: got  %q\nwant %q", i, got, want)
			}
		}
		for _, d := range b.tree.Digests() {
			if err := b.blobs.Verify(d); err != nil {
				t.Error(err)
			}
		}
		for i, at := range directories {
			name := filepath.Base(filepath.Dir(at))
			if err := b.l.Release(name, at); err != nil {
				t.Error(err)
			}
			if isOverlay(at) || b.l.Attached(name) {
				t.Errorf("directory %d is still mounted", i)
			}
		}
	})
}

// vandalize does in a directory what modules do, by every call that writes.
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
		t.Errorf("a directory was not renamed with what is in it: %v", err)
	}
}

// An overlay with outputs laid over it is the directory that copies make.
func TestComplete(t *testing.T) {
	b := newLayoutBench(t, Copy)
	r := rand.New(rand.NewPCG(3, 4))
	pick := func() string {
		parts := []string{"a", "b", "c"}
		p := parts[r.IntN(3)]
		for range r.IntN(3) {
			p += "/" + parts[r.IntN(3)]
		}
		return p
	}
	random := func(n int) tree.Tree {
		var t tree.Tree
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
			more.Sort()
			if more.Check() == nil {
				t = more
			}
		}
		return t
	}
	for i := range 100 {
		base := random(8)
		all, err := Merge(base, Named{"one", random(1 + r.IntN(5))})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "d")
		if err := errors.Join(os.Mkdir(dir, 0o755), Write(t.Context(), base, dir, b.blobs)); err != nil {
			t.Fatal(err)
		}
		if err := Complete(t.Context(), base, all, dir, b.blobs, Options{}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if got, want := listing(t, dir), b.plain(all); !slices.Equal(got, want) {
			t.Fatalf("round %d: %v over %v:\ngot  %q\nwant %q", i, all, base, got, want)
		}
	}
}

func TestOpenLayouts_unknownMode(t *testing.T) {
	_, err := Open(Config{Mode: "fast"})
	if pipeline.KindOf(err) != pipeline.Invalid || !strings.Contains(err.Error(), "auto, overlay, copy") {
		t.Errorf("got %v", err)
	}
}
