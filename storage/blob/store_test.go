package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// nilContext is a context that never ends, for the helper process.
type nilContext struct{ context.Context }

func (nilContext) Err() error                  { return nil }
func (nilContext) Done() <-chan struct{}       { return nil }
func (nilContext) Value(any) any               { return nil }
func (nilContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func openBlobs(tb testing.TB, opts blob.Options) (*blob.Store, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "blobs")
	return openBlobsIn(tb, dir, opts), dir
}

func openBlobsIn(tb testing.TB, dir string, opts blob.Options) *blob.Store {
	tb.Helper()
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
	return b
}

func TestBlobs(t *testing.T) {
	for name, noSync := range map[string]bool{"Sync": false, "NoSync": true} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(tb testing.TB) blobtest.Store {
				b, _ := openBlobs(tb, blob.Options{NoSync: noSync})
				return b
			})
		})
	}
}

// blobFile is where the file of a blob lies.
func blobFile(dir string, d pipeline.Digest) string {
	return filepath.Join(dir, string(d[:2]), string(d))
}

// spoil overwrites the file of a blob.
func spoil(tb testing.TB, dir string, d pipeline.Digest, p []byte) {
	tb.Helper()
	path := blobFile(dir, d)
	if err := os.Chmod(path, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, p, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestBlobs_corrupt(t *testing.T) {
	good := bytes.Repeat([]byte("0123456789abcdef"), 10<<10) // 160 KiB
	flip := func(at int) []byte { p := bytes.Clone(good); p[at] ^= 0x10; return p }
	bad := map[string][]byte{
		"first bit": flip(0), "middle": flip(80 << 10), "last": flip(len(good) - 1),
		"shorter": good[:len(good)-1], "longer": append(bytes.Clone(good), 'x'), "nothing": {},
	}
	reads := map[string]func(*blob.Store, pipeline.Digest) error{
		"ReadAll": func(b *blob.Store, d pipeline.Digest) error { _, err := b.ReadAll(d, 1<<20); return err },
		"Verify":  func(b *blob.Store, d pipeline.Digest) error { return b.Verify(d) },
		"Open": func(b *blob.Store, d pipeline.Digest) error {
			r, err := b.Open(d)
			if err != nil {
				return err
			}
			defer r.Close()
			n, err := io.Copy(io.Discard, r)
			if err != nil && n >= r.Size() && n > 0 {
				return fmt.Errorf("all bytes of a corrupt blob were given before %w", err)
			}
			return err
		},
		"Layout": func(b *blob.Store, d pipeline.Digest) error {
			return layout.Write(t.Context(), tree.Tree{{Path: "f", Mode: 0o644, Digest: d, Size: int64(len(good))}}, t.TempDir(), b)
		},
		"WriteBundle": func(b *blob.Store, d pipeline.Digest) error {
			return blob.WriteBundle(t.Context(), io.Discard, b, []pipeline.Digest{d})
		},
	}
	for how, p := range bad {
		for with, read := range reads {
			t.Run(how+"/"+with, func(t *testing.T) {
				var told []pipeline.Digest
				b, dir := openBlobs(t, blob.Options{NoSync: true, OnCorrupt: func(d pipeline.Digest) { told = append(told, d) }})
				d, err := b.PutBytes(t.Context(), good)
				if err != nil {
					t.Fatal(err)
				}
				spoil(t, dir, d, p)
				var corrupt *blob.CorruptError
				if err := read(b, d); !errors.As(err, &corrupt) || corrupt.Digest != d || pipeline.KindOf(err) != pipeline.NotFound {
					t.Fatalf("got %v, want a *CorruptError of kind not_found", err)
				}
				if b.Has(d) || !slices.Equal(b.Missing([]pipeline.Digest{d}), []pipeline.Digest{d}) {
					t.Error("the corrupt blob counts as present")
				}
				if !slices.Equal(told, []pipeline.Digest{d}) {
					t.Errorf("told of %v, want %s once", told, d)
				}
				if aside, _ := os.ReadDir(filepath.Join(dir, "corrupt")); len(aside) != 1 {
					t.Errorf("quarantined: %v, want one file", aside)
				}
				// A good copy takes its place.
				if _, err := b.PutExpect(t.Context(), d, bytes.NewReader(good)); err != nil || b.Verify(d) != nil {
					t.Errorf("put a good copy: %v", err)
				}
			})
		}
	}
}

func TestBlobs_putRepairsTornFile(t *testing.T) {
	b, dir := openBlobs(t, blob.Options{NoSync: true})
	p := []byte("what a power cut left of this file is nothing")
	d, err := b.PutBytes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, dir, d, nil)
	if _, err := b.PutBytes(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(d); err != nil {
		t.Errorf("after a put: %v", err)
	}
}

// A reader that finds an old copy bad must not remove the good one that was put
// meanwhile.
func TestBlobs_quarantineSparesGoodCopy(t *testing.T) {
	b, dir := openBlobs(t, blob.Options{NoSync: true})
	p := bytes.Repeat([]byte("x"), 1000)
	d, err := b.PutBytes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, dir, d, []byte("y"))
	r, err := b.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := b.PutBytes(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err == nil {
		t.Error("the old copy passed")
	}
	if err := b.Verify(d); err != nil {
		t.Errorf("the good copy is gone: %v", err)
	}
}

func TestOpenBlobs_cleansAfterCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	p := startHelper(t, "half-written", dir)
	p.line(t)
	temps := func() int {
		found, err := filepath.Glob(filepath.Join(dir, "tmp", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	openBlobsIn(t, dir, blob.Options{})
	if temps() != 1 {
		t.Fatalf("%d temporary files while another process writes one, want it kept", temps())
	}
	p.kill()
	b := openBlobsIn(t, dir, blob.Options{})
	if temps() != 0 {
		t.Errorf("%d temporary files of a process that died are left", temps())
	}
	err := b.Walk(t.Context(), func(i blob.Info) error { return fmt.Errorf("half a blob is there: %s", i.Digest) })
	if err != nil {
		t.Error(err)
	}
}

func TestOpenBlobs_twoAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	a, b := openBlobsIn(t, dir, blob.Options{NoSync: true}), openBlobsIn(t, dir, blob.Options{NoSync: true})
	var wg sync.WaitGroup
	for _, s := range []*blob.Store{a, b} {
		wg.Go(func() {
			for i := range 200 {
				if _, err := s.PutBytes(t.Context(), fmt.Appendf(nil, "%d", i)); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		if d := blob.DigestOf(fmt.Appendf(nil, "%d", i)); a.Verify(d) != nil || b.Verify(d) != nil {
			t.Errorf("blob %d is not in both", i)
		}
	}
}

func TestBlobs_lowWater(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true, LowWater: 1 << 62})
	for _, n := range []int{10, 300 << 10} {
		_, _, err := b.Put(t.Context(), strings.NewReader(strings.Repeat("x", n)))
		if pipeline.KindOf(err) != pipeline.Unavailable || !strings.Contains(err.Error(), "disk low") {
			t.Errorf("put %d bytes: got %v, want unavailable, disk low", n, err)
		}
	}
	if free, total := b.FreeBytes(); free == 0 || total < free {
		t.Errorf("free %d of %d bytes", free, total)
	}
	normal, err := blob.Open(t.TempDir(), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer normal.Close()
	if _, total := normal.FreeBytes(); normal.LowWater() != min(512<<20, total/20) {
		t.Errorf("default low water: got %d", normal.LowWater())
	}
}

// The memory of a large blob is a few buffers, whatever its length.
func TestBlobs_largeBlobMemory(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{NoSync: true})
	const size = 64 << 20
	per := testing.AllocsPerRun(1, func() {
		d, n, err := b.Put(t.Context(), io.LimitReader(zeros{}, size))
		if err != nil || n != size {
			t.Fatalf("put: %d, %v", n, err)
		}
		if err := b.Verify(d); err != nil {
			t.Fatal(err)
		}
		if err := layout.Write(t.Context(), tree.Tree{{Path: "f", Mode: 0o600, Digest: d, Size: size}}, t.TempDir(), b); err != nil {
			t.Fatal(err)
		}
	})
	if per > 500 {
		t.Errorf("%.0f allocations for a blob of 64 MiB", per)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What one batch takes from another is committed by it, and by the other no more.
func TestBatch_Take(t *testing.T) {
	b, _ := openBlobs(t, blob.Options{})
	one, two := b.NewBatch(), b.NewBatch()
	defer one.Discard()
	var want []pipeline.Digest
	for i, batch := range []*blob.Batch{one, two, two} {
		d, err := batch.PutBytes(t.Context(), []byte{byte(i), 'x'})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
	}
	if _, err := two.PutBytes(t.Context(), []byte{0, 'x'}); err != nil { // both have it
		t.Fatal(err)
	}
	one.Take(two)
	two.Discard()
	if err := two.Commit(t.Context()); err != nil || len(b.Missing(want)) != 3 {
		t.Errorf("before the commit %d of 3 are missing, %v", len(b.Missing(want)), err)
	}
	if err := one.Commit(t.Context()); err != nil || len(b.Missing(want)) != 0 {
		t.Errorf("after the commit %d are missing, %v", len(b.Missing(want)), err)
	}
}
