// Package blobtest holds what every store of blobs must do, as a test suite.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// Store is what the suite needs of a store of blobs.
type Store interface {
	blob.Putter
	PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error)
	Open(d pipeline.Digest) (*blob.Reader, error)
	ReadAll(d pipeline.Digest, limit int64) ([]byte, error)
	Verify(d pipeline.Digest) error
	Has(d pipeline.Digest) bool
	Size(d pipeline.Digest) (int64, error)
	Missing(digests []pipeline.Digest) []pipeline.Digest
	Delete(d pipeline.Digest) error
	DeleteUnused(d pipeline.Digest, since time.Time) (bool, error)
	Walk(ctx context.Context, f func(blob.Info) error) error
	NewBatch() *blob.Batch
}

// sizes are around every boundary that a store may have.
var sizes = []int{1, 2, 63, 64, 65, 4095, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256<<10 + 1, 1<<20 + 7}

// content gives n bytes that differ with n.
func content(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// Run tests a store; open gives a new and empty one for each test.
func Run(t *testing.T, open func(tb testing.TB) Store) {
	tests := map[string]func(*testing.T, Store){
		"RoundTrip": testRoundTrip, "Empty": testEmpty, "Expect": testExpect, "BrokenReader": testBrokenReader,
		"Missing": testMissing, "Delete": testDelete, "Walk": testWalk, "Seek": testSeek, "Batch": testBatch,
		"Canceled": testCanceled, "BadDigest": testBadDigest, "Concurrent": testConcurrent,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func testRoundTrip(t *testing.T, s Store) {
	for _, n := range sizes {
		p := content(n)
		want := blob.DigestOf(p)
		// In odd portions, as a network gives them.
		d, size, err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(p)))
		if err != nil || d != want || size != int64(n) {
			t.Fatalf("put %d bytes: got %s, %d, %v, want %s", n, d, size, err, want)
		}
		if again, err := s.PutBytes(t.Context(), p); err != nil || again != want {
			t.Fatalf("put %d bytes again: got %s, %v", n, again, err)
		}
		if got, err := s.ReadAll(d, int64(n)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("read %d bytes: %d bytes, %v", n, len(got), err)
		}
		if _, err := s.ReadAll(d, int64(n)-1); pipeline.KindOf(err) != pipeline.TooLarge {
			t.Errorf("read %d bytes with a lower limit: got %v, want too_large", n, err)
		}
		if got, err := s.Size(d); err != nil || got != int64(n) {
			t.Errorf("size: got %d, %v, want %d", got, err, n)
		}
		if err := s.Verify(d); err != nil {
			t.Errorf("verify: %v", err)
		}
		r, err := s.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		if n <= 8<<10 { // it reads byte by byte
			if err := iotest.TestReader(r, p); err != nil {
				t.Errorf("reader of %d bytes: %v", n, err)
			}
		}
		r.Close()
	}
}

func testEmpty(t *testing.T, s Store) {
	if !s.Has(pipeline.EmptyDigest) || len(s.Missing([]pipeline.Digest{pipeline.EmptyDigest})) != 0 {
		t.Error("the empty blob is not there from the start")
	}
	d, n, err := s.Put(t.Context(), bytes.NewReader(nil))
	if err != nil || n != 0 || d != pipeline.EmptyDigest {
		t.Errorf("put nothing: got %s, %d, %v", d, n, err)
	}
	if got, err := s.ReadAll(d, 0); err != nil || len(got) != 0 {
		t.Errorf("read nothing: got %q, %v", got, err)
	}
	if err := s.Walk(t.Context(), func(i blob.Info) error { return fmt.Errorf("found %s", i.Digest) }); err != nil {
		t.Error(err)
	}
}

func testExpect(t *testing.T, s Store) {
	for _, n := range []int{100, 200 << 10} {
		p := content(n)
		d := blob.DigestOf(p)
		bad := bytes.Clone(p)
		bad[n/2] ^= 1
		var mismatch *blob.MismatchError
		_, err := s.PutExpect(t.Context(), d, bytes.NewReader(bad))
		if !errors.As(err, &mismatch) || mismatch.Want != d || mismatch.Got != blob.DigestOf(bad) || pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("put other bytes: got %v, want a mismatch", err)
		}
		if s.Has(d) || s.Has(blob.DigestOf(bad)) {
			t.Error("something was kept after a mismatch")
		}
		if size, err := s.PutExpect(t.Context(), d, bytes.NewReader(p)); err != nil || size != int64(n) {
			t.Errorf("put the right bytes: got %d, %v", size, err)
		}
	}
}

func testBrokenReader(t *testing.T, s Store) {
	for _, n := range []int{10, 64 << 10, 300 << 10} {
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("the network went away")} {
			p := content(n)
			_, _, err := s.Put(t.Context(), io.MultiReader(bytes.NewReader(p), iotest.ErrReader(cause)))
			if !errors.Is(err, cause) {
				t.Errorf("put %d bytes and an error: got %v, want %v", n, err, cause)
			}
			if s.Has(blob.DigestOf(p)) {
				t.Errorf("a part of %d bytes was kept", n)
			}
		}
	}
}

func testMissing(t *testing.T, s Store) {
	here, err := s.PutBytes(t.Context(), content(10))
	if err != nil {
		t.Fatal(err)
	}
	gone, other := blob.DigestOf(content(11)), blob.DigestOf(content(12))
	got := s.Missing([]pipeline.Digest{gone, here, other, gone, pipeline.EmptyDigest})
	if want := []pipeline.Digest{gone, other}; !slices.Equal(got, want) {
		t.Errorf("missing: got %v, want %v", got, want)
	}
	_, openErr := s.Open(gone)
	_, readErr := s.ReadAll(gone, 100)
	_, sizeErr := s.Size(gone)
	for _, err := range []error{openErr, readErr, sizeErr, s.Verify(gone)} {
		var missing *blob.MissingError
		if !errors.As(err, &missing) || missing.Digest != gone || pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("got %v, want a *MissingError of kind not_found", err)
		}
	}
}

