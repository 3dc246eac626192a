package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// placing writes the blobs of a bundle into their places.
type placing struct {
	f    *artifactFetch
	left bundled
	err  error
}

// PutExpect takes one.
func (p *placing) PutExpect(_ context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	raw, err := io.ReadAll(r) // bounded by the bundle's limits
	if err != nil {
		return 0, err
	}

	if got := blob.DigestOf(raw); got != d {
		return 0, &blob.MismatchError{Want: d, Got: got}
	}

	for _, a := range p.left[d] {
		if err := p.f.write(a, bytes.NewReader(raw)); err != nil {
			p.err = err
			return 0, err
		}
	}

	delete(p.left, d)
	return int64(len(raw)), nil
}

// write writes a small file whose bytes were verified: beside its place first, so
// that a file with that name is always whole.
func (f *artifactFetch) write(a artifactFile, r io.Reader) (err error) {
	out, part, err := f.openPart(a, os.O_TRUNC)
	if err != nil {
		return err
	}

	n, err := io.Copy(out, r)
	if err != nil {
		_ = out.Close()
		_ = f.root.Remove(part) // what failed is what counts
		return f.failed(a, err)
	}

	f.bytes.Add(n)
	return f.place(a, out, part, a.Mode)
}

// place gives a file that came whole its mode and its name.
func (f *artifactFetch) place(a artifactFile, out *os.File, part string, mode uint32) error {
	err := out.Chmod(fs.FileMode(mode & 0o777))
	if cerr := out.Close(); err == nil {
		err = cerr
	}

	if err == nil {
		err = f.root.Rename(part, a.name)
	}

	if err != nil {
		_ = f.root.Remove(part) // what failed is what counts
		return f.failed(a, err)
	}

	return nil
}

// openPart opens the file that becomes a's when it is whole.
func (f *artifactFetch) openPart(a artifactFile, flags int) (out *os.File, part string, err error) {
	for part = a.name + ".part"; f.names[part]; part += ".part" {
	}

	if err = f.root.MkdirAll(path.Dir(a.name), 0o777); err == nil {
		if info, err := f.root.Lstat(part); err == nil && !info.Mode().IsRegular() {
			_ = f.root.Remove(part) // nothing of ours; the opening tells where that fails
		}
		out, err = f.root.OpenFile(part, os.O_RDWR|os.O_CREATE|flags, 0o600)
	}

	if err != nil {
		return nil, part, f.failed(a, err)
	}

	if info, err := f.root.Lstat(a.name); err == nil && info.IsDir() {
		_ = out.Close()
		_ = f.root.Remove(part) // it is empty
		return nil, part, f.failed(a, fs.ErrExist)
	}

	return out, part, nil
}

// failed says why a file could not be written, and what is in its way.
func (f *artifactFetch) failed(a artifactFile, err error) error {
	for dir := a.name; dir != "."; dir = path.Dir(dir) {
		info, lerr := f.root.Lstat(dir)
		if lerr != nil {
			continue
		}

		what := ""
		switch {
		case dir == a.name && info.IsDir():
			what = "a directory"
		case dir == a.name: // it is replaced, whatever it is
		case info.Mode()&fs.ModeSymlink != 0:
			what = "a link"
		case !info.IsDir():
			what = "a file"
		}

		if what != "" {
			return fmt.Errorf("artifact %s of %s: %s is in the way, it is %s: move it, or write the artifacts to another directory (-o)",
				a.Path, a.Module, filepath.Join(f.dir, dir), what)
		}
	}
	return fmt.Errorf("write artifact %s of %s: %w", a.Path, a.Module, err)
}

// placeLink makes a link, whose target must lie in its module's directory. One whose
// target is absolute leads to a file of the machine that it was made on: it is left out.
func (f *artifactFetch) placeLink(a artifactFile) error {
	if path.IsAbs(a.Link) {
		f.leftOut = append(f.leftOut, fmt.Sprintf("artifact %s of %s: it is a link to %s", a.Path, a.Module, a.Link))
		return nil
	}
	// The rule of trees: by it no chain of links leads out either.
	if reason := tree.CheckLink(a.Path, a.Link); reason != "" {
		return fmt.Errorf("artifact %s of %s: its link could lead out of the module's directory: %s", a.Path, a.Module, reason)
	}

	if err := f.root.MkdirAll(path.Dir(a.name), 0o777); err != nil {
		return f.failed(a, err)
	}

	if old, err := f.root.Readlink(a.name); err == nil && old == a.Link {
		f.there.Add(1)
		return nil
	}

	if info, err := f.root.Lstat(a.name); err == nil && !info.IsDir() {
		if err := f.root.Remove(a.name); err != nil {
			return f.failed(a, err)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.failed(a, err)
	}

	if err := f.root.Symlink(a.Link, a.name); err != nil {
		return f.failed(a, err)
	}

	return nil
}
