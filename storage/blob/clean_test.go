package blob_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// A blob is clean until its file changes, whatever its times say, and is read
// once as long as it does not.
func TestBlobs_clean(t *testing.T) {
	dir := t.TempDir()
	b, err := blob.Open(dir, blob.Options{LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d, err := b.PutBytes(t.Context(), []byte("some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, string(d[:2]), string(d))
	other := blob.DigestOf([]byte("other"))
	clean := func() bool {
		t.Helper()
		got := b.Clean([]pipeline.Digest{other, d, pipeline.EmptyDigest})
		if n := len(got); n != 1 && n != 2 || got[n-1] != pipeline.EmptyDigest {
			t.Fatalf("got %v", got)
		}
		return len(got) == 2
	}
	old := time.Now().Add(-time.Hour)
	if !clean() || os.Chtimes(path, old, old) != nil || !clean() || !clean() {
		t.Error("a good blob is not clean")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("some bytez"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if clean() {
		t.Error("a flipped byte is clean")
	}
	if b.Has(d) {
		t.Error("the bad blob was not quarantined")
	}
}
