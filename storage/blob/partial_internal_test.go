package blob

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

func openTestBlobs(t *testing.T, dir string) *Store {
	t.Helper()
	b, err := Open(dir, Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// A transfer that is cut goes on at the block where it was cut, also when the
// store was closed and opened again meanwhile.
func TestPartial_resume(t *testing.T) {
	dir := t.TempDir()
	b := openTestBlobs(t, dir)
	data := noise(5*BlockSize + 17)
	d := DigestOf(data)
	p, err := b.Partial(d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Partial(d, int64(len(data))); !errors.Is(err, ErrArriving) {
		t.Errorf("a second opening: %v", err)
	}
	cut := io.MultiReader(bytes.NewReader(data[:2*BlockSize+99]), iotest.ErrReader(io.ErrUnexpectedEOF))
	at, err := p.Fill(t.Context(), 0, int64(len(data)), cut)
	if !errors.Is(err, io.ErrUnexpectedEOF) || at != 2*BlockSize {
		t.Fatalf("cut: at %d, %v", at, err)
	}
	p.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openTestBlobs(t, dir)
	if n, size := b.Arrived(d); n != 2*BlockSize || size != int64(len(data)) {
		t.Fatalf("after a restart %d of %d bytes are here", n, size)
	}
	if p, err = b.Partial(d, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	from, to := p.Claim(2 * BlockSize)
	if from != 2*BlockSize || to != 4*BlockSize {
		t.Fatalf("claimed %d to %d", from, to)
	}
	if from2, to2 := p.Claim(100 * BlockSize); from2 != 4*BlockSize || to2 != int64(len(data)) {
		t.Fatalf("claimed %d to %d", from2, to2)
	} else if _, err := p.Fill(t.Context(), from2, to2, bytes.NewReader(data[from2:])); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(t.Context()); pipeline.KindOf(err) != pipeline.Conflict {
		t.Fatalf("commit of a part: %v", err)
	}
	if p, err = b.Partial(d, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fill(t.Context(), from, to, bytes.NewReader(data[from:])); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := b.ReadAll(d, 1<<30)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, partialDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPartial_parallel(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	data := noise(40*BlockSize + 1)
	d := DigestOf(data)
	p, err := b.Partial(d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				from, to := p.Claim(3 * BlockSize)
				if from == to {
					return
				}
				if _, err := p.Fill(t.Context(), from, to, bytes.NewReader(data[from:to])); err != nil {
					t.Error(err)
				}
				p.Release(from, to)
			}
		})
	}
	wg.Wait()
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(d); err != nil {
		t.Fatal(err)
	}
}

// Bytes that are not the digest's are never published, and do not stand in the
// way of the right ones.
func TestPartial_mismatch(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	data := noise(3 * BlockSize)
	d := DigestOf(data)
	bad := bytes.Clone(data)
	bad[BlockSize+5] ^= 1
	for _, in := range [][]byte{bad, data} {
		p, err := b.Partial(d, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if p.Arrived() != 0 {
			t.Errorf("%d bytes are here", p.Arrived())
		}
		if _, err := p.Fill(t.Context(), 0, p.Size(), bytes.NewReader(in)); err != nil {
			t.Fatal(err)
		}
		var mismatch *MismatchError
		if err := p.Commit(t.Context()); errors.As(err, &mismatch) != (in[BlockSize+5] == bad[BlockSize+5]) {
			t.Fatalf("commit: %v", err)
		}
	}
	if !b.Has(d) {
		t.Error("the right bytes are not here")
	}
}

// A byte flipped anywhere in a blob's file is never given out, from wherever it
// is read, and whatever became of the checksums beside it.
func TestBlob_neverServesCorrupt(t *testing.T) {
	for _, size := range []int{1, 4096, smallBlob, smallBlob + 1, 3*BlockSize + 11} {
		for _, sums := range []string{"kept", "gone", "bad"} {
			dir := t.TempDir()
			var told []pipeline.Digest
			b, err := Open(dir, Options{NoSync: true, OnCorrupt: func(d pipeline.Digest) { told = append(told, d) }})
			if err != nil {
				t.Fatal(err)
			}
			data := noise(size)
			d, _, err := b.Put(t.Context(), bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			flip := size / 3
			breakByte(t, b.files.path(d), int64(flip))
			if size > smallBlob {
				switch sums {
				case "gone":
					os.Remove(b.files.sumsPath(d))
				case "bad":
					breakByte(t, b.files.sumsPath(d), 9)
				}
			}
			r, err := b.Open(d)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.ReadAt(make([]byte, 1), int64(flip))
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Errorf("size %d, sums %s: ReadAt gave %v", size, sums, err)
			}
			got, err := io.ReadAll(r)
			if !errors.As(err, &corrupt) || !bytes.Equal(got, data[:len(got)]) {
				t.Errorf("size %d, sums %s: read %d bytes, %v", size, sums, len(got), err)
			}
			if len(told) != 1 || b.Has(d) {
				t.Errorf("size %d, sums %s: told %d times, still here: %t", size, sums, len(told), b.Has(d))
			}
			if _, _, err := b.Put(t.Context(), bytes.NewReader(data)); err != nil || b.Verify(d) != nil {
				t.Errorf("size %d, sums %s: a good copy is not taken: %v", size, sums, err)
			}
			r.Close()
			b.Close()
		}
	}
}

func breakByte(t *testing.T, path string, at int64) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [1]byte
	if _, err := f.ReadAt(p[:], at); err != nil {
		t.Fatal(err)
	}
	p[0] ^= 0x40
	if _, err := f.WriteAt(p[:], at); err != nil {
		t.Fatal(err)
	}
}

func TestBlobs_cleanPartials(t *testing.T) {
	b := openTestBlobs(t, t.TempDir())
	d := DigestOf([]byte("x"))
	p, err := b.Partial(d, 10)
	if err != nil {
		t.Fatal(err)
	}
	b.partials.clean(time.Now().Add(time.Hour)) // open: not touched
	if _, err := os.Stat(p.path); err != nil {
		t.Error(err)
	}
	p.Close()
	b.partials.clean(time.Now().Add(time.Hour))
	if _, err := os.Stat(p.path); !os.IsNotExist(err) {
		t.Errorf("still here: %v", err)
	}
}

// Digests can be invented: what did not arrive whole is bounded in number and in
// bytes. The oldest goes, and never one that is being written.
func TestPartials_bounded(t *testing.T) {
	for name, tc := range map[string]struct {
		disk uint64 // of so many bytes
		want int
	}{
		"by number": {disk: 1 << 40, want: maxPartials},
		"by bytes":  {disk: 10 * BlockSize * partialShare, want: 10},
	} {
		b := openTestBlobs(t, t.TempDir())
		b.space.measure = func(string) (free, total uint64, err error) { return tc.disk, tc.disk, nil }
		begin := func(i int) *Partial {
			p, err := b.Partial(DigestOf([]byte{byte(i)}), 2*BlockSize)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Fill(t.Context(), 0, BlockSize, bytes.NewReader(noise(BlockSize))); err != nil {
				t.Fatal(err)
			}
			return p
		}

		open := begin(0)
		for i := 1; i <= maxPartials+20; i++ {
			p := begin(i)
			at := time.Unix(int64(i), 0) // the file's own time has too few digits on some disks
			if err := os.Chtimes(p.path, at, at); err != nil {
				t.Fatal(err)
			}
			p.Close()
		}

		if got := len(b.partials.list()); got != tc.want {
			t.Errorf("%s: %d are kept, want %d", name, got, tc.want)
		}
		if n, _ := b.Arrived(DigestOf([]byte{byte(maxPartials + 20)})); n != BlockSize {
			t.Errorf("%s: the newest is gone", name)
		}
		if n, _ := b.Arrived(DigestOf([]byte{1})); n != 0 {
			t.Errorf("%s: the oldest is still here", name)
		}
		if _, err := os.Stat(open.path); err != nil {
			t.Errorf("%s: one that is open was removed: %v", name, err)
		}
		open.Close()
	}
}
