package blob_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// bundleOf stores contents and gives a bundle of them.
func bundleOf(tb testing.TB, b *blob.Store, contents ...string) ([]byte, []pipeline.Digest) {
	tb.Helper()
	stored(tb, b, contents...)
	var digests []pipeline.Digest
	for _, c := range contents {
		digests = append(digests, blob.DigestOf([]byte(c)))
	}
	var buf bytes.Buffer
	if err := blob.WriteBundle(tb.Context(), &buf, b, digests); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes(), digests
}

func TestBundle_roundTrip(t *testing.T) {
	from, _ := openBlobs(t, blob.Options{NoSync: true})
	to, _ := openBlobs(t, blob.Options{})
	var contents []string
	for i := range 300 {
		contents = append(contents, strings.Repeat(fmt.Sprintf("line %d\n", i), i))
	}
	contents = append(contents, "", strings.Repeat("large ", 200_000))
	for round := range 3 { // compressors are used again
		raw, want := bundleOf(t, from, contents[:100*(round+1)]...)
		batch := to.NewBatch()
		got, err := blob.ReadBundle(t.Context(), iotest.HalfReader(bytes.NewReader(raw)), blob.BundleLimits{}, batch)
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %d blobs, %v, want %d", len(got), err, len(want))
		}
		if err := batch.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range want {
			if err := to.Verify(d); err != nil {
				t.Error(err)
			}
		}
	}
	if raw, _ := bundleOf(t, from, contents...); len(raw) > 100_000 {
		t.Errorf("a bundle of repetitive text has %d bytes", len(raw))
	}
}

func TestBundle_cutAnywhere(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	raw, _ := bundleOf(t, b, "one", "two", strings.Repeat("three", 100))
	for n := range raw {
		batch := b.NewBatch()
		_, err := blob.ReadBundle(t.Context(), bytes.NewReader(raw[:n]), blob.BundleLimits{}, batch)
		batch.Discard()
		var bad *blob.BundleError
		if !errors.As(err, &bad) || pipeline.KindOf(err) != pipeline.Invalid {
			t.Fatalf("cut at %d of %d: got %v, want a *BundleError", n, len(raw), err)
		}
	}
	broken := errors.New("connection reset")
	batch := b.NewBatch()
	defer batch.Discard()
	if _, err := blob.ReadBundle(t.Context(), io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), iotest.ErrReader(broken)), blob.BundleLimits{}, batch); !errors.Is(err, broken) {
		t.Errorf("a broken connection: got %v", err)
	}
}

func TestBundle_flippedAnywhere(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	raw, want := bundleOf(t, b, "one", "two", strings.Repeat("three", 100))
	for n := range raw {
		bad := bytes.Clone(raw)
		bad[n] ^= 0x40
		batch := b.NewBatch()
		got, err := blob.ReadBundle(t.Context(), bytes.NewReader(bad), blob.BundleLimits{}, batch)
		batch.Discard()
		if err == nil && len(got) != len(want) {
			t.Fatalf("bit flipped in byte %d: %d blobs and no error", n, len(got))
		}
		if k := pipeline.KindOf(err); err != nil && k != pipeline.Invalid && k != pipeline.TooLarge {
			t.Fatalf("bit flipped in byte %d: got %v of kind %s", n, err, k)
		}
	}
}

