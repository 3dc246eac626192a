package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// statBench is a workspace with a cache that trusts what is a moment old.
type statBench struct {
	testing.TB
	root, dir string
}

func newStatBench(tb testing.TB, files map[string]string) *statBench {
	tb.Helper()
	root, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	if !disk.LocalFilesystem(root) {
		tb.Skip("needs a temporary directory on a local filesystem, whose times are trusted")
	}
	b := &statBench{tb, root, filepath.Join(tb.TempDir(), "snapshots")}
	for name, text := range files {
		b.write(name, text)
	}
	return b
}

func (b *statBench) write(name, text string) {
	b.Helper()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

func (b *statBench) stat(name string) unix.Stat_t {
	b.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(b.root, name), &st); err != nil {
		b.Fatal(err)
	}
	return st
}

// snapshot takes one into a store of its own. later is how much later than it is
// the snapshot believes to begin.
func (b *statBench) snapshot(later time.Duration) (tree.Tree, *blob.Store, *StatCache) {
	b.Helper()
	blobs, err := blob.Open(b.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { blobs.Close() })
	c := OpenStatCache(b.dir, b.root)
	c.now = func() time.Time { return time.Now().Add(later) }
	t, err := Snapshot(b.Context(), b.root, blobs, Options{Cache: c})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Save(); err != nil {
		b.Fatal(err)
	}
	return t, blobs, c
}

func (b *statBench) same(t tree.Tree, files map[string]string) {
	b.Helper()
	if len(t) != len(files) {
		b.Errorf("the tree has %d entries, want %d", len(t), len(files))
	}
	for name, text := range files {
		if e := t.Find(name); e == nil || e.Digest != blob.DigestOf([]byte(text)) || e.Size != int64(len(text)) {
			b.Errorf("%s: %+v is not of %q", name, e, text)
		}
	}
}

func TestStatCache(t *testing.T) {
	files := map[string]string{"a": "text", "d/b": "other", "d/e/c": "", "d/same": "text"}
	b := newStatBench(t, files)
	first, store, _ := b.snapshot(time.Minute)
	if missing := store.Missing(first.Digests()); len(missing) > 0 {
		t.Errorf("the first snapshot read all but %d", len(missing))
	}
	again, store, c := b.snapshot(time.Minute)
	b.same(again, files)
	if c.hits != len(files) || store.Has(blob.DigestOf([]byte("text"))) {
		t.Errorf("%d of %d files were known", c.hits, len(files))
	}
	// A change, a new file, a removed one, a mode, and a file that became a directory.
	b.write("a", "changed")
	b.write("new", "n")
	if err := errors.Join(os.Remove(filepath.Join(b.root, "d/e/c")), os.Chmod(filepath.Join(b.root, "d/b"), 0o755)); err != nil {
		t.Fatal(err)
	}
	b.write("d/e/c/x", "deeper")
	again, _, c = b.snapshot(time.Minute)
	b.same(again, map[string]string{"a": "changed", "d/b": "other", "d/e/c/x": "deeper", "d/same": "text", "new": "n"})
	if c.hits != 1 || again.Find("d/b").Mode != 0o755 {
		t.Errorf("%d files were known, want 1; mode %o", c.hits, again.Find("d/b").Mode)
	}
	if _, _, c := b.snapshot(time.Minute); c.hits != 5 {
		t.Errorf("%d files were known, want 5", c.hits)
	}
}

// A file that was changed within the last seconds may change again within the
// same tick of the clock, and then looks the same.
func TestStatCache_sameTick(t *testing.T) {
	b := newStatBench(t, map[string]string{"a": "one"})
	for i := range 50 {
		text := fmt.Sprintf("%03d", i)
		b.write("a", text)
		tree, _, c := b.snapshot(0)
		b.same(tree, map[string]string{"a": text})
		if c.hits != 0 || len(c.next) != 0 {
			t.Fatalf("a file that has just been written is trusted")
		}
	}
	// The future is no better: somebody set a time, or the clock.
	ahead := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(b.root, "a"), ahead, ahead); err != nil {
		t.Fatal(err)
	}
	if _, _, c := b.snapshot(time.Minute); len(c.next) != 0 {
		t.Error("a file of the future is trusted")
	}
}

// Who sets the time of modification back does not hide a change.
func TestStatCache_timesRestored(t *testing.T) {
	for name, replace := range map[string]func(path, text string) error{
		"written in place": func(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) },
		"renamed over": func(path, text string) error {
			return errors.Join(os.WriteFile(path+"~", []byte(text), 0o644), os.Rename(path+"~", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStatBench(t, map[string]string{"a": "before"})
			before := b.stat("a")
			b.snapshot(time.Minute)
			path, when := filepath.Join(b.root, "a"), time.Unix(before.Mtim.Unix())
			for later := before; later.Ctim == before.Ctim; later = b.stat("a") { // until the clock ticks
				if err := errors.Join(replace(path, "behind"), os.Chtimes(path, when, when)); err != nil {
					t.Fatal(err)
				}
			}
			if now := b.stat("a"); now.Mtim != before.Mtim || now.Size != before.Size {
				t.Fatal("the test did not hide the change")
			}
			tree, _, _ := b.snapshot(time.Minute)
			b.same(tree, map[string]string{"a": "behind"})
		})
	}
}

