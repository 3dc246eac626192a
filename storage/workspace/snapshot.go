package workspace

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// Options say what belongs to a workspace.
type Options struct {
	// Exclude are globs over the workspace of what is left out besides what the
	// ignore files name; see tree.Filter.
	Exclude []string
	// Skip are absolute paths of files and directories to leave out, such as the
	// file that standard output goes to. Files are known by their inode too.
	Skip []string
	// Private reports whether a directory, given by its absolute path and the names in
	// it, never goes along. It may be nil.
	Private func(dir string, names []fs.DirEntry) bool
	// Warn gets one line for each thing that was left out or is doubtful. It is
	// called before Snapshot returns, from its goroutine. It may be nil.
	Warn func(string)
	// Cache is what is remembered of the directory since its last snapshot; this
	// one adds to it. Files that it knows are neither read nor stored: see Refill.
	// It may be nil.
	Cache *StatCache
}

// Snapshot reads a directory into a tree and its files into a store (for many
// files best a *blob.Batch, which the caller then commits; of a
// *blob.Store it makes its own). Left out are what git does not list, or, if
// git lists nothing, what .gitignore files name; what .pipelinedignore files name
// (the same syntax; they have the last word); .git, sockets, pipes and devices;
// and links that lead outside.
//
// Each file is read once: what was hashed is what was stored. One that changes
// meanwhile is stored as it was read, with a warning. A file or directory that
// cannot be read is an error. Of files that opts.Cache knows only the digest is
// used.
func Snapshot(ctx context.Context, root string, into blob.Putter, opts Options) (tree.Tree, error) {
	abs, err := realPath(root)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	put, commit, discard := blob.Collect(into)
	defer discard()

	found := &findings{}
	r := newReader(abs, put, opts, found)
	w := newWalker(abs, opts, found)
	if err := run(ctx, w, r); err != nil {
		return nil, err
	}
	tree := collectTree(w.entries, r.cache)

	if err := commit(ctx); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	found.tell(opts.Warn)

	return tree, nil
}

// realPath is absolute and without links.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}

	return filepath.EvalSymlinks(abs)
}

// run lists directories in one goroutine and reads files in others.
func run(ctx context.Context, w *walker, r *reader) error {
	g, ctx := errgroup.WithContext(ctx)
	for range max(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			for batch := range w.files {
				for _, e := range batch {
					if err := r.complete(ctx, e); err != nil {
						return err
					}
				}
			}

			return nil
		})
	}
	g.Go(func() error { return w.run(ctx) })

	return g.Wait()
}

// collectTree makes a tree of complete entries and lets the cache remember files.
func collectTree(entries []*entry, cache *StatCache) tree.Tree {
	tree := make(tree.Tree, 0, len(entries))
	for _, e := range entries {
		if e.Path == "" {
			continue // it vanished before it was read
		}
		tree = append(tree, e.TreeEntry)
		cache.learn(e)
	}
	tree.Sort()

	return tree
}
