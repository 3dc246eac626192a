package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/backup"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// testKeys seal with a text.
type testKeys string

func (k testKeys) Digest(purpose string, data []byte) [sha256.Size]byte {
	return sha256.Sum256([]byte(string(k) + purpose + string(data)))
}

func (k testKeys) Fingerprint() string { return "print of " + string(k) }

// blobs are those of a cluster.
type blobs map[pipeline.Digest]string

func (b blobs) Get(_ context.Context, d pipeline.Digest) (io.ReadCloser, error) {
	text, ok := b[d]
	if !ok {
		return nil, pipeline.Errorf(pipeline.NotFound, "no blob %s", d)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

var taken = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// newState is a store with a secret and a cached file of another tool.
func newState(tb testing.TB, file pipeline.Digest) *fsm.Store {
	tb.Helper()
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	for i, c := range []*fsm.Command{
		{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "S", Sealed: []byte("sealed")}}},
		{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "w1", Name: "w1"}}},
		{Tools: &fsm.Tools{Puts: []fsm.ToolPut{{Key: pipeline.ToolKey{Space: pipeline.ToolContents, Key: string(file)}, Digest: file, Size: 5}}}},
	} {
		c.At = taken
		data, err := fsm.Encode(c)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := store.ApplyBatch([]*raft.Log{{Index: uint64(i) + 7, Term: 3, Type: raft.LogCommand, Data: data}}); err != nil {
			tb.Fatal(err)
		}
	}
	return store
}

// take writes a file without and one with blobs.
func take(tb testing.TB, store *fsm.Store, have blobs) (state, whole string) {
	tb.Helper()
	dir := tb.TempDir()
	state, whole = filepath.Join(dir, "state"), filepath.Join(dir, "whole")
	from, err := os.Create(state)
	if err != nil {
		tb.Fatal(err)
	}
	defer from.Close()
	if err := backup.Take(from, dir, store, backup.Header{ClusterID: "c1", Version: "v", TakenAt: taken}, testKeys("k")); err != nil {
		tb.Fatal(err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		tb.Fatal(err)
	}
	to, err := os.Create(whole)
	if err != nil {
		tb.Fatal(err)
	}
	defer to.Close()
	if err := backup.AddBlobs(context.Background(), to, from, tb.TempDir(), have); err != nil {
		tb.Fatal(err)
	}
	return state, whole
}

func verify(tb testing.TB, text []byte) (backup.Summary, error) {
	tb.Helper()
	return backup.Verify(context.Background(), bytes.NewReader(text), tb.TempDir())
}

func digestOf(text string) pipeline.Digest { return blob.DigestOf([]byte(text)) }

func TestTake_roundTrip(t *testing.T) {
	store := newState(t, digestOf("bytes"))
	state, whole := take(t, store, blobs{digestOf("bytes"): "bytes"})

	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	s, err := verify(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if s.ClusterID != "c1" || s.Index != 9 || s.Term != 3 || s.Secrets != 1 || !s.WithBlobs || s.Blobs != 1 || s.BlobBytes != 5 || s.Missing != 0 {
		t.Errorf("got %+v", s)
	}

	// The state is the same, but for the workers, which a restore leaves out.
	f, err := os.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := backup.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Authentic(testKeys("k")); err != nil {
		t.Error(err)
	}
	if err := r.Authentic(testKeys("other")); err == nil {
		t.Error("another key opens the seal")
	}
	copied, err := backup.OpenState(r, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if diff := cmp.Diff(export(t, store), export(t, copied)); diff != "" {
		t.Error(diff)
	}
	if err := copied.ForgetWorkers(); err != nil {
		t.Fatal(err)
	}
	err = copied.View(func(v *fsm.View) error {
		if n := len(v.Workers()); n != 0 {
			t.Errorf("%d workers", n)
		}
		if c := v.Contents(); c.Secrets != 1 {
			t.Errorf("%+v", c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// The blobs stand where EachBlob says.
	w, err := os.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n := 0
	err = backup.EachBlob(w, func(d pipeline.Digest, content *io.SectionReader) error {
		n++
		text, err := io.ReadAll(content)
		if d != digestOf("bytes") || string(text) != "bytes" {
			t.Errorf("%s: %q, %v", d, text, err)
		}
		return err
	})
	if err != nil || n != 1 {
		t.Errorf("%d blobs, %v", n, err)
	}
}

func export(tb testing.TB, store *fsm.Store) []byte {
	tb.Helper()
	var b bytes.Buffer
	if _, _, err := store.Export(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// A blob that no node has is counted, not an error.
func TestAddBlobs_missing(t *testing.T) {
	_, whole := take(t, newState(t, digestOf("bytes")), blobs{})
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := verify(t, text); err != nil || s.Blobs != 0 || s.Missing != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A file with any byte changed, or cut off anywhere, is refused, or holds the
// same: tar has padding and fields that mean nothing here.
func TestVerify_damaged(t *testing.T) {
	_, whole := take(t, newState(t, digestOf("bytes")), blobs{digestOf("bytes"): "bytes"})
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	want, err := verify(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(text); i++ {
		if text[i] == 0 && i%64 != 0 || i%11 != 0 {
			continue // mostly padding, and a part of the rest for time
		}
		bad := bytes.Clone(text)
		bad[i] ^= 0x10
		if s, err := verify(t, bad); err == nil && s != want {
			t.Errorf("byte %d: %+v", i, s)
		}
	}
	for n := 0; n < len(text); n += 256 {
		if s, err := verify(t, text[:n]); err == nil && s != want {
			t.Errorf("%d bytes of %d: %+v", n, len(text), s)
		}
	}
}

// The digests of blobs are in the names of entries, and the end counts them: one
// cannot be taken out, nor renamed.
func TestVerify_entries(t *testing.T) {
	_, whole := take(t, newState(t, digestOf("bytes")), blobs{digestOf("bytes"): "bytes"})
	for name, change := range map[string]func(h *tar.Header) (keep bool){
		"removed": func(*tar.Header) bool { return false },
		"renamed": func(h *tar.Header) bool { h.Name = "blobs/" + string(digestOf("other")); return true },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(whole)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var out bytes.Buffer
			r, w := tar.NewReader(f), tar.NewWriter(&out)
			for h, err := r.Next(); err == nil; h, err = r.Next() {
				if strings.HasPrefix(h.Name, "blobs/") && !change(h) {
					continue
				}
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(w, r); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err := verify(t, out.Bytes()); pipeline.KindOf(err) != pipeline.Invalid {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}
