package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file of an archive.
type entry struct {
	// name is where it lies in the archive, source the file it is made of.
	name, source string
	mode         int64
}

// writeArchive writes files into a compressed archive, below a directory.
func writeArchive(file, dir string, entries []entry, mtime time.Time) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}

	defer func() { err = cmp.Or(err, out.Close()) }()

	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}

	t := tar.NewWriter(z)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	made := map[string]bool{}
	for _, e := range entries {
		name := path.Join(dir, e.name)
		if err := writeParents(t, path.Dir(name), made, mtime); err != nil {
			return err
		}

		if err := writeFile(t, name, e, mtime); err != nil {
			return err
		}
	}

	return cmp.Or(t.Close(), z.Close())
}

// writeParents adds the directories of a file, those of made excepted.
func writeParents(t *tar.Writer, dir string, made map[string]bool, mtime time.Time) error {
	if dir == "." || made[dir] {
		return nil
	}

	if err := writeParents(t, path.Dir(dir), made, mtime); err != nil {
		return err
	}

	made[dir] = true

	return t.WriteHeader(header(dir+"/", tar.TypeDir, 0o755, 0, mtime))
}

// writeFile adds a file.
func writeFile(t *tar.Writer, name string, e entry, mtime time.Time) error {
	f, err := os.Open(e.source)
	if err != nil {
		return err
	}

	defer f.Close()

	info, err := f.Stat()
	if err != nil {
		return err
	}

	if err := t.WriteHeader(header(name, tar.TypeReg, e.mode, info.Size(), mtime)); err != nil {
		return err
	}

	_, err = io.Copy(t, f)

	return err
}

// header describes a file of root, so that nothing of the user who builds is written.
func header(name string, kind byte, mode, size int64, mtime time.Time) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Mode: mode, Size: size, ModTime: mtime, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
}

// sumsName is the file with the checksums of all others.
const sumsName = "SHA256SUMS"

// writeSums writes the checksums of a directory in the form of sha256sum.
func writeSums(dir string) error {
	files, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return err
	}

	var sums strings.Builder
	for _, f := range files {
		sum, err := sumFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}

		fmt.Fprintf(&sums, "%x  %s\n", sum, f.Name())
	}

	return os.WriteFile(filepath.Join(dir, sumsName), []byte(sums.String()), 0o644)
}

// sumFile is the checksum of a file.
func sumFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}

	defer f.Close()

	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}

	return h.Sum(nil), nil
}
