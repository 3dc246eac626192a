package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/storage/tree"
)

// maxFound bounds how many files globs may name.
const maxFound = 100_000

// ReadFiles calls fn with the regular files that globs name in a directory, sorted by
// path; of a directory that a glob names, with the files in it that have ext. Links are
// not followed, and nothing outside of the directory is read. err is why a file cannot be
// read, as one that has more than limit bytes. It ends when fn returns false.
func ReadFiles(ctx context.Context, dir string, globs []string, ext string, limit int64, fn func(name string, data []byte, err error) bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	defer root.Close()

	found := map[string]bool{}
	for _, g := range globs {
		if _, negated := tree.Negated(g); negated {
			continue
		}
		if err := findFiles(ctx, root.FS(), g, ext, found); err != nil {
			return fmt.Errorf("read files: %w", err)
		}
	}
	filter := tree.NewFilter(globs)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !filter.Matches(name) {
			continue
		}
		data, err := readRegular(root, name, limit)
		if !fn(name, data, err) {
			return nil
		}
	}
	return nil
}

// findFiles adds what one glob names.
func findFiles(ctx context.Context, in fs.FS, glob, ext string, found map[string]bool) error {
	if err := tree.ValidGlob(glob); err != nil {
		return err
	}
	pattern := tree.CleanGlob(glob)
	if pattern == "" {
		pattern = "."
	}
	add := func(name string) error {
		if found[name] = true; len(found) > maxFound {
			return fmt.Errorf("more than %d files: narrow the globs", maxFound)
		}
		return ctx.Err()
	}
	return doublestar.GlobWalk(in, pattern, func(name string, d fs.DirEntry) error {
		switch {
		case d.Type().IsRegular():
			return add(name)
		case d.IsDir():
			return fs.WalkDir(in, name, func(name string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() && path.Ext(name) == ext {
					return add(name)
				}
				return ctx.Err() // a directory that cannot be read has nothing for us
			})
		}
		return ctx.Err()
	}, doublestar.WithNoFollow())
}

// readRegular reads a file, unless it is something else by now.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, errors.New("it cannot be opened")
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Size() > limit:
		return nil, errors.New("it is too large")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	return data, nil
}
