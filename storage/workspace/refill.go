package workspace

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// Refill reads those of a tree's files into a store whose blobs are wanted and
// not there: what a snapshot of root took from opts.Cache alone. Each is hashed
// while it is read. One that is not what was remembered is stored as it is now:
// then changed is set, the tree that Refill returns differs from t, and opts.Warn
// gets a line. Wanted digests that are none of the tree's files are skipped.
func Refill(ctx context.Context, root string, t tree.Tree, want []pipeline.Digest, into *blob.Store, opts Options) (now tree.Tree, changed bool, err error) {
	abs, err := realPath(root)
	if err != nil {
		return nil, false, fmt.Errorf("read workspace: %w", err)
	}
	files := wanted(t, want, into)
	if len(files) == 0 {
		return t, false, nil
	}
	batch := into.NewBatch()
	defer batch.Discard()

	found := &findings{}
	r := newReader(abs, batch, opts, found)
	now = slices.Clone(t)
	var differs atomic.Bool
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, list := range files {
		g.Go(func() error {
			for _, i := range list {
				e := &entry{TreeEntry: pipeline.TreeEntry{Path: t[i].Path}}
				if err := r.read(reading, e); err != nil {
					return err
				}
				if e.Path != "" && e.Digest == t[i].Digest {
					return nil // one file is enough for a blob
				}
				now[i] = e.TreeEntry
				differs.Store(true)
				found.change(t[i].Path)
			}

			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}

	if err := batch.Commit(ctx); err != nil {
		return nil, false, fmt.Errorf("read workspace: %w", err)
	}
	if !differs.Load() {
		return t, false, nil
	}
	found.tell(opts.Warn)

	return repair(t, now, r.cache), true, nil
}

// wanted returns, for each wanted blob that a store does not have, the places of
// its files in a tree.
func wanted(t tree.Tree, want []pipeline.Digest, into *blob.Store) map[pipeline.Digest][]int {
	files := map[pipeline.Digest][]int{}
	for _, d := range want {
		if !into.Has(d) {
			files[d] = nil
		}
	}
	if len(files) == 0 {
		return nil
	}
	for i := range t {
		if list, ok := files[t[i].Digest]; ok {
			files[t[i].Digest] = append(list, i)
		}
	}

	return files
}

// repair leaves out what vanished, and makes the cache forget what differed.
func repair(t, now tree.Tree, cache *StatCache) tree.Tree {
	out := make(tree.Tree, 0, len(now))
	for i := range now {
		if now[i] != t[i] {
			cache.forget(t[i].Path)
		}
		if now[i].Path != "" {
			out = append(out, now[i])
		}
	}

	return out
}
