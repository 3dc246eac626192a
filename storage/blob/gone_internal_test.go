package blob

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// A store whose directories someone has removed or moved while it is open makes them
// again: it is an empty store then.
func TestBlobs_directoriesGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	b := newBlobs(t, dir)
	large := bytes.Repeat([]byte("0123456789abcdef"), BlockSize/8)
	before, err := b.PutBytes(t.Context(), []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	for name, remove := range map[string]func(){
		"all":         func() { mustDo(t, os.Rename(dir, filepath.Join(t.TempDir(), "away"))) },
		"tmp":         func() { mustDo(t, os.RemoveAll(filepath.Join(dir, tmpDir))) },
		"own tmp":     func() { mustDo(t, os.RemoveAll(b.tmp.path)) },
		"the shards":  func() { removeShards(t, dir) },
		"what is cut": func() { mustDo(t, os.RemoveAll(filepath.Join(dir, partialDir))) },
	} {
		remove()
		if err := b.Probe(); err != nil {
			t.Errorf("%s: probe: %v", name, err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				p := append([]byte(name), byte(i))
				d, err := b.PutBytes(t.Context(), p)
				if err != nil || b.Verify(d) != nil {
					t.Errorf("%s: put: %v, verify: %v", name, err, b.Verify(d))
				}
			})
		}
		wg.Wait()
		p := append(bytes.Clone(large), name...)
		part, err := b.Partial(DigestOf(p), int64(len(p)))
		if err != nil {
			t.Fatalf("%s: partial: %v", name, err)
		}
		if _, err := part.Fill(t.Context(), 0, int64(len(p)), bytes.NewReader(p)); err != nil {
			t.Errorf("%s: fill: %v", name, err)
		}
		if err := part.Commit(t.Context()); err != nil || b.Verify(DigestOf(p)) != nil {
			t.Errorf("%s: commit: %v, verify: %v", name, err, b.Verify(DigestOf(p)))
		}
		part.Close()
	}
	if b.Has(before) {
		t.Error("a blob outlived its directory")
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func removeShards(t *testing.T, dir string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	mustDo(t, err)
	for _, n := range names {
		if len(n.Name()) == 2 {
			mustDo(t, os.RemoveAll(filepath.Join(dir, n.Name())))
		}
	}
}

// A store that cannot be written, and cannot be made again, says so as something
// that passes: another node may do better.
func TestBlobs_cannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	b := newBlobs(t, dir)
	away := filepath.Join(t.TempDir(), "away")
	mustDo(t, os.Rename(dir, away))
	mustDo(t, os.WriteFile(dir, nil, 0o600)) // in the way, for root as well
	_, putErr := b.PutBytes(t.Context(), []byte("x"))
	_, batchErr := b.NewBatch().PutBytes(t.Context(), []byte("y"))
	_, partErr := b.Partial(DigestOf([]byte("z")), 1<<20)
	for name, err := range map[string]error{"probe": b.Probe(), "put": putErr, "batch": batchErr, "partial": partErr} {
		if pipeline.KindOf(err) != pipeline.Unavailable {
			t.Errorf("%s: %v, of kind %v", name, err, pipeline.KindOf(err))
		}
	}
	mustDo(t, os.Remove(dir))
	mustDo(t, os.Rename(away, dir))
	if err := b.Probe(); err != nil {
		t.Errorf("the directory is back: %v", err)
	}
	if _, err := b.PutBytes(t.Context(), []byte("x")); err != nil {
		t.Errorf("the directory is back: %v", err)
	}
	var full *disk.FullError
	if errors.As(putErr, &full) {
		t.Error("it was taken for a full disk")
	}
}
