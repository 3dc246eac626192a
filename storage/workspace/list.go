package workspace

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/storage/tree"
)

// List lists what Snapshot would take of a directory, without reading a file: the entries
// have neither digests nor modes, and opts.Warn is not called.
func List(ctx context.Context, root string, opts Options) (tree.Tree, error) {
	abs, err := realPath(root)
	if err != nil {
		return nil, fmt.Errorf("list of %s: %w", root, err)
	}

	w := newWalker(abs, opts, &findings{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for range w.files { // the walker waits for readers
		}
		return nil
	})
	g.Go(func() error { return w.run(ctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}

	list := make(tree.Tree, 0, len(w.entries))
	for _, e := range w.entries {
		list = append(list, e.TreeEntry)
	}
	list.Sort()

	return list, nil
}
