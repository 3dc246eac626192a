package storage

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

func packable(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcdef one line as the one before\n"), n/44+1)[:n]
}

// Whatever step packing dies at, the next life of the store has the whole blob,
// and packs it.
func TestBlobs_packCrashPoints(t *testing.T) {
	for point, files := range map[string]struct{ plain, packed bool }{
		"packed": {true, false}, "named": {true, true}, "before the plain file goes": {true, true},
	} {
		for _, size := range []int{20 << 10, 600 << 10} {
			dir, p := t.TempDir(), packable(size)
			b := newBlobs(t, dir)
			d, err := b.PutBytes(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			b.hook = func(at string) error {
				if at == point {
					return errCrash
				}
				return nil
			}
			if _, err := b.Pack(t.Context(), d, PackOptions{}); !errors.Is(err, errCrash) {
				t.Errorf("%s: got %v, want the crash", point, err)
			}
			unix.Flock(b.tmp.lock(), unix.LOCK_UN) // the process is gone, its lock with it
			next := newBlobs(t, dir)
			for path, want := range map[string]bool{next.path(d): files.plain, next.packedPath(d): files.packed} {
				if _, err := os.Lstat(path); (err == nil) != want {
					t.Errorf("%s: %s is there: %v", point, filepath.Base(path), err == nil)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, tmpDir, "*", "*")); len(left) > 0 {
				t.Errorf("%s: left over: %v", point, left)
			}
			if got, err := next.ReadAll(d, 1<<20); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%s: %d bytes, %v", point, len(got), err)
			}
			if out, err := next.Pack(t.Context(), d, PackOptions{}); err != nil || !out.Done {
				t.Errorf("%s: pack again: %+v, %v", point, out, err)
			}
			if _, err := os.Lstat(next.path(d)); err == nil {
				t.Errorf("%s: both files are there", point)
			}
			if got, err := next.ReadAll(d, 1<<20); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%s: packed: %d bytes, %v", point, len(got), err)
			}
		}
	}
}