func TestBundle_limits(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	raw, _ := bundleOf(t, b, "one", "two", strings.Repeat("three", 100))
	tests := map[string]struct {
		limits blob.BundleLimits
		ok     bool
	}{
		"defaults":       {blob.BundleLimits{}, true},
		"exact":          {blob.BundleLimits{BlobBytes: 500, TotalBytes: 506, Blobs: 3}, true},
		"blob too long":  {blob.BundleLimits{BlobBytes: 499}, false},
		"all too long":   {blob.BundleLimits{TotalBytes: 505}, false},
		"too many blobs": {blob.BundleLimits{Blobs: 2}, false},
	}
	for name, test := range tests {
		batch := b.NewBatch()
		_, err := blob.ReadBundle(t.Context(), bytes.NewReader(raw), test.limits, batch)
		batch.Discard()
		if test.ok != (err == nil) || !test.ok && pipeline.KindOf(err) != pipeline.TooLarge {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// rawBundle compresses records that WriteBundle would not write.
func rawBundle(tb testing.TB, records string, opts ...zstd.EOption) []byte {
	tb.Helper()
	buf := bytes.NewBufferString("PLB1")
	z, err := zstd.NewWriter(buf, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(z, records); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func TestBundle_hostile(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	zero := strings.Repeat("\x00", 32)
	tests := map[string][]byte{
		"nothing":           nil,
		"other magic":       []byte("PLB2xxxxxxxxxxxxxxx"),
		"not zstd":          []byte("PLB1 this is not compressed"),
		"unknown record":    rawBundle(t, "\x07"),
		"count wrong":       rawBundle(t, "\x02\x05"),
		"more after end":    rawBundle(t, "\x02\x00\x02\x00"),
		"length lies":       rawBundle(t, "\x01"+zero+"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"length overflows":  rawBundle(t, "\x01"+zero+strings.Repeat("\xff", 11)),
		"wrong digest":      rawBundle(t, "\x01"+zero+"\x01x\x02\x01"),
		"bomb":              rawBundle(t, "\x01"+zero+"\xff\xff\xff\x1f"+strings.Repeat("\x00", 64<<20)),
		"large window":      rawBundle(t, strings.Repeat("x", 9<<20), zstd.WithWindowSize(64<<20)),
		"two frames":        append(rawBundle(t, "\x02\x00"), rawBundle(t, "\x02\x00")[4:]...),
		"garbage after all": append(rawBundle(t, "\x02\x00"), "garbage"...),
	}
	for name, raw := range tests {
		batch := b.NewBatch()
		_, err := blob.ReadBundle(t.Context(), bytes.NewReader(raw), blob.BundleLimits{TotalBytes: 1 << 20}, batch)
		if k := pipeline.KindOf(err); err == nil || k != pipeline.Invalid && k != pipeline.TooLarge {
			t.Errorf("%s: got %v", name, err)
		}
		batch.Discard()
	}
}

func TestBundle_missing(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	stored(t, b, "here")
	var buf bytes.Buffer
	var missing *blob.MissingError
	err := blob.WriteBundle(t.Context(), &buf, b, []pipeline.Digest{blob.DigestOf([]byte("here")), blob.DigestOf([]byte("gone"))})
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a *MissingError", err)
	}
	batch := b.NewBatch()
	defer batch.Discard()
	if _, err := blob.ReadBundle(t.Context(), &buf, blob.BundleLimits{}, batch); err == nil {
		t.Error("a bundle that broke off was read to its end")
	}
}

func FuzzReadBundle(f *testing.F) {
	b, err := blob.Open(f.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { b.Close() })
	raw, _ := bundleOf(f, b, "one", "", strings.Repeat("two", 50))
	f.Add(raw)
	f.Add(rawBundle(f, "\x01"+strings.Repeat("\x00", 32)+"\x01x\x02\x01"))
	f.Add([]byte("PLB1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		batch := b.NewBatch()
		defer batch.Discard()
		got, err := blob.ReadBundle(t.Context(), bytes.NewReader(data), blob.BundleLimits{BlobBytes: 1 << 16, TotalBytes: 1 << 18, Blobs: 100}, batch)
		if err != nil {
			if k := pipeline.KindOf(err); k != pipeline.Invalid && k != pipeline.TooLarge {
				t.Fatalf("an error of kind %s: %v", k, err)
			}
			return
		}
		if err := batch.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range got {
			if err := b.Verify(d); err != nil {
				t.Fatal(err)
			}
		}
	})
}
