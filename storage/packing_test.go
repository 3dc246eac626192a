package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/storagetest"
)

// packedStore packs all that is put.
type packedStore struct {
	tb testing.TB
	*storage.Blobs
}

func (s packedStore) pack(d pipeline.Digest, err error) {
	if err != nil || d == pipeline.EmptyDigest {
		return
	}
	out, err := s.Pack(s.tb.Context(), d, storage.PackOptions{})
	// Two at once: the other one may have packed it.
	if err != nil || out.Futile {
		s.tb.Errorf("pack %s: %+v, %v", d, out, err)
	}
}

func (s packedStore) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	d, n, err := s.Blobs.Put(ctx, r)
	s.pack(d, err)
	return d, n, err
}

func (s packedStore) PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error) {
	d, err := s.Blobs.PutBytes(ctx, p)
	s.pack(d, err)
	return d, err
}

func (s packedStore) PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	n, err := s.Blobs.PutExpect(ctx, d, r)
	s.pack(d, err)
	return n, err
}

func TestBlobs_packed(t *testing.T) {
	storagetest.RunBlobs(t, func(tb testing.TB) storagetest.Store {
		b, _ := openBlobs(tb, storage.BlobOptions{NoSync: true})
		storage.PackAll(b)
		return packedStore{tb, b}
	})
}

// text gives n bytes that pack well and differ everywhere.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of the output of a module that says much the same again and again\n", i*i)
	}
	return b.Bytes()[:n]
}

func put(tb testing.TB, b *storage.Blobs, p []byte) pipeline.Digest {
	tb.Helper()
	d, _, err := b.Put(tb.Context(), bytes.NewReader(p))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func mustPack(tb testing.TB, b *storage.Blobs, d pipeline.Digest) storage.Packing {
	tb.Helper()
	out, err := b.Pack(tb.Context(), d, storage.PackOptions{})
	if err != nil || !out.Done {
		tb.Fatalf("pack: %+v, %v", out, err)
	}
	return out
}

func packedFile(dir string, d pipeline.Digest) string { return blobFile(dir, d) + ".zst" }

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// A packed blob is one file, shorter by far, that the zstd library opens as a
// whole, with the bytes and the time of use of before.
func TestBlobs_Pack(t *testing.T) {
	for _, n := range []int{5000, 64 << 10, 64<<10 + 1, 256 << 10, 1<<20 + 12345} {
		b, dir := openBlobs(t, storage.BlobOptions{})
		p := text(n)
		d := put(t, b, p)
		used := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
		if err := os.Chtimes(blobFile(dir, d), used, used); err != nil {
			t.Fatal(err)
		}
		out := mustPack(t, b, d)
		raw, err := os.ReadFile(packedFile(dir, d))
		if err != nil || int64(len(raw)) != out.Stored || out.Stored > int64(n)/2 || out.Size != int64(n) {
			t.Fatalf("%d bytes: packed to %d (%+v), %v", n, len(raw), out, err)
		}
		if exists(blobFile(dir, d)) {
			t.Errorf("%d bytes: the plain file is there still", n)
		}
		z, err := zstd.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%d bytes: as a zstd stream %d bytes, %v", n, len(got), err)
		}
		z.Close()
		var seen []storage.BlobInfo
		err = b.Walk(t.Context(), func(i storage.BlobInfo) error { seen = append(seen, i); return nil })
		want := storage.BlobInfo{Digest: d, Size: int64(n), Stored: out.Stored, Packed: true, UsedAt: used}
		if err != nil || len(seen) != 1 || seen[0].UsedAt.Unix() != used.Unix() {
			t.Fatalf("%d bytes: walk %+v, %v", n, seen, err)
		}
		if seen[0].UsedAt = used; seen[0] != want {
			t.Errorf("%d bytes: walk %+v, want %+v", n, seen[0], want)
		}
		if gone, err := b.DeleteUnused(d, used.Add(-time.Minute)); gone || err != nil {
			t.Errorf("%d bytes: swept though used since: %v", n, err)
		}
		if len(b.Missing([]pipeline.Digest{d})) != 0 || len(b.Clean([]pipeline.Digest{d})) != 1 {
			t.Errorf("%d bytes: not here, or not clean", n)
		}
		if gone, err := b.DeleteUnused(d, used.Add(time.Minute)); gone || err != nil {
			t.Errorf("%d bytes: swept though asked for: %v", n, err)
		}
		if err := b.Delete(d); err != nil || b.Has(d) || exists(packedFile(dir, d)) {
			t.Errorf("%d bytes: delete: %v", n, err)
		}
	}
}

// The zstd program opens a packed blob, where there is one on this machine.
func TestBlobs_Pack_program(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("the zstd program is not here")
	}
	b, dir := openBlobs(t, storage.BlobOptions{NoSync: true})
	p := text(700 << 10)
	d := put(t, b, p)
	mustPack(t, b, d)
	got, err := exec.Command("zstd", "-dc", packedFile(dir, d)).Output()
	if err != nil || !bytes.Equal(got, p) {
		t.Errorf("zstd -dc: %d bytes, %v", len(got), err)
	}
}

