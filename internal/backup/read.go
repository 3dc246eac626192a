package backup

import (
	"archive/tar"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// maxSmall bounds the entries that are read into memory.
const maxSmall = 1 << 20

// Reader reads a file from its beginning to its end.
type Reader struct {
	Header Header

	tar  *tar.Reader
	text []byte
	seal []byte
	// sum is the checksum of the entries that were read.
	sum     hash.Hash
	entries int
	end     *end
	failed  error
}

// damaged is what is wrong with a file.
func damaged(format string, args ...any) error {
	return pipeline.Errorf(pipeline.Invalid, "the snapshot file is damaged: "+format, args...)
}

// NewReader reads up to the state.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{tar: tar.NewReader(in), sum: sha256.New()}
	var err error
	if r.text, err = r.small(headerName); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "this is no snapshot file of pipelined: %w", err)
	}
	if err := json.Unmarshal(r.text, &r.Header); err != nil {
		return nil, damaged("header: %w", err)
	}
	if r.Header.Format != Format {
		return nil, pipeline.Errorf(pipeline.Invalid, "the snapshot file has format %d and this program knows format %d: use the program that wrote it (version %s)",
			r.Header.Format, Format, r.Header.Version)
	}
	if r.seal, err = r.small(sealName); err != nil {
		return nil, damaged("%w", err)
	}
	h, err := r.next()
	if err != nil {
		return nil, damaged("%w", err)
	}
	if h.Name != stateName || h.Size != r.Header.StateSize {
		return nil, damaged("expected a state of %d bytes, got %q of %d", r.Header.StateSize, h.Name, h.Size)
	}
	return r, nil
}

// Authentic reports an error unless the header was sealed with the key.
func (r *Reader) Authentic(keys Keys) error {
	if own := keys.Fingerprint(); r.Header.Key != own {
		return pipeline.Errorf(pipeline.Invalid, "the snapshot is of a cluster with key %s, and its secrets open with that key only; this cluster has key %s: start its nodes with -key-file of the first",
			r.Header.Key, own)
	}
	want := keys.Digest(sealPurpose, r.text)
	if got, err := hex.DecodeString(string(r.seal)); err != nil || !hmac.Equal(got, want[:]) {
		return pipeline.Errorf(pipeline.Invalid, "the snapshot's seal does not open with the cluster key: its header was changed")
	}
	return nil
}

// State reads the state; it fails at its end if its bytes are not those that the
// header names. What is not read to its end is not verified.
func (r *Reader) State() io.Reader {
	return &checkedReader{in: r.tar, sum: sha256.New(), want: r.Header.State, what: "its state"}
}

// NextBlob returns the next blob once the state was read; io.EOF after the last,
// if the file is whole. A blob that is not read to its end is not verified.
func (r *Reader) NextBlob() (pipeline.Digest, int64, io.Reader, error) {
	if r.failed != nil {
		return "", 0, nil, r.failed
	}
	h, err := r.next()
	if err != nil {
		return "", 0, nil, r.fail(damaged("it ends without an end: %w", err))
	}
	if h.Name == endName {
		return "", 0, nil, r.fail(r.finish())
	}
	name, ok := strings.CutPrefix(h.Name, blobPrefix)
	d, err := pipeline.ParseDigest(name)
	if err != nil || !ok {
		return "", 0, nil, r.fail(damaged("unexpected entry %q", h.Name))
	}
	r.entries++
	return d, h.Size, &checkedReader{in: r.tar, sum: sha256.New(), want: d, what: "blob " + name}, nil
}

func (r *Reader) fail(err error) error {
	r.failed = err
	return err
}

// finish checks the end; io.EOF if all is well.
func (r *Reader) finish() error {
	text, err := io.ReadAll(io.LimitReader(r.tar, maxSmall))
	if err != nil {
		return damaged("end: %w", err)
	}
	var e end
	if err := json.Unmarshal(text, &e); err != nil {
		return damaged("end: %w", err)
	}
	if e.Sum != e.sum(r.sum) || e.Blobs != r.entries {
		return damaged("its checksum does not match")
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return damaged("it continues behind its end")
	}
	r.end = &e
	return io.EOF
}

func (r *Reader) next() (*tar.Header, error) {
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("entry %q is no file", h.Name)
	}
	if h.Name != endName {
		addName(r.sum, h.Name, h.Size)
	}
	return h, nil
}

func (r *Reader) small(name string) ([]byte, error) {
	h, err := r.next()
	if err != nil {
		return nil, err
	}
	if h.Name != name {
		return nil, fmt.Errorf("expected %s, got %q", name, h.Name)
	}
	if h.Size > maxSmall {
		return nil, fmt.Errorf("%s has %d bytes", h.Name, h.Size)
	}
	return io.ReadAll(io.TeeReader(r.tar, r.sum))
}

// checkedReader fails at the end if the bytes are not those of a digest.
type checkedReader struct {
	in   io.Reader
	sum  hash.Hash
	want pipeline.Digest
	what string
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.sum.Write(p[:n])
	switch {
	case err == io.EOF && hex.EncodeToString(c.sum.Sum(nil)) != string(c.want):
		err = damaged("%s is not what it was", c.what)
	case err != nil && err != io.EOF:
		err = damaged("%s: %w", c.what, err)
	}
	return n, err
}

// OpenState reads the state into a store of its own in dir, and the rest of the
// state's entry. The caller closes the store.
func OpenState(r *Reader, dir string) (*fsm.Store, error) {
	store, err := fsm.Open(dir, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	in := r.State()
	err = store.Restore(io.NopCloser(in))
	if err == nil {
		// The decoder may stop before the end, which verifies the digest.
		_, err = io.Copy(io.Discard, in)
	}
	if err == nil {
		err = store.View(func(v *fsm.View) error { return v.Check() })
	}
	if err == nil {
		return store, nil
	}
	if pipeline.KindOf(err) != pipeline.Invalid {
		err = damaged("its state: %w", err)
	}
	return nil, errors.Join(err, store.Close())
}

// Summary is what Verify found in a file.
type Summary struct {
	Header
	fsm.Contents
	// WithBlobs is set if the file has the bytes that the state names: Blobs of
	// them, but for Missing, which were on no node.
	WithBlobs bool  `json:"withBlobs"`
	Blobs     int   `json:"blobs"`
	BlobBytes int64 `json:"blobBytes"`
	Missing   int   `json:"missingBlobs"`
}

// Verify reads a whole file and decodes its state into dir.
func Verify(ctx context.Context, in io.Reader, dir string) (Summary, error) {
	var s Summary
	r, err := NewReader(in)
	if err != nil {
		return s, err
	}
	s.Header = r.Header
	store, err := OpenState(r, dir)
	if err != nil {
		return s, err
	}
	err = store.View(func(v *fsm.View) error { s.Contents = v.Contents(); return nil })
	if err := errors.Join(err, store.Close()); err != nil {
		return s, err
	}

	for {
		_, size, blob, err := r.NextBlob()
		if errors.Is(err, io.EOF) {
			s.WithBlobs, s.Blobs, s.Missing = r.end.Whole, r.end.Blobs, r.end.Missing
			return s, nil
		}
		if err != nil {
			return s, err
		}
		if _, err := io.Copy(io.Discard, blob); err != nil {
			return s, err
		}
		s.BlobBytes += size
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
	}
}
