package tree_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestCache_Read(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	trees := tree.NewCache(b)
	for i := range 30 {
		want := tree.Tree{file("a", fmt.Sprint(i))}
		d, err := tree.Put(t.Context(), b, want)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // read, then from memory
			if got, err := trees.Read(d); err != nil || !cmp.Equal(got, want) {
				t.Fatalf("got %v, %v, want %v", got, err, want)
			}
		}
	}
	d, err := b.PutBytes(t.Context(), []byte(`[{"path":"../x"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trees.Read(d); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("a bad tree: got %v", err)
	}
}

func TestCache_Missing(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{})
	one, two := mustPutBytes(t, b, "one"), blob.DigestOf([]byte("two"))
	files := tree.Tree{{Path: "1", Mode: 0o644, Digest: one, Size: 3}, {Path: "2", Mode: 0o644, Digest: two, Size: 3},
		{Path: "e", Mode: 0o644, Digest: pipeline.EmptyDigest}, {Path: "v", Mode: 0o755, Dir: true}}
	text, err := tree.Encode(files)
	if err != nil {
		t.Fatal(err)
	}
	d := blob.DigestOf(text)
	ask := func(want ...pipeline.Digest) {
		t.Helper()
		if got, err := tree.NewCache(b).Missing(d); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %.8q, want %.8q, %v", got, want, err)
		}
	}

	ask(d)
	mustPutBytes(t, b, string(text))
	ask(two)
	mustPutBytes(t, b, "two")
	ask()
	ask()
	for _, gone := range []pipeline.Digest{one, d} {
		if err := b.Delete(gone); err != nil {
			t.Fatal(err)
		}
		ask(gone)
		mustPutBytes(t, b, map[pipeline.Digest]string{one: "one", d: string(text)}[gone])
	}

	if _, err := tree.NewCache(b).Missing("x"); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no digest: %v", err)
	}
	if _, err := tree.NewCache(b).Missing(one); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no tree: %v", err)
	}
}

// A question about a tree keeps all of it from a sweep that began before.
func TestCache_Missing_sweep(t *testing.T) {
	b, dir := blobtest.New(t, blob.Options{})
	file := mustPutBytes(t, b, "file")
	listing, err := tree.Put(t.Context(), b, tree.Tree{{Path: "f", Mode: 0o644, Digest: file, Size: 4}})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	for _, d := range []pipeline.Digest{file, listing} {
		old := before.Add(-time.Hour)
		if err := os.Chtimes(blobtest.File(dir, d), old, old); err != nil {
			t.Fatal(err)
		}
	}

	if missing, err := tree.NewCache(b).Missing(listing); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	for _, d := range []pipeline.Digest{file, listing} {
		if gone, err := b.DeleteUnused(d, before); gone || err != nil {
			t.Errorf("%.8s was deleted: %v, %v", d, gone, err)
		}
	}
}

func mustPutBytes(tb testing.TB, b *blob.Store, text string) pipeline.Digest {
	tb.Helper()
	d, err := b.PutBytes(tb.Context(), []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}