// Unpacking that dies leaves the packed file.
func TestBlobs_plainCrash(t *testing.T) {
	dir, p := t.TempDir(), packable(600<<10)
	b := newBlobs(t, dir)
	d, err := b.PutBytes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Pack(t.Context(), d, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	b.hook = func(string) error { return errCrash }
	if _, err := b.Plain(t.Context(), d); !errors.Is(err, errCrash) {
		t.Errorf("got %v, want the crash", err)
	}
	unix.Flock(b.tmp.lock(), unix.LOCK_UN)
	next := newBlobs(t, dir)
	if _, err := os.Lstat(next.path(d)); err == nil || next.Verify(d) != nil {
		t.Error("a part of the plain file is there, or the packed one is not")
	}
	if path, err := next.Plain(t.Context(), d); err != nil || next.Verify(d) != nil {
		t.Errorf("unpack again: %s, %v", path, err)
	}
}

// Both files are there and the packed one is bad, which nobody read: the plain one
// stays until there is a good packed file.
func TestBlobs_packBothOneBad(t *testing.T) {
	dir, p := t.TempDir(), packable(600<<10)
	b := newBlobs(t, dir)
	d, err := b.PutBytes(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.packedPath(d), []byte("of a life before"), 0o400); err != nil {
		t.Fatal(err)
	}
	if out, err := b.Pack(t.Context(), d, PackOptions{}); err != nil || !out.Done || b.Verify(d) != nil {
		t.Errorf("pack: %+v, %v", out, err)
	}
	if aside, _ := os.ReadDir(filepath.Join(dir, corruptDir)); len(aside) != 1 {
		t.Errorf("put aside: %v", aside)
	}
}

// While the disk is nearly full nothing is packed, and nothing fails.
func TestBlobs_packFullDisk(t *testing.T) {
	b, err := OpenBlobs(t.TempDir(), BlobOptions{NoSync: true, LowWater: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d, err := b.PutBytes(t.Context(), packable(600<<10))
	if err != nil {
		t.Fatal(err)
	}
	b.space = func(string) (uint64, uint64, error) { return 1 << 20, 1 << 30, nil }
	if out, err := b.Pack(t.Context(), d, PackOptions{}); pipeline.KindOf(err) != pipeline.Unavailable || out.Done {
		t.Errorf("with less than half the mark and the blob free: %+v, %v", out, err)
	}
	b.space = func(string) (uint64, uint64, error) { return 512<<10 + 600<<10, 1 << 30, nil }
	if out, err := b.Pack(t.Context(), d, PackOptions{}); err != nil || !out.Done {
		t.Errorf("below the mark: %+v, %v", out, err)
	}
	b.space = func(string) (uint64, uint64, error) { return 1 << 20, 1 << 30, nil }
	if _, err := b.Plain(t.Context(), d); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("unpack on a full disk: %v", err)
	}
}

// A frame that says it is longer than a block gets no more room than that.
func TestBlobs_unpackBomb(t *testing.T) {
	b := newBlobs(t, t.TempDir())
	z, err := b.pack.encoder()
	if err != nil {
		t.Fatal(err)
	}
	bomb := z.EncodeAll(make([]byte, 512<<20>>3), nil) // 64 MiB in some KiB
	into := make([]byte, BlockSize)
	if n := testing.AllocsPerRun(5, func() {
		if err := b.unpackBlock(bomb, into); !errors.Is(err, errDamaged) {
			t.Errorf("unpack: %v", err)
		}
	}); n > 20 {
		t.Errorf("%.0f allocations", n)
	}
	two := append(z.EncodeAll(into, nil), z.EncodeAll(into, nil)...)
	if err := b.unpackBlock(two, into); !errors.Is(err, errDamaged) {
		t.Errorf("two frames in one: %v", err)
	}
	if err := b.unpackBlock(z.EncodeAll(into[:100], nil), into); !errors.Is(err, errDamaged) {
		t.Errorf("a short frame: %v", err)
	}
}

// FuzzPackedFile: no bytes make the reader fail otherwise than with damage, or give
// out more than the index says.
func FuzzPackedFile(f *testing.F) {
	dir := f.TempDir()
	b := newBlobs(f, dir)
	for _, n := range []int{1, 5000, BlockSize + 3} {
		b.packAll = true
		d, err := b.PutBytes(f.Context(), packable(n))
		if err != nil {
			f.Fatal(err)
		}
		if _, err := b.Pack(f.Context(), d, PackOptions{}); err != nil {
			f.Fatal(err)
		}
		raw, err := os.ReadFile(b.packedPath(d))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, int64(0), n)
		f.Add(raw[:len(raw)-1], int64(n/2), n)
	}
	f.Add(appendIndex(nil, 3, []frame{{packed: 1, sum: 0}}), int64(0), 3)
	f.Fuzz(func(t *testing.T, raw []byte, off int64, n int) {
		// What does not pass the checksums stops at the first of them: they are put
		// right as well, as far as the index can be read, so that the rest is met.
		for _, raw := range [][]byte{raw, amend(raw)} {
			ix, err := readIndex(bytes.NewReader(raw), int64(len(raw)))
			if err != nil {
				if !errors.Is(err, errDamaged) {
					t.Fatalf("index: %v", err)
				}
				continue
			}
			if ix.size <= 0 || len(ix.sums) != blocks(ix.size) {
				t.Fatalf("%d bytes in %d frames", ix.size, len(ix.sums))
			}
			p := packedFile{store: b, f: bytes.NewReader(raw), ix: ix}
			got := make([]byte, max(0, min(n, 2*BlockSize)))
			k, err := p.ReadAt(got, max(0, off))
			if k < len(got) && err != io.EOF || k == len(got) && err != nil || max(0, off)+int64(k) > max(ix.size, max(0, off)) {
				t.Fatalf("read %d at %d of %d: %d, %v", len(got), off, ix.size, k, err)
			}
		}
	})
}

// amend makes an index anew for bytes that say how many frames they have.
func amend(raw []byte) []byte {
	if len(raw) < 16 {
		return nil
	}
	packed := raw[:len(raw)-len(raw)/4]
	size := int64(1 + int(raw[len(raw)-1])*4099)
	n := blocks(size)
	var frames []frame
	for i := range n {
		from, to := i*len(packed)/n, (i+1)*len(packed)/n
		frames = append(frames, frame{packed: to - from, sum: crc32.Checksum(packed[from:to], castagnoli)})
	}
	return appendIndex(bytes.Clone(packed), size, frames)
}
