package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Format is the version of the format that this package writes and reads.
const Format = 1

// Names of the entries.
const (
	headerName = "header.json"
	sealName   = "seal"
	stateName  = "state"
	blobPrefix = "blobs/"
	endName    = "end.json"
)

// sealPurpose is what the header is sealed for.
const sealPurpose = "snapshot file"

// Header says what a file is a snapshot of.
type Header struct {
	Format int `json:"format"`
	// ClusterID is the cluster's, Key the fingerprint of its key.
	ClusterID string `json:"clusterId"`
	Key       string `json:"keyFingerprint"`
	// Version is that of the program that took it.
	Version string    `json:"version"`
	TakenAt time.Time `json:"takenAt"`
	// Index and Term are those of the last entry in the state.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// State is the digest of the state's bytes, StateSize how many there are.
	State     pipeline.Digest `json:"state"`
	StateSize int64           `json:"stateSize"`
}

// Keys are what a header is sealed with.
type Keys interface {
	// Digest is a hash that cannot be made without the cluster key.
	Digest(purpose string, data []byte) [sha256.Size]byte
	// Fingerprint identifies the key.
	Fingerprint() string
}

// end closes a file.
type end struct {
	// Blobs is how many blobs the file has, Missing how many the state names that
	// were on no node.
	Blobs   int  `json:"blobs"`
	Missing int  `json:"missingBlobs"`
	Whole   bool `json:"withBlobs"`
	// Sum is the checksum of the entries before, and of the rest of this one. The
	// digests that they name stand for the bytes of state and blobs.
	Sum string `json:"sum"`
}

// sum is the checksum that the end must have.
func (e end) sum(entries hash.Hash) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%x %d %d %t", entries.Sum(nil), e.Blobs, e.Missing, e.Whole)))
}

// Writer writes a file, entry by entry.
type Writer struct {
	tar *tar.Writer
	sum hash.Hash
	end end
	at  time.Time
}

func newWriter(out io.Writer, at time.Time) *Writer {
	return &Writer{tar: tar.NewWriter(out), sum: sha256.New(), at: at}
}

// Take writes a snapshot of the state, without blobs, to out. dir is where the
// state lies until its size is known.
func Take(out io.Writer, dir string, state *fsm.Store, h Header, keys Keys) (err error) {
	tmp, err := os.CreateTemp(dir, "state-*")
	if err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()

	sum := sha256.New()
	if h.Index, h.Term, err = state.Export(io.MultiWriter(tmp, sum)); err != nil {
		return err
	}
	h.Format, h.Key = Format, keys.Fingerprint()
	h.State = pipeline.Digest(hex.EncodeToString(sum.Sum(nil)))
	if h.StateSize, err = tmp.Seek(0, io.SeekCurrent); err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}

	w := newWriter(out, h.TakenAt)
	seal := keys.Digest(sealPurpose, text)
	for _, entry := range []struct {
		name string
		data []byte
	}{{headerName, text}, {sealName, []byte(hex.EncodeToString(seal[:]))}} {
		if err := w.bytes(entry.name, entry.data); err != nil {
			return err
		}
	}
	if err := w.entry(stateName, h.StateSize, tmp); err != nil {
		return err
	}
	return w.Close()
}

// Extend begins a file with the header and the state of another; its blobs, if
// any, are left out.
func Extend(out io.Writer, from io.Reader) (*Writer, error) {
	r, err := NewReader(from)
	if err != nil {
		return nil, err
	}
	w := newWriter(out, r.Header.TakenAt)
	if err := w.bytes(headerName, r.text); err != nil {
		return nil, err
	}
	if err := w.bytes(sealName, r.seal); err != nil {
		return nil, err
	}
	return w, w.entry(stateName, r.Header.StateSize, r.State())
}

// Blob adds a blob.
func (w *Writer) Blob(d pipeline.Digest, size int64, r io.Reader) error {
	if err := w.entry(blobPrefix+string(d), size, r); err != nil {
		return err
	}
	w.end.Blobs++
	return nil
}

// WithBlobs notes that the file has all blobs that the state names but missing
// ones.
func (w *Writer) WithBlobs(missing int) { w.end.Whole, w.end.Missing = true, missing }

// Close writes the end. Without it the file is worth nothing.
func (w *Writer) Close() error {
	w.end.Sum = w.end.sum(w.sum)
	text, err := json.Marshal(w.end)
	if err != nil {
		return fmt.Errorf("write snapshot file: %w", err)
	}
	if err := w.bytes(endName, text); err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return fmt.Errorf("write snapshot file: %w", err)
	}
	return nil
}

// bytes writes an entry that nothing before it names the digest of.
func (w *Writer) bytes(name string, data []byte) error {
	if err := w.begin(name, int64(len(data))); err != nil {
		return err
	}
	w.sum.Write(data)
	if _, err := w.tar.Write(data); err != nil {
		return fmt.Errorf("write snapshot file: %w", err)
	}
	return nil
}

// entry writes an entry whose digest stands in the header, or in its name.
func (w *Writer) entry(name string, size int64, r io.Reader) error {
	if err := w.begin(name, size); err != nil {
		return err
	}
	n, err := io.Copy(w.tar, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d", n, size)
	}
	if err != nil {
		return fmt.Errorf("write snapshot file: %s: %w", name, err)
	}
	return nil
}

func (w *Writer) begin(name string, size int64) error {
	addName(w.sum, name, size)
	err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.at.Truncate(time.Second)})
	if err != nil {
		return fmt.Errorf("write snapshot file: %w", err)
	}
	return nil
}

// addName begins an entry in the checksum.
func addName(sum hash.Hash, name string, size int64) { fmt.Fprintf(sum, "%s\x00%d\x00", name, size) }