func TestStatCache_damaged(t *testing.T) {
	files := map[string]string{"a": "text", "b": "other"}
	b := newStatBench(t, files)
	_, _, c := b.snapshot(time.Minute)
	whole, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"empty": {}, "of another version": []byte(strings.Replace(string(whole), "cache 1", "cache 9", 1)), "with more behind": append(whole[:len(whole):len(whole)], 0)}
	for n := range whole {
		damage[fmt.Sprintf("cut at %d", n)] = whole[:n]
		flipped := append([]byte(nil), whole...)
		flipped[n] ^= 4
		damage[fmt.Sprintf("flipped at %d", n)] = flipped
	}
	for name, text := range damage {
		if got := c.decode(string(text)); got != nil {
			t.Errorf("a file %s was taken: %v", name, got)
		}
	}
	if err := os.WriteFile(c.path, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	tree, _, c := b.snapshot(time.Minute)
	b.same(tree, files)
	if c.hits != 0 {
		t.Errorf("%d files were known by half a cache", c.hits)
	}
	if _, _, c = b.snapshot(time.Minute); c.hits != len(files) {
		t.Errorf("it was not written anew: %d files were known", c.hits)
	}
}

// Several at once leave a file that is whole.
func TestStatCache_together(t *testing.T) {
	files := map[string]string{"a": "text", "b": "other"}
	b := newStatBench(t, files)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := OpenStatCache(b.dir, b.root)
			c.now = func() time.Time { return time.Now().Add(time.Minute) }
			blobs, err := blob.Open(b.TempDir(), blob.Options{NoSync: true, LowWater: -1})
			if err != nil {
				t.Error(err)
				return
			}
			defer blobs.Close()
			if _, err := Snapshot(b.Context(), b.root, blobs, Options{Cache: c}); err != nil {
				t.Error(err)
			}
			if err := c.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := OpenStatCache(b.dir, b.root); len(c.old) != len(files) {
		t.Errorf("%d files are remembered, want %d", len(c.old), len(files))
	}
}

func TestStatCache_bounded(t *testing.T) {
	b := newStatBench(t, map[string]string{"a": "text"})
	gone := newStatBench(t, map[string]string{"a": "text"})
	gone.dir = b.dir
	_, _, dead := gone.snapshot(time.Minute)
	if err := os.RemoveAll(gone.root); err != nil {
		t.Fatal(err)
	}
	_, _, c := b.snapshot(time.Minute)
	if _, err := os.Stat(dead.path); !os.IsNotExist(err) {
		t.Errorf("what is known of a directory that is gone stays: %v", err)
	}
	whole, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxStatFiles + 10 {
		path := filepath.Join(b.dir, fmt.Sprintf("%032d", i))
		used := time.Now().Add(-time.Duration(i) * time.Hour)
		if err := errors.Join(os.WriteFile(path, whole, 0o600), os.Chtimes(path, used, used)); err != nil {
			t.Fatal(err)
		}
	}
	b.write("b", "new")
	b.snapshot(time.Minute)
	names, err := os.ReadDir(b.dir)
	if err != nil || len(names) != maxStatFiles {
		t.Errorf("%d files are kept, want %d: %v", len(names), maxStatFiles, err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, fmt.Sprintf("%032d", 0))); err != nil {
		t.Errorf("the one that was used last went: %v", err)
	}
}

// What a node lacks is read then; what is something else by then is taken as it
// is, and said once.
func TestRefill(t *testing.T) {
	files := map[string]string{"a": "text", "b": "other", "d/gone": "soon", "kept": "kept", "twin": "text"}
	b := newStatBench(t, files)
	b.snapshot(time.Minute)
	tree, store, c := b.snapshot(time.Minute)
	var warned []string
	opts := Options{Cache: c, Warn: func(s string) { warned = append(warned, s) }}
	got, changed, err := Refill(t.Context(), b.root, tree, []pipeline.Digest{blob.DigestOf([]byte("text")), blob.DigestOf([]byte("stranger"))}, store, opts)
	if err != nil || changed || len(warned) > 0 || !store.Has(blob.DigestOf([]byte("text"))) || store.Has(blob.DigestOf([]byte("other"))) {
		t.Errorf("changed %v, %q, %v", changed, warned, err)
	}
	b.same(got, files)
	b.write("b", "OTHER")
	if err := os.Remove(filepath.Join(b.root, "d/gone")); err != nil {
		t.Fatal(err)
	}
	got, changed, err = Refill(t.Context(), b.root, tree, tree.Digests(), store, opts)
	if err != nil || !changed || len(warned) != 1 || !strings.Contains(warned[0], "the version read was used: b, d/gone") {
		t.Errorf("changed %v, %q, %v", changed, warned, err)
	}
	want := map[string]string{"a": "text", "b": "OTHER", "kept": "kept", "twin": "text"}
	b.same(got, want)
	b.same(tree, files) // a tree is never changed
	if missing := store.Missing(got.Digests()); len(missing) > 0 {
		t.Errorf("%d blobs of the mended tree are missing", len(missing))
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, _, c := b.snapshot(time.Minute); c.hits != 3 {
		t.Errorf("%d files were known, want 3", c.hits)
	}
}