// What does not pay, is in use or is linked to stays plain.
func TestBlobs_Pack_stays(t *testing.T) {
	b, dir := openBlobs(t, storage.BlobOptions{NoSync: true})
	random := make([]byte, 300<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(random)
	inside := slices.Concat(text(100<<10), random)
	for name, p := range map[string][]byte{"random": random, "short": text(4096), "random inside": inside} {
		d := put(t, b, p)
		out, err := b.Pack(t.Context(), d, storage.PackOptions{})
		if err != nil || out.Done || !out.Futile || !exists(blobFile(dir, d)) || exists(packedFile(dir, d)) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
	d := put(t, b, text(100<<10))
	if out, err := b.Pack(t.Context(), d, storage.PackOptions{UnusedSince: time.Now().Add(-time.Minute)}); err != nil || out.Done || out.Futile {
		t.Errorf("in use: %+v, %v", out, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(blobFile(dir, d), link); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Pack(t.Context(), d, storage.PackOptions{}); err != nil || out.Done || out.Futile {
		t.Errorf("linked to: %+v, %v", out, err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	mustPack(t, b, d)
	if out, err := b.Pack(t.Context(), d, storage.PackOptions{}); err != nil || out != (storage.Packing{}) {
		t.Errorf("packed before: %+v, %v", out, err)
	}
	stop := errors.New("enough")
	d = put(t, b, text(900<<10))
	n := 0
	wait := func(int) error {
		if n++; n > 2 {
			return stop
		}
		return nil
	}
	if _, err := b.Pack(t.Context(), d, storage.PackOptions{Wait: wait}); !errors.Is(err, stop) || exists(packedFile(dir, d)) {
		t.Errorf("stopped: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*", "*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// Plain unpacks, and the next Pack goes back to the packed file that is there.
func TestBlobs_Plain(t *testing.T) {
	b, dir := openBlobs(t, storage.BlobOptions{})
	p := text(600 << 10)
	d := put(t, b, p)
	if path, err := b.Plain(t.Context(), d); err != nil || path != blobFile(dir, d) {
		t.Errorf("of a plain blob: %q, %v", path, err)
	}
	mustPack(t, b, d)
	packed, err := os.Stat(packedFile(dir, d))
	if err != nil {
		t.Fatal(err)
	}
	path, err := b.Plain(t.Context(), d)
	if err != nil || path != blobFile(dir, d) {
		t.Fatalf("of a packed blob: %q, %v", path, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, p) {
		t.Errorf("unpacked: %d bytes, %v", len(got), err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o400 {
		t.Errorf("unpacked: mode %v", info.Mode())
	}
	n := 0
	if err := b.Walk(t.Context(), func(i storage.BlobInfo) error {
		if n++; !i.Plain || !i.Packed || i.Size != int64(len(p)) || i.Stored != int64(len(p))+packed.Size() {
			t.Errorf("walk with both files: %+v", i)
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("walk: %d blobs, %v", n, err)
	}
	mustPack(t, b, d)
	if again, err := os.Stat(packedFile(dir, d)); err != nil || !os.SameFile(again, packed) || exists(blobFile(dir, d)) {
		t.Errorf("packed anew, or both are there: %v", err)
	}
	for d, kind := range map[pipeline.Digest]pipeline.Kind{pipeline.EmptyDigest: pipeline.Invalid, "x": pipeline.Invalid,
		storage.DigestOf([]byte("gone")): pipeline.NotFound} {
		if _, err := b.Plain(t.Context(), d); pipeline.KindOf(err) != kind {
			t.Errorf("plain file of %.12s: got %v, want kind %v", d, err, kind)
		}
	}
}

// Ranges that cross the borders of blocks, and the frames of a part as a stream.
func TestBlobs_packedRanges(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	p := text(5*storage.BlockSize + 77)
	d := put(t, b, p)
	mustPack(t, b, d)
	r, err := b.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	edges := []int64{0, 1, storage.BlockSize - 1, storage.BlockSize, storage.BlockSize + 1, 3 * storage.BlockSize, 5*storage.BlockSize - 1, int64(len(p)) - 1, int64(len(p))}
	for _, from := range edges {
		for _, to := range edges {
			if from >= to {
				continue
			}
			got := make([]byte, to-from)
			if n, err := r.ReadAt(got, from); n != len(got) || err != nil && err != io.EOF || !bytes.Equal(got, p[from:to]) {
				t.Errorf("bytes %d to %d: %d, %v", from, to, n, err)
			}
			whole := from%storage.BlockSize == 0 && (to%storage.BlockSize == 0 || to == int64(len(p)))
			if r.HasFrames(from, to) != whole {
				t.Errorf("frames of %d to %d: %v", from, to, !whole)
			}
			var frames bytes.Buffer
			if err := r.WriteFrames(&frames, from, to); (err == nil) != whole {
				t.Errorf("frames of %d to %d: %v", from, to, err)
			}
			if !whole {
				continue
			}
			z, err := zstd.NewReader(&frames)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, p[from:to]) {
				t.Errorf("frames of %d to %d: %d bytes, %v", from, to, len(got), err)
			}
			z.Close()
		}
	}
	if n, err := r.ReadAt(make([]byte, 10), int64(len(p))-3); n != 3 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
	var both bytes.Buffer
	if _, err := r.Seek(storage.BlockSize-5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{&both}, struct{ io.Reader }{r}, make([]byte, 1000)); err != nil || !bytes.Equal(both.Bytes(), p[storage.BlockSize-5:]) {
		t.Errorf("read from the middle: %d bytes, %v", both.Len(), err)
	}
}

// A plain file that is bad is not packed, but put aside.
func TestBlobs_Pack_corrupt(t *testing.T) {
	b, dir := openBlobs(t, storage.BlobOptions{NoSync: true})
	p := text(300 << 10)
	d := put(t, b, p)
	p[1000] ^= 1
	spoil(t, dir, d, p)
	var corrupt *storage.CorruptError
	if _, err := b.Pack(t.Context(), d, storage.PackOptions{}); !errors.As(err, &corrupt) || exists(blobFile(dir, d)) || exists(packedFile(dir, d)) {
		t.Errorf("pack: %v", err)
	}
}

// Readers, packers, unpackers, sweeps and puts at once: whoever finds a blob reads
// its very bytes, and none is lost but by the sweep.
func TestBlobs_packConcurrent(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true, OnCorrupt: func(d pipeline.Digest) { t.Errorf("blob %.12s was found corrupt", d) }})
	const rounds = 60
	kept := [][]byte{text(5000), text(70 << 10), text(2*storage.BlockSize + 1), text(storage.BlockSize)}
	var digests []pipeline.Digest
	for _, p := range kept {
		digests = append(digests, put(t, b, p))
	}
	swept := text(90 << 10)
	sweptDigest := storage.DigestOf(swept)
	var wg sync.WaitGroup
	each := func(f func(i int, d pipeline.Digest, p []byte) error) {
		wg.Go(func() {
			for k := range rounds {
				for i := range kept {
					if err := f(k, digests[i], kept[i]); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 2 {
		each(func(_ int, d pipeline.Digest, _ []byte) error {
			_, err := b.Pack(t.Context(), d, storage.PackOptions{})
			return err
		})
	}
	each(func(_ int, d pipeline.Digest, _ []byte) error { _, err := b.Plain(t.Context(), d); return err })
	for range 2 {
		each(func(k int, d pipeline.Digest, p []byte) error {
			if n, err := b.Size(d); err != nil || n != int64(len(p)) {
				return fmt.Errorf("size %d of %d: %w", n, len(p), err)
			}
			r, err := b.Open(d)
			if err != nil {
				return err
			}
			defer r.Close()
			from := k * 777 % len(p)
			got := make([]byte, len(p)-from)
			if _, err := r.ReadAt(got, int64(from)); err != nil && err != io.EOF || !bytes.Equal(got, p[from:]) {
				return fmt.Errorf("read from %d: %w", from, err)
			}
			return nil
		})
	}
	each(func(_ int, d pipeline.Digest, p []byte) error {
		b.Clean([]pipeline.Digest{d}) // while the file changes all the time it may say no
		if b.Missing([]pipeline.Digest{d}) != nil || b.Verify(d) != nil {
			return fmt.Errorf("blob of %d bytes is missing", len(p))
		}
		return b.Walk(t.Context(), func(storage.BlobInfo) error { return nil })
	})
	wg.Go(func() {
		for range rounds {
			_, err := b.PutBytes(t.Context(), swept)
			_, err1 := b.Pack(t.Context(), sweptDigest, storage.PackOptions{})
			_, err2 := b.DeleteUnused(sweptDigest, time.Now().Add(time.Hour))
			if err := errors.Join(err, err1, err2); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	for _, d := range digests {
		if err := b.Verify(d); err != nil {
			t.Error(err)
		}
	}
	if b.Has(sweptDigest) {
		t.Error("the swept blob is there")
	}
}

// The memory of a large blob that is packed, read and unpacked is a few buffers.
func TestBlobs_packMemory(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	const size = 64 << 20
	per := testing.AllocsPerRun(1, func() {
		d, _, err := b.Put(t.Context(), io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatal(err)
		}
		mustPack(t, b, d)
		if err := b.Verify(d); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Plain(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(d); err != nil {
			t.Fatal(err)
		}
	})
	if per > 2000 { // under the race detector pools forget some of what they are given
		t.Errorf("%.0f allocations for a blob of 64 MiB", per)
	}
}
