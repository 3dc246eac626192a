package storage

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/pipeline"
)

// Refill reads those of a tree's files into a store whose blobs are wanted and
// not there: what a snapshot of root took from opts.Cache alone. Each is hashed
// while it is read. One that is not what was remembered is taken as it is now:
// then the tree that Refill gives differs from t, which changed says and
// opts.Warn hears of. Wanted digests that are none of the tree's files are
// passed over.
func Refill(ctx context.Context, root string, t Tree, want []pipeline.Digest, into *Blobs, opts SnapshotOptions) (mended Tree, changed bool, err error) {
	abs, err := realPath(root)
	if err != nil {
		return nil, false, fmt.Errorf("read workspace: %w", err)
	}
	files := map[pipeline.Digest][]int{}
	for _, d := range want {
		if !into.Has(d) {
			files[d] = nil
		}
	}
	if len(files) == 0 {
		return t, false, nil
	}
	for i := range t {
		if list, ok := files[t[i].Digest]; ok {
			files[t[i].Digest] = append(list, i)
		}
	}
	batch := into.NewBatch()
	defer batch.Discard()
	s := newSnapshot(abs, batch, opts)
	mended = slices.Clone(t)
	var differs atomic.Bool
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, list := range files {
		g.Go(func() error {
			for _, i := range list {
				e := &snapshotEntry{TreeEntry: pipeline.TreeEntry{Path: t[i].Path}}
				if err := s.read(reading, e); err != nil {
					return err
				}
				if e.Path != "" && e.Digest == t[i].Digest {
					return nil // one file is enough for a blob
				}
				mended[i] = e.TreeEntry
				differs.Store(true)
				s.change(t[i].Path)
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
	s.tell(opts.Warn)
	return s.mend(t, mended), true, nil
}

// mend leaves out what vanished, and makes the cache forget what differed.
func (s *snapshot) mend(t, mended Tree) Tree {
	out := make(Tree, 0, len(mended))
	for i := range mended {
		if mended[i] != t[i] {
			s.cache.forget(t[i].Path)
		}
		if mended[i].Path != "" {
			out = append(out, mended[i])
		}
	}
	return out
}