func testDelete(t *testing.T, s Store) {
	d, err := s.PutBytes(t.Context(), content(100))
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := s.DeleteUnused(d, time.Now().Add(-time.Hour)); err != nil || removed {
		t.Errorf("a blob that was just put was swept: %v, %v", removed, err)
	}
	r, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := s.Delete(d); err != nil || s.Has(d) {
		t.Errorf("delete: %v, still there: %v", err, s.Has(d))
	}
	if got, err := io.ReadAll(r); err != nil || len(got) != 100 {
		t.Errorf("an open blob ended with its deletion: %d bytes, %v", len(got), err)
	}
	if err := s.Delete(d); err != nil {
		t.Errorf("delete again: %v", err)
	}
	if _, err := s.PutBytes(t.Context(), content(100)); err != nil || !s.Has(d) {
		t.Errorf("put after delete: %v", err)
	}
	if removed, err := s.DeleteUnused(d, time.Now().Add(time.Hour)); err != nil || !removed || s.Has(d) {
		t.Errorf("an unused blob was not swept: %v, %v", removed, err)
	}
}

func testWalk(t *testing.T, s Store) {
	var want []pipeline.Digest
	for _, n := range sizes {
		d, err := s.PutBytes(t.Context(), content(n))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
	}
	slices.Sort(want)
	var got []pipeline.Digest
	err := s.Walk(t.Context(), func(i blob.Info) error {
		if size, err := s.Size(i.Digest); err != nil || size != i.Size {
			t.Errorf("walk says %d bytes, size says %d, %v", i.Size, size, err)
		}
		got = append(got, i.Digest)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("walk: got %v, %v, want %v", got, err, want)
	}
	stop := errors.New("enough")
	if err := s.Walk(t.Context(), func(blob.Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("walk that is stopped: got %v", err)
	}
}

func testSeek(t *testing.T, s Store) {
	p := content(5000)
	d, err := s.PutBytes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.Seek(0, io.SeekEnd); err != nil || n != 5000 || r.Size() != 5000 {
		t.Errorf("seek to the end: got %d, %v", n, err)
	}
	if _, err := r.Seek(1000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, p[1000:]) {
		t.Errorf("read from the middle: %d bytes, %v", len(got), err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek before the start: no error")
	}
}

func testBatch(t *testing.T, s Store) {
	for _, count := range []int{1, 3, 200} {
		b := s.NewBatch()
		var want []pipeline.Digest
		for i := range count {
			d, err := b.PutBytes(t.Context(), fmt.Appendf(nil, "%d of %d", i, count))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, d)
		}
		if _, err := b.PutBytes(t.Context(), fmt.Appendf(nil, "0 of %d", count)); err != nil {
			t.Fatal(err)
		}
		if got := s.Missing(want); len(got) != count {
			t.Errorf("%d of %d blobs are there before the commit", count-len(got), count)
		}
		if err := b.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.Missing(want); len(got) != 0 {
			t.Errorf("%d of %d blobs are missing after the commit", len(got), count)
		}
	}
	b := s.NewBatch()
	d, _, err := b.Put(t.Context(), bytes.NewReader(content(70<<10)))
	if err != nil {
		t.Fatal(err)
	}
	b.Discard()
	if err := b.Commit(t.Context()); err != nil || s.Has(d) {
		t.Errorf("a discarded blob is there, or the commit failed: %v", err)
	}
}

func testCanceled(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, n := range []int{10, 300 << 10} {
		p := content(n)
		if _, _, err := s.Put(ctx, bytes.NewReader(p)); !errors.Is(err, context.Canceled) {
			t.Errorf("put %d bytes: got %v, want canceled", n, err)
		}
		if s.Has(blob.DigestOf(p)) {
			t.Error("kept after cancel")
		}
	}
}

func testBadDigest(t *testing.T, s Store) {
	for _, d := range []pipeline.Digest{"", "ab", "../../../../etc/passwd", pipeline.Digest(bytes.Repeat([]byte("A"), 64)),
		pipeline.Digest(bytes.Repeat([]byte("/"), 64)), "sha256:" + pipeline.EmptyDigest} {
		_, openErr := s.Open(d)
		_, sizeErr := s.Size(d)
		_, putErr := s.PutExpect(t.Context(), d, bytes.NewReader(nil))
		for _, err := range []error{openErr, sizeErr, putErr, s.Delete(d), s.Verify(d)} {
			if pipeline.KindOf(err) != pipeline.Invalid {
				t.Errorf("digest %q: got %v, want an error of kind invalid", d, err)
			}
		}
	}
}

func testConcurrent(t *testing.T, s Store) {
	const workers, blobs = 8, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for range blobs {
				p := fmt.Appendf(nil, "blob %d", r.IntN(blobs)) // many the same
				d, err := s.PutBytes(t.Context(), p)
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				if got, err := s.ReadAll(d, 100); err != nil || !bytes.Equal(got, p) {
					t.Errorf("read: got %q, %v, want %q", got, err, p)
				}
			}
		})
	}
	wg.Wait()
}

// New makes a store in a directory of the test's own, without a low-water mark
// unless opts has one, and gives both.
func New(tb testing.TB, opts blob.Options) (*blob.Store, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "blobs")
	if opts.LowWater == 0 {
		opts.LowWater = -1
	}
	b, err := blob.Open(dir, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b, dir
}

// File is where the file of a blob lies.
func File(dir string, d pipeline.Digest) string {
	return filepath.Join(dir, string(d[:2]), string(d))
}
