package storage_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func mustPutBytes(tb testing.TB, b *storage.Blobs, text string) pipeline.Digest {
	tb.Helper()
	d, err := b.PutBytes(tb.Context(), []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestBlobs_Missing(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	var all, want []pipeline.Digest
	for i := range 5000 { // more than one goroutine looks for
		text := strconv.Itoa(i)
		if i%100 == 7 {
			d := storage.DigestOf([]byte(text))
			all, want = append(all, d, d), append(want, d)
			continue
		}
		all = append(all, mustPutBytes(t, b, text))
	}
	all, want = append(all, pipeline.EmptyDigest, "x"), append(want, "x")
	if got := b.Missing(all); !slices.Equal(got, want) {
		t.Errorf("%d missing, want %d", len(got), len(want))
	}
	if got := b.Missing(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestBlobs_MissingOf(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{})
	one, two := mustPutBytes(t, b, "one"), storage.DigestOf([]byte("two"))
	tree := storage.Tree{{Path: "1", Mode: 0o644, Digest: one, Size: 3}, {Path: "2", Mode: 0o644, Digest: two, Size: 3},
		{Path: "e", Mode: 0o644, Digest: pipeline.EmptyDigest}, {Path: "v", Mode: 0o755, Dir: true}}
	blob, err := storage.EncodeTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	d := storage.DigestOf(blob)
	ask := func(want ...pipeline.Digest) {
		t.Helper()
		if got, err := b.MissingOf(d); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %.8q, want %.8q, %v", got, want, err)
		}
	}

	ask(d)
	mustPutBytes(t, b, string(blob))
	ask(two)
	mustPutBytes(t, b, "two")
	ask()
	ask()
	for _, gone := range []pipeline.Digest{one, d} {
		if err := b.Delete(gone); err != nil {
			t.Fatal(err)
		}
		ask(gone)
		mustPutBytes(t, b, map[pipeline.Digest]string{one: "one", d: string(blob)}[gone])
	}

	if _, err := b.MissingOf("x"); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no digest: %v", err)
	}
	if _, err := b.MissingOf(one); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no tree: %v", err)
	}
}

// A question about a tree keeps all of it from a sweep that began before.
func TestBlobs_MissingOf_sweep(t *testing.T) {
	b, dir := openBlobs(t, storage.BlobOptions{})
	file := mustPutBytes(t, b, "file")
	tree, err := storage.PutTree(t.Context(), b, storage.Tree{{Path: "f", Mode: 0o644, Digest: file, Size: 4}})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	for _, d := range []pipeline.Digest{file, tree} {
		old := before.Add(-time.Hour)
		if err := os.Chtimes(blobFile(dir, d), old, old); err != nil {
			t.Fatal(err)
		}
	}

	if missing, err := b.MissingOf(tree); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	for _, d := range []pipeline.Digest{file, tree} {
		if gone, err := b.DeleteUnused(d, before); gone || err != nil {
			t.Errorf("%.8s was deleted: %v, %v", d, gone, err)
		}
	}
}
