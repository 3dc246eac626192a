package blob

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

func newBlobs(tb testing.TB, dir string) *Store {
	tb.Helper()
	b, err := Open(dir, Options{LowWater: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { b.Close() })
	return b
}

var errCrash = errors.New("crash")

// Whatever step a put dies at, the next life of the store has the whole blob or
// none, and a put brings it.
func TestBlobs_crashPoints(t *testing.T) {
	puts := map[string]func(*Store, []byte) error{
		"PutBytes": func(b *Store, p []byte) error { _, err := b.PutBytes(t.Context(), p); return err },
		"Put":      func(b *Store, p []byte) error { _, _, err := b.Put(t.Context(), bytes.NewReader(p)); return err },
		"Batch": func(b *Store, p []byte) error {
			batch := b.NewBatch()
			_, _, err := batch.Put(t.Context(), bytes.NewReader(p))
			return errors.Join(err, batch.Commit(t.Context()))
		},
	}
	for name, put := range puts {
		for _, point := range []string{"written", "renamed"} {
			for _, size := range []int{100, 300 << 10} {
				dir, p := t.TempDir(), bytes.Repeat([]byte("z"), size)
				b := newBlobs(t, dir)
				b.writer.hook = func(at string) error {
					if at == point {
						return errCrash
					}
					return nil
				}
				if err := put(b, p); !errors.Is(err, errCrash) {
					t.Errorf("%s at %s: got %v, want the crash", name, point, err)
				}
				// Not closed: the process is gone, its lock with it.
				unix.Flock(b.tmp.lock(), unix.LOCK_UN)
				next := newBlobs(t, dir)
				d := DigestOf(p)
				if err := next.Verify(d); err != nil && next.Has(d) {
					t.Errorf("%s at %s: a part of the blob is there: %v", name, point, err)
				}
				if point == "written" && next.Has(d) {
					t.Errorf("%s: there before it was renamed", name)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, tmpDir, "*", "*")); len(left) > 0 {
					t.Errorf("%s at %s: left over: %v", name, point, left)
				}
				if err := put(next, p); err != nil || next.Verify(d) != nil {
					t.Errorf("%s at %s: put again: %v", name, point, err)
				}
			}
		}
	}
}

// A blob that is found in its place may have been renamed by a life that died
// before the sync: the next put of it syncs its directory.
func TestBlobs_settlesWhatItFinds(t *testing.T) {
	dir, p := t.TempDir(), []byte("found")
	b := newBlobs(t, dir)
	b.writer.hook = func(at string) error {
		if at == "renamed" {
			return errCrash
		}
		return nil
	}
	if _, err := b.PutBytes(t.Context(), p); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	d := DigestOf(p)
	for name, next := range map[string]*Store{"same life": b, "next life": newBlobs(t, dir)} {
		next.writer.hook = nil
		shard := &next.dirs.shards[shardOf(d)]
		if shard.synced.Load() >= shard.renamed.Load() {
			t.Errorf("%s: the name counts as durable before any sync", name)
		}
		batch := next.NewBatch()
		if _, err := batch.PutBytes(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if err := batch.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if shard.synced.Load() < shard.renamed.Load() {
			t.Errorf("%s: the name is not durable after a put", name)
		}
	}
}

// After a failed sync of a directory nothing that the store says can be trusted: it
// takes nothing more.
func TestBlobs_failedSyncIsFinal(t *testing.T) {
	dir := t.TempDir()
	b := newBlobs(t, dir)
	p := []byte("x")
	shard := &b.dirs.shards[shardOf(DigestOf(p))]
	// A directory that is none any more fails to sync as a bad disk does.
	b.writer.hook = func(at string) error {
		if path := filepath.Join(dir, string(DigestOf(p)[:2])); at == "renamed" {
			return errors.Join(os.Rename(path, filepath.Join(dir, "gone")), os.WriteFile(path, nil, 0o600))
		}
		return nil
	}
	if _, err := b.PutBytes(t.Context(), p); pipeline.KindOf(err) != pipeline.Unavailable || !strings.Contains(err.Error(), "storage failed") {
		t.Fatalf("got %v, want storage failed", err)
	}
	b.writer.hook = nil
	if shard.synced.Load() >= shard.renamed.Load() {
		t.Error("the name counts as durable")
	}
	if _, err := b.PutBytes(t.Context(), []byte("another")); pipeline.KindOf(err) != pipeline.Unavailable {
		t.Errorf("the next put: got %v, want it refused", err)
	}
}

// A disk that fills up in the middle of a blob, and gets room again.
func TestBlobs_fillsUp(t *testing.T) {
	b, err := Open(t.TempDir(), Options{NoSync: true, LowWater: 100 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	free, read := uint64(120<<20), uint64(0)
	b.space.measure = func(string) (uint64, uint64, error) { return free - min(free, read), 1 << 40, nil }
	r := readFunc(func(p []byte) (int, error) {
		if read += uint64(len(p)); read > 64<<20 {
			return 0, io.EOF
		}
		return len(p), nil
	})
	if _, _, err := b.Put(t.Context(), r); pipeline.KindOf(err) != pipeline.Unavailable || read > 48<<20 {
		t.Errorf("got %v after %d MiB, want disk low soon after 20", err, read>>20)
	}
	if left, _ := os.ReadDir(b.tmp.path); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	read = 0
	if _, err := b.PutBytes(t.Context(), []byte("x")); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
