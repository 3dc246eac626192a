package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// Blobs gives the bytes of a cluster.
type Blobs interface {
	// Get reads a blob from whichever node has it; kind NotFound if none has.
	Get(ctx context.Context, d pipeline.Digest) (io.ReadCloser, error)
}

// AddBlobs writes a file with the state of another, and with all bytes that it
// names. dir is for what is needed meanwhile. Blobs that no node has, because
// they were deleted since or lost, are counted.
func AddBlobs(ctx context.Context, out io.Writer, from *os.File, dir string, blobs Blobs) error {
	want, trees, err := references(from, dir)
	if err != nil {
		return err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read snapshot file: %w", err)
	}
	w, err := Extend(out, from)
	if err != nil {
		return err
	}
	c := &collector{w: w, blobs: blobs, dir: dir, done: map[pipeline.Digest]bool{pipeline.EmptyDigest: true}}
	for _, d := range slices.Sorted(maps.Keys(trees)) {
		if err := c.tree(ctx, d); err != nil {
			return err
		}
	}
	for _, d := range slices.Sorted(maps.Keys(want)) {
		if err := c.blob(ctx, d, nil); err != nil {
			return err
		}
	}
	w.WithBlobs(c.missing)
	return w.Close()
}

// references lists the blobs and the trees that the state of a file names.
func references(from io.Reader, dir string) (blobs, trees map[pipeline.Digest]bool, err error) {
	r, err := NewReader(from)
	if err != nil {
		return nil, nil, err
	}
	store, err := OpenState(r, dir)
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	blobs, trees = map[pipeline.Digest]bool{}, map[pipeline.Digest]bool{}
	err = store.View(func(v *fsm.View) error {
		return v.References(func(ref fsm.Reference) error {
			if ref.Tree {
				trees[ref.Digest] = true
			} else {
				blobs[ref.Digest] = true
			}
			return nil
		})
	})
	return blobs, trees, err
}

// collector adds blobs to a file, each once.
type collector struct {
	w       *Writer
	blobs   Blobs
	dir     string
	done    map[pipeline.Digest]bool
	missing int
}

// tree adds the listing of a tree and the files in it.
func (c *collector) tree(ctx context.Context, d pipeline.Digest) error {
	var listing bytes.Buffer
	if err := c.blob(ctx, d, &listing); err != nil || listing.Len() == 0 {
		return err
	}
	t, err := tree.Decode(listing.Bytes())
	if err != nil {
		return fmt.Errorf("listing %s: %w", d, err)
	}
	for _, d := range t.Digests() {
		if err := c.blob(ctx, d, nil); err != nil {
			return err
		}
	}
	return nil
}

// blob adds a blob, and copies it to keep, unless it is larger than any listing.
func (c *collector) blob(ctx context.Context, d pipeline.Digest, keep *bytes.Buffer) error {
	if c.done[d] {
		return nil
	}
	c.done[d] = true

	in, err := c.blobs.Get(ctx, d)
	if pipeline.KindOf(err) == pipeline.NotFound {
		c.missing++
		return nil
	}
	if err != nil {
		return fmt.Errorf("get blob %s: %w", d, err)
	}
	defer in.Close()

	// The size comes before the bytes, and they count only when all were read.
	tmp, err := os.CreateTemp(c.dir, "blob-*")
	if err != nil {
		return fmt.Errorf("get blob %s: %w", d, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	size, err := io.Copy(tmp, in)
	if err == nil {
		_, err = tmp.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("get blob %s: %w", d, err)
	}

	var r io.Reader = tmp
	if keep != nil && size <= tree.MaxBytes {
		r = io.TeeReader(tmp, keep)
	}
	return c.w.Blob(d, size, r)
}

// EachBlob calls fn with the place of each blob in a file that was verified.
func EachBlob(file *os.File, fn func(d pipeline.Digest, content *io.SectionReader) error) error {
	r := tar.NewReader(file)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged("%w", err)
		}
		name, ok := strings.CutPrefix(h.Name, blobPrefix)
		if !ok {
			continue
		}
		// An archive is read without a buffer: its file stands at the content.
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return fmt.Errorf("read snapshot file: %w", err)
		}
		if err := fn(pipeline.Digest(name), io.NewSectionReader(file, at, h.Size)); err != nil {
			return err
		}
	}
}
