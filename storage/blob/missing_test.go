package blob_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

func mustPutBytes(tb testing.TB, b *blob.Store, text string) pipeline.Digest {
	tb.Helper()
	d, err := b.PutBytes(tb.Context(), []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestBlobs_Missing(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	var all, want []pipeline.Digest
	for i := range 5000 { // more than one goroutine looks for
		text := strconv.Itoa(i)
		if i%100 == 7 {
			d := blob.DigestOf([]byte(text))
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

// stored puts the contents of a tree's files into a store.
func stored(tb testing.TB, b *blob.Store, contents ...string) {
	tb.Helper()
	for _, c := range contents {
		if _, err := b.PutBytes(tb.Context(), []byte(c)); err != nil {
			tb.Fatal(err)
		}
	}
}
