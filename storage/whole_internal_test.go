package storage

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

func TestBlobs_missingOf(t *testing.T) {
	b, err := OpenBlobs(t.TempDir(), BlobOptions{LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	put := func(text string) pipeline.Digest {
		d, err := b.PutBytes(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := put("one"), DigestOf([]byte("two"))
	tree := Tree{{Path: "1", Mode: 0o644, Digest: one, Size: 3}, {Path: "2", Mode: 0o644, Digest: two, Size: 3}, {Path: "e", Mode: 0o644, Digest: pipeline.EmptyDigest}, {Path: "v", Mode: 0o755, Dir: true}}
	blob, err := EncodeTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	d := DigestOf(blob)
	ask := func(want ...pipeline.Digest) {
		t.Helper()
		if got, err := b.MissingOf(d); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %.8q, want %.8q, %v", got, want, err)
		}
	}
	ask(d)
	put(string(blob))
	ask(two)
	put("two")
	ask()
	if _, ok := b.whole.ask(d); !ok {
		t.Error("it is not remembered that the tree is whole")
	}
	ask()
	// What went away is noticed, however it went.
	if err := b.Delete(one); err != nil {
		t.Fatal(err)
	}
	ask(one)
	put("one")
	ask()
	if err := os.Remove(b.path(two)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(two); err == nil {
		t.Fatal("a removed blob can be read")
	}
	ask(two)
	put("two")
	ask()
	if _, err := b.MissingOf("x"); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no digest: %v", err)
	}
	if _, err := b.MissingOf(one); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no tree: %v", err)
	}
}

// A question about a tree keeps all of it from a sweep, whether the files were
// looked at or not.
func TestBlobs_missingOfSweep(t *testing.T) {
	for name, asked := range map[string]func(ask func(), begin func() func()){
		"before":  func(ask func(), begin func() func()) { ask(); ask(); begin() },
		"within":  func(ask func(), begin func() func()) { begin(); ask() },
		"between": func(ask func(), begin func() func()) { begin()(); ask(); begin() },
	} {
		t.Run(name, func(t *testing.T) {
			b, err := OpenBlobs(t.TempDir(), BlobOptions{LowWater: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			file, err := b.PutBytes(t.Context(), []byte("file"))
			if err != nil {
				t.Fatal(err)
			}
			tree, err := PutTree(t.Context(), b, Tree{{Path: "f", Mode: 0o644, Digest: file, Size: 4}})
			if err != nil {
				t.Fatal(err)
			}
			unused, err := b.PutBytes(t.Context(), []byte("unused"))
			if err != nil {
				t.Fatal(err)
			}
			old := time.Now().Add(-time.Hour)
			for _, d := range []pipeline.Digest{file, tree, unused} {
				if err := os.Chtimes(b.path(d), old, old); err != nil {
					t.Fatal(err)
				}
			}
			asked(func() {
				if missing, err := b.MissingOf(tree); err != nil || len(missing) > 0 {
					t.Fatalf("%v, %v", missing, err)
				}
			}, func() func() {
				end, err := b.BeginSweep()
				if err != nil {
					t.Fatal(err)
				}
				return end
			})
			for d, want := range map[pipeline.Digest]bool{file: false, tree: false, unused: true} {
				if gone, err := b.DeleteUnused(d, old.Add(time.Minute)); err != nil || gone != want {
					t.Errorf("%.8s: removed %v, want %v, %v", d, gone, want, err)
				}
			}
		})
	}
}
