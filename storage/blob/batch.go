package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// syncOneByOne is up to how many files a batch syncs each by itself; beyond, one
// sync of the whole filesystem is quicker, even though it writes what others
// have pending too.
const syncOneByOne = 64

// Batch collects blobs that become visible and durable together, with few
// syncs. Its methods are safe for concurrent use; after Commit or Discard it is
// empty and may be used again.
type Batch struct {
	b *Store

	mu sync.Mutex
	// guards following
	items []staged
	seen  map[pipeline.Digest]struct{}
}

// NewBatch makes an empty batch. It must end with Commit or Discard.
func (b *Store) NewBatch() *Batch {
	return &Batch{b: b, seen: map[pipeline.Digest]struct{}{}}
}

// Put adds all that r gives.
func (t *Batch) Put(ctx context.Context, r io.Reader) (pipeline.Digest, int64, error) {
	s, err := t.b.stage(ctx, r, false)
	if err != nil {
		return "", 0, err
	}
	t.add(s)
	return s.digest, s.size, nil
}

// PutBytes adds p, which it does not keep.
func (t *Batch) PutBytes(ctx context.Context, p []byte) (pipeline.Digest, error) {
	d := DigestOf(p)
	if t.has(d) {
		return d, nil
	}
	s, err := t.b.stageBytes(ctx, p, false)
	if err != nil {
		return "", err
	}
	t.add(s)
	return d, nil
}

// PutExpect adds all that r gives if its digest is d; else nothing is added and
// the error is a *MismatchError.
func (t *Batch) PutExpect(ctx context.Context, d pipeline.Digest, r io.Reader) (int64, error) {
	s, err := t.b.stageExpect(ctx, d, r, false)
	if err != nil {
		return 0, err
	}
	t.add(s)
	return s.size, nil
}

func (t *Batch) has(d pipeline.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.seen[d]
	return ok
}

func (t *Batch) add(s staged) {
	t.mu.Lock()
	_, dup := t.seen[s.digest]
	if !dup {
		t.seen[s.digest] = struct{}{}
		t.items = append(t.items, s)
	}
	t.mu.Unlock()
	if dup {
		t.b.discard(s)
	}
}

func (t *Batch) take() []staged {
	t.mu.Lock()
	defer t.mu.Unlock()
	items := t.items
	t.items, t.seen = nil, map[pipeline.Digest]struct{}{}
	return items
}

// Take moves what another batch has collected into this one, so that both become
// durable with the same syncs.
func (t *Batch) Take(from *Batch) {
	for _, s := range from.take() {
		t.add(s)
	}
}

// Commit makes the batch's blobs visible, and durable where the store syncs.
// After an error some of them may be there; none may be relied on.
func (t *Batch) Commit(ctx context.Context) error {
	items := t.take()
	if len(items) == 0 {
		return nil
	}
	err := ctx.Err()
	if err == nil && !t.b.opts.NoSync {
		err = t.b.syncFiles(items)
	}
	if err != nil {
		for _, s := range items {
			t.b.discard(s)
		}
		return err
	}
	return t.b.publish(items)
}

// Discard forgets what was added since the last Commit.
func (t *Batch) Discard() {
	for _, s := range t.take() {
		t.b.discard(s)
	}
}

// syncFiles makes the bytes of staged files durable.
func (b *Store) syncFiles(items []staged) error {
	n := 0
	for i := range items {
		if items[i].tmp != "" {
			n++
		}
	}
	if n > syncOneByOne {
		if ok, err := disk.SyncFilesystem(b.tmp.lock()); ok {
			if err != nil {
				return fmt.Errorf("put blobs: %w", b.storeError(err))
			}
			return nil
		}
	}
	var g errgroup.Group
	g.SetLimit(8)
	for i := range items {
		if items[i].tmp == "" {
			continue
		}
		if n == 1 {
			return syncFile(items[i].tmp)
		}
		g.Go(func() error { return syncFile(items[i].tmp) })
	}
	return g.Wait()
}

// syncFile opens a file anew to sync it: that is cheaper than to hold thousands
// open, and the kernel tells a new descriptor of errors no one has seen yet.
func syncFile(path string) error {
	fd, err := disk.OpenFD(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("put blobs: %w", err)
	}
	err = errors.Join(disk.Fdatasync(fd), unix.Close(fd))
	if err != nil {
		return fmt.Errorf("put blobs: sync: %w", disk.Classify(err))
	}
	return nil
}

// Collect gives a batch where into is a store, and how to end it.
func Collect(into Putter) (put Putter, commit func(context.Context) error, discard func()) {
	b, ok := into.(*Store)
	if !ok {
		return into, func(context.Context) error { return nil }, func() {}
	}
	batch := b.NewBatch()
	return batch, batch.Commit, batch.Discard
}
